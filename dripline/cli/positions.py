"""`dripline positions`: how far `serve`'s services have read, and the way on where Kafka no longer holds what comes next."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dripline.cli.shell import NO, Commands, Failure, Format, FormatOption, confirmed, put_json, put_rows, screen, table

if TYPE_CHECKING:
    from dripline.positions import Standing
    from dripline.settings import ServeSettings

positions = typer.Typer(name="positions", cls=Commands, help="How far the services of `serve` have read on Kafka.")


@positions.command("list")
def list_positions(format: FormatOption = Format.text) -> None:
    """Show every service's position in every partition.

    Exit 1 where Kafka no longer holds what comes next.
    """
    from dripline.positions import positions as standings

    found = standings(_settings())
    if format is Format.json:
        put_json({"items": [_shown(one) for one in found]})
    else:
        rows = table("service", "topic", "partition", "position", "Kafka holds", "waiting")
        for one in found:
            rows.add_row(
                one.service, one.topic, str(one.partition), str(one.position), _held(one), "LOST" if one.is_lost else str(one.behind)
            )
        put_rows(rows)
    if any(one.is_lost for one in found):
        raise typer.Exit(NO)


@positions.command("give-up")
def give_up(
    service: Annotated[str, typer.Argument(help="scoring, journeys, mailer or ingest.")],
    topic: Annotated[str, typer.Argument(help="events, activities, messages or dead-letters.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    format: FormatOption = Format.text,
) -> None:
    """Go on without what Kafka has lost.

    Wherever the service cannot go on, it goes on where Kafka's records begin now. Records between are gone: leads miss those
    events, and `dripline audit` may say so. What was handled before and is still there may be read again, which changes nothing.
    """
    from dripline.positions import give_up as give_up_lost

    if not yes and not confirmed(f"Give up what {service} has not read of {topic} and Kafka no longer holds?"):
        raise typer.Exit(NO)
    moved = give_up_lost(_settings(), service, topic)
    if format is Format.json:
        put_json({"items": [_shown(one) for one in moved]})
        return
    if not moved:
        raise Failure(f"{service} has lost nothing of {topic}; `dripline positions list` shows where it stands")
    for one in moved:
        gap = f"{one.begins - one.position} records are lost" if one.begins and one.begins > one.position else "the topic was made anew"
        screen().print(f"{topic}/{one.partition}: {one.position} → {one.begins}, {gap}", soft_wrap=True)


def _settings() -> "ServeSettings":
    from dripline.settings import ServeSettings, read_settings

    return read_settings(ServeSettings)


def _held(one: "Standing") -> str:
    return "no such partition" if one.begins is None else f"{one.begins} to {one.ends}"


def _shown(one: "Standing") -> dict[str, Any]:
    return asdict(one) | {"behind": one.behind, "lost": one.is_lost}
