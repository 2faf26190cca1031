"""`dripline …` and `python -m dripline …`."""

from dripline.cli.main import app


def main() -> None:
    app()


if __name__ == "__main__":
    main()
