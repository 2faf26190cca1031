"""`dripline dead-letters`: what was set aside, why, and another try."""

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from dripline.cli.client import Api, DataOption, ask
from dripline.cli.shell import WRONG_USE, Commands, Failure, Format, FormatOption, put_json, put_rows, safe, screen, short, table

dead_letters = typer.Typer(name="dead-letters", cls=Commands, help="Records that nobody could handle.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]


@dead_letters.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """List them, newest first.

    With who set each aside and why.
    """
    found = ask(data, lambda api: api.get("/api/dead-letters", limit=limit))
    if format is Format.json:
        put_json(found)
        return
    rows = table("id", "at", "service", "topic", "reason", "")
    for letter in found["items"]:
        replayed = f"replayed {short(letter['replayed_at'])}" if letter.get("replayed_at") else ""
        reason = Text.assemble(safe(letter["code"], "yellow"), safe(f"  {letter['message']}"))
        rows.add_row(letter["id"], short(letter["at"]), letter["service"], letter["topic"], reason, Text(replayed, "dim"))
    put_rows(rows) if found["items"] else screen().print("nothing was set aside")
    if found["next"]:
        screen(stderr=True).print("there are more; --limit shows up to 500", style="dim")


@dead_letters.command("show")
def show(letter_id: IdArgument, data: DataOption = None, format: FormatOption = Format.text) -> None:
    """Show one whole.

    With the record as it came.
    """
    letter = ask(data, lambda api: api.get(f"/api/dead-letters/{letter_id}"))
    if format is Format.json:
        put_json(letter)
        return
    rows = table()
    rows.show_header = False
    for name in ("id", "service", "topic", "key", "code", "message", "at", "replayed_at"):
        rows.add_row(Text(name, "dim"), safe(letter.get(name) or ""))
    screen().print(rows)
    screen().print()
    screen().print(_readable(letter["payload"]), soft_wrap=True)


@dead_letters.command("replay")
def replay(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `list` shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Hand them to their reader again.

    What is still wrong comes back as a letter.
    """
    if bool(letter_ids) == everything:
        raise Failure("name the letters to replay, or say --all", WRONG_USE)
    replayed = ask(data, lambda api: _replay(api, letter_ids))
    if format is Format.json:
        put_json({"items": replayed})
    else:
        screen().print(f"{len(replayed)} replayed")


async def _replay(api: Api, letter_ids: list[str] | None) -> list[Any]:
    wanted = (
        letter_ids
        if letter_ids is not None
        else [letter["id"] async for letter in api.each("/api/dead-letters", "before") if not letter["replayed_at"]]
    )
    return [await api.post(f"/api/dead-letters/{letter_id}/replay") for letter_id in wanted]


def _readable(payload: str) -> Text:
    try:
        payload = json.dumps(json.loads(payload), ensure_ascii=False, indent=2)
    except ValueError:
        return safe(payload)
    return Text("\n").join(safe(row) for row in payload.splitlines())
