"""`dripline erase`: forget a person everywhere, and wait until everybody has."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from dripline.cli.client import Api, DataOption, ask
from dripline.cli.lead import find_leads
from dripline.cli.shell import NO, WRONG_USE, Failure, Format, FormatOption, confirmed, put_json, put_rows, safe, screen, table
from services.console.words import who

PART_SECONDS = 15
"""How long one request waits; then it is asked again."""


def erase(
    person: Annotated[str, typer.Argument(metavar="EMAIL_OR_ID", help="An address (all leads that have it), a user id or a lead id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[int, typer.Option(min=0, max=3600, help="Seconds to wait until all services have obeyed.")] = 60,
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Forget a person everywhere.

    In every table, log, dead letter and mailbox. Exit 1 if not all have obeyed in time; asking again goes on.
    """
    leads = ask(data, lambda api: _found(api, person))
    called = _called(leads) if leads else f"what is held for {safe(person)}"
    if not yes and format is Format.json:
        raise Failure("this cannot be undone: say --yes with --format json", WRONG_USE)
    if not yes and not confirmed(f"erase {called} for good?"):
        raise typer.Exit(NO)
    erased = ask(data, lambda api: _erase(api, person, [lead["id"] for lead in leads], wait))
    if format is Format.json:
        put_json({"items": erased})
    elif not leads and _is_empty(erased):
        screen().print(f"nothing is held any more for {safe(person)}", soft_wrap=True)
    else:
        _show(erased)
    if not all(one["done"] for one in erased):
        raise typer.Exit(NO)


async def _found(api: Api, person: str) -> list[dict[str, Any]]:
    """The leads to erase; one that is erased already is asked for by its id again. None for an address that no lead has (any more)."""
    leads = await find_leads(api, person)
    if leads or "@" in person:
        return leads
    known = await api.find(f"/api/erasures/{quote(person, safe='')}")
    if known is None:
        raise Failure(f"no lead {person}; it takes an address, a user id or a lead id", NO)
    return [{"id": known["lead_id"]}]


async def _erase(api: Api, person: str, lead_ids: list[str], wait: int) -> list[dict[str, Any]]:
    wait = wait if api.is_live else 0
    paths = [f"/api/leads/{quote(lead_id, safe='')}" for lead_id in lead_ids] or [f"/api/addresses/{quote(person, safe='')}"]
    return [await _erase_one(api, path, wait) for path in paths]


async def _erase_one(api: Api, path: str, wait: int) -> dict[str, Any]:
    while True:
        state: dict[str, Any] = await api.delete(path, wait=min(wait, PART_SECONDS))
        wait -= PART_SECONDS
        if state["done"] or wait <= 0:
            return state
        path = f"/api/leads/{quote(state['lead_id'], safe='')}"


def _is_empty(erased: list[dict[str, Any]]) -> bool:
    """Whether all have obeyed, and there was nothing to remove."""
    return all(one["done"] and not any(any(removed.values()) for removed in one["removed"].values()) for one in erased)


def _called(leads: list[dict[str, Any]]) -> str:
    return ", ".join(str(safe(who(lead))) for lead in leads)


def _show(erased: list[dict[str, Any]]) -> None:
    for one in erased:
        screen().print(f"{one['lead_id']}: " + ("forgotten" if one["done"] else "not forgotten everywhere yet"))
        rows = table("where", "removed")
        for service, removed in one["removed"].items():
            rows.add_row(service, ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in removed.items() if count) or "nothing")
        put_rows(rows)
        if one["pending"]:
            screen().print(
                f"still to obey: {', '.join(one['pending'])}. They do while `dripline run` runs; ask again to see", soft_wrap=True
            )
