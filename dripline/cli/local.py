"""Commands that work on this machine: run everything, check a playbook, bring a database up to date."""

from pathlib import Path
from typing import Annotated

import typer

from dripline.cli.client import ClientSettings, DataOption
from dripline.cli.shell import NO, WRONG_USE, Failure, Format, FormatOption, put_json, safe, screen

# Each of these loads services; a command that only asks the API must start fast, so they are imported where they are used.

PlaybookOption = Annotated[Path | None, typer.Option(help="The playbook's folder.", show_default="the folder you are in")]
SpeedOption = Annotated[float, typer.Option(min=0.001, max=100_000, help="How fast time passes; 1440 makes a day pass in a minute.")]


def run(
    playbook: PlaybookOption = None,
    data: Annotated[Path | None, typer.Option(help="Where everything is kept.", show_default="./.dripline")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 8300,
    speed: SpeedOption = 1.0,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Without what is only there to try it out.")] = False,
) -> None:
    """Run all services in one process.

    They share one port and one data folder, until Ctrl-C.
    """
    from dripline import running

    raise typer.Exit(running.run(playbook, data, host, port, speed, demo=not no_demo))


def check(
    folder: Annotated[Path, typer.Argument(help="The playbook's folder.")],
    format: FormatOption = Format.text,
) -> None:
    """Validate a playbook.

    Every mistake is named with its file, line, column and remedy; exit 1 if there is one.
    """
    from dripline.check import check as troubles_of
    from dripline.environment import playbook_environment
    from shared.playbooks import read_folder

    troubles = troubles_of(read_folder(folder), playbook_environment())
    if format is Format.json:
        put_json(
            {"ok": not troubles, "troubles": [{"file": t.file, "line": t.line, "column": t.column, "message": t.message} for t in troubles]}
        )
    else:
        for trouble in troubles:
            screen().print(safe(f"{folder / trouble.file}:{trouble.line}:{trouble.column}: {trouble.message}"), soft_wrap=True)
        screen().print(f"{len(troubles)} mistake{'s' if len(troubles) > 1 else ''}" if troubles else f"{folder}: no mistakes")
    if troubles:
        raise typer.Exit(NO)


def migrate(data: DataOption = None, format: FormatOption = Format.text) -> None:
    """Bring a database up to date.

    The data folder's, to the schema that this version knows; `run` does so at its start.
    """
    from dripline.data_folder import DataFolder
    from dripline.migrate import migrate as upgrade

    folder = DataFolder(data or ClientSettings().data_dir)
    if not folder.state.exists():
        raise Failure(f"{folder.path} holds no database; `dripline run` makes one, or name another folder with --data", WRONG_USE)
    with folder.locked():
        applied = upgrade(folder.database_url)
    if format is Format.json:
        put_json({"applied": applied})
    else:
        screen().print(f"applied: {', '.join(applied)}" if applied else f"{folder.path}: up to date")
