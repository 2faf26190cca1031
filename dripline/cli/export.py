"""`dripline export`: everything held about a person, as one JSON document."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from dripline.cli.client import Api, DataOption, ask
from dripline.cli.lead import find_lead, find_leads
from dripline.cli.shell import WRONG_USE, Failure, screen


def export(
    lead: Annotated[str, typer.Argument(metavar="EMAIL_OR_ID", help="An address, a user id or a lead id.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.", show_default="stdout")] = None,
    data: DataOption = None,
) -> None:
    """Write down everything held about a person.

    Profile, events, journeys, deliveries, consent, dead letters: one JSON document.
    """
    ask(data, lambda api: _write(api, lead, output))


async def _path_of(api: Api, lead: str) -> str:
    """Where the document is. Of an address that no lead has, there is what went to it."""
    if "@" in lead and not await find_leads(api, lead):
        return f"/api/addresses/{quote(lead, safe='')}/export"
    return f"/api/leads/{quote((await find_lead(api, lead))['id'], safe='')}/export"


async def _write(api: Api, lead: str, output: Path | None) -> None:
    path = await _path_of(api, lead)
    if output is None:
        async for piece in api.stream(path):
            typer.echo(piece, nl=False)
        typer.echo()
        return
    draft = output.with_name(f".{output.name}.new")
    try:
        with draft.open("wb") as file:
            async for piece in api.stream(path):
                file.write(piece)
        draft.rename(output)  # whole or not at all
    except OSError as error:
        raise Failure(f"{output}: cannot be written ({error.strerror})", WRONG_USE) from error
    finally:
        draft.unlink(missing_ok=True)
    screen(stderr=True).print(f"{output}: written", style="dim")
