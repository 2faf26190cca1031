"""Commands that work on this machine: run everything, check a playbook, bring a database up to date."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import TaskID

from dripline.cli.client import ClientSettings, DataOption
from dripline.cli.shell import NO, WRONG_USE, Failure, Format, FormatOption, put_json, safe, screen

# Each of these loads services; a command that only asks the API must start fast, so they are imported where they are used.

PlaybookOption = Annotated[Path | None, typer.Option(help="The playbook's folder.", show_default="the folder you are in")]
SpeedOption = Annotated[float, typer.Option(min=0.001, max=100_000, help="How fast time passes; 1440 makes a day pass in a minute.")]


class Served(StrEnum):
    ingest = "ingest"
    scoring = "scoring"
    journeys = "journeys"
    mailer = "mailer"
    console = "console"


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


def serve(
    service: Annotated[Served, typer.Argument(help="Which service.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port to listen on.", show_default="8300 to 8304")] = None,
) -> None:
    """Run one service on PostgreSQL and Kafka.

    Several replicas of each may run. DRIPLINE_DATABASE_URL, DRIPLINE_KAFKA_BOOTSTRAP and DRIPLINE_SECRET_KEY name what they share.
    """
    from dripline import serve as serving

    raise typer.Exit(serving.serve(service.value, host, port))


def migrate(
    data: DataOption = None,
    from_: Annotated[Path | None, typer.Option("--from", help="The data folder of a `run` that is to move to the servers.")] = None,
    format: FormatOption = Format.text,
) -> None:
    """Bring a database up to date.

    The data folder's, to the schema that this version knows; `run` does so at its start. With DRIPLINE_DATABASE_URL and
    DRIPLINE_KAFKA_BOOTSTRAP set, those of `serve`: the schema, and the topics. Topics that are there stay as they are; what
    differs from what would be made is told. With --from, what a data folder holds then moves there: rows, unread records, keys.
    """
    is_of_servers = data is None and (from_ is not None or "DRIPLINE_DATABASE_URL" in os.environ)
    if from_ is not None and not is_of_servers:
        raise Failure("--from names the folder that moves to the servers; --data has no place beside it", WRONG_USE)
    applied, topics, differing = _migrate_servers() if is_of_servers else (_migrate_folder(data), [], [])
    moved = _moved(from_) if from_ is not None else {}
    if format is Format.json:
        put_json({"applied": applied, "topics": topics, "differing": differing} | moved)
        return
    screen().print(f"applied: {', '.join(applied)}" if applied else "the database is up to date")
    if topics:
        screen().print(f"made the topics {', '.join(topics)}")
    for told in differing:
        screen().print(told, soft_wrap=True)
    if from_ is not None:
        _tell_moved(from_, moved)


def _moved(path: Path) -> dict[str, Any]:
    """Move a folder, with a bar for each table and topic on stderr; answers how many of what."""
    from rich.progress import Progress

    from dripline.data_folder import DataFolder
    from dripline.moving import move
    from dripline.settings import ServeSettings, read_settings

    folder = DataFolder(path)
    if not folder.state.exists():
        raise Failure(f"{path} holds no database; name the data folder of a `dripline run`", WRONG_USE)
    with folder.locked(moving=True), Progress(console=screen(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        found = move(folder, read_settings(ServeSettings), report)
    return {"moved": dict(found.rows), "records": dict(found.records), "again": found.again}


def _tell_moved(path: Path, moved: dict[str, Any]) -> None:
    if moved["again"]:
        screen().print(f"{path} had moved already, whole: nothing was left to do")
    for what, counts in (("rows", moved["moved"]), ("records", moved["records"])):
        for name, count in counts.items():
            screen().print(f"moved {count:>9,} {what} of {name}")
    screen().print(f"every table counts alike on both sides; {path} is left as it was, and will not run again. Next:")
    screen().print("  1. start the services: dripline serve ingest, scoring, journeys, mailer, console, all with this environment")
    screen().print("  2. once they have caught up: dripline audit")
    screen().print("  3. let your website and your servers post to the new address; keys, links and published playbooks stay valid")


def _migrate_servers() -> tuple[list[str], list[str], list[str]]:
    from dripline.serve import prepare
    from dripline.settings import ServeSettings, read_settings

    return prepare(read_settings(ServeSettings))


def _migrate_folder(data: Path | None) -> list[str]:
    from dripline.data_folder import DataFolder
    from dripline.migrate import migrate as upgrade

    folder = DataFolder(data or ClientSettings().data_dir)
    if not folder.state.exists():
        raise Failure(f"{folder.path} holds no database; `dripline run` makes one, or name another folder with --data", WRONG_USE)
    with folder.locked():
        return upgrade(folder.database_url)
