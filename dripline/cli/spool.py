"""`dripline spool`: what ingest kept on a disk while Kafka was away, and sending it where its process is gone."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dripline.cli.shell import NO, WRONG_USE, Commands, Failure, Format, FormatOption, put_json, put_rows, safe, screen, short, table
from shared.errors import Outage

if TYPE_CHECKING:
    from services.ingest.spool import Records
    from shared.kafka_cluster import Cluster

# Both load what only ingest needs; it is imported where it is used.

spool = typer.Typer(name="spool", cls=Commands, help="Events that ingest keeps on its disk while Kafka is away.")

FolderArgument = Annotated[Path | None, typer.Argument(metavar="[DIR]", help="The spool's folder.", show_default="DRIPLINE_SPOOL_DIR")]


@spool.command("list")
def list_spool(folder: FolderArgument = None, format: FormatOption = Format.text) -> None:
    """Show what lies there.

    Only looks: a process may be working there.
    """
    from services.ingest.spool_folder import is_in_use, survey

    place = _place(folder)
    held, damaged = survey(place)
    in_use = is_in_use(place)
    if format is Format.json:
        items = [
            {
                "topic": one.topic,
                "records": one.records,
                "bytes": one.size,
                "oldest_at": one.oldest_at.isoformat() if one.oldest_at else None,
            }
            for one in held
        ]
        put_json({"folder": str(place), "in_use": in_use, "items": items, "damaged": [str(path) for path in damaged]})
        return
    rows = table("topic", "records", "bytes", "oldest")
    for one in held:
        rows.add_row(safe(one.topic), f"{one.records}", f"{one.size}", short(one.oldest_at.isoformat() if one.oldest_at else None))
    put_rows(rows) if held else screen().print("nothing waits")
    for path in damaged:
        screen().print(safe(f"damaged, and not sent from there on: {path}", "red"), soft_wrap=True)
    if in_use:
        screen(stderr=True).print("a process works there, and sends it by itself", style="dim")


@spool.command("drain")
def drain(folder: FolderArgument = None, format: FormatOption = Format.text) -> None:
    """Send it to Kafka, and end when all of it is there.

    For a folder whose process is gone; ingest itself drains at its start and whenever Kafka is back. What Kafka refused before is tried
    again. Breaking off loses nothing. Exit 1 if something is left.
    """
    from dripline.settings import KafkaSettings, read_settings
    from services.ingest.spool_folder import survey

    place = _place(folder)
    cluster = read_settings(KafkaSettings).cluster()
    waiting = sum(one.records for one in survey(place)[0])
    with _progress(format) as progress:
        sent = asyncio.run(_drained(place, cluster, progress, waiting))
    left, damaged = survey(place)
    rest = sum(one.records for one in left)
    if format is Format.json:
        put_json({"folder": str(place), "sent": sent, "left": rest, "damaged": [str(path) for path in damaged]})
    else:
        screen().print(f"{sent} records sent, {rest} left" if rest else f"{sent} records sent; nothing waits any more")
    if rest or damaged:
        raise typer.Exit(NO)


def _place(folder: Path | None) -> Path:
    from dripline.settings import read_settings
    from services.ingest.settings import IngestSettings

    place = folder or read_settings(IngestSettings).spool_dir
    if place is None:
        raise Failure("name the spool's folder, or set DRIPLINE_SPOOL_DIR", WRONG_USE)
    if not place.is_dir():
        raise Failure(f"{place}: there is no such folder", WRONG_USE)
    return place


def _progress(format: Format) -> Progress:
    out = screen(stderr=True)
    what = (TextColumn("{task.completed} of {task.total} records"), BarColumn(), TimeRemainingColumn())
    return Progress(*what, console=out, transient=True, disable=format is Format.json or not out.is_terminal)


async def _drained(place: Path, cluster: "Cluster", progress: Progress, waiting: int) -> int:
    """How many records were sent: all, unless Kafka refused some. Raises Failure where it does not take them now."""
    from services.ingest.spool import Spool
    from shared.kafka_log import KafkaLog

    opened, kafka = Spool(place, quota=0), KafkaLog(cluster)
    task = progress.add_task("", total=waiting)
    sent = 0

    async def send(topic: str, records: "Records") -> None:
        nonlocal sent
        await kafka.append(topic, records)
        sent += len(records)
        progress.update(task, completed=sent)

    try:
        await opened.drain(send, refused=True)
    except Outage as outage:
        raise Failure(f"{outage}. {sent} records were sent, the rest stays in {place}") from outage
    finally:
        await kafka.close()
        await opened.close()
    return sent
