"""`dripline …` and `python -m dripline …`."""

import gc


def main() -> None:
    gc.set_threshold(50_000, 20, 100)  # what loads stays; looking through it again and again takes a sixth of the start
    from dripline.cli.main import app

    app()


if __name__ == "__main__":
    main()
