"""`dripline deliveries`: the ledger of what goes out, another try for what failed, and a word on what is in doubt."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from dripline.cli.client import Api, DataOption, ask
from dripline.cli.lead import TONES, find_lead
from dripline.cli.shell import (
    NO,
    WRONG_USE,
    Commands,
    Failure,
    Format,
    FormatOption,
    confirmed,
    put_json,
    put_rows,
    safe,
    screen,
    short,
    table,
)

deliveries = typer.Typer(name="deliveries", cls=Commands, help="What goes out: mails and webhooks.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]


class Status(StrEnum):
    queued = "queued"
    sending = "sending"
    sent = "sent"
    deferred = "deferred"
    suppressed = "suppressed"
    in_doubt = "in_doubt"
    failed = "failed"


class Kind(StrEnum):
    email = "email"
    webhook = "webhook"


@deliveries.command("list")
def list_deliveries(
    lead: Annotated[str | None, typer.Option(help="Of this address, user id or lead id.")] = None,
    journey: Annotated[str | None, typer.Option(help="Of this journey.")] = None,
    status: Annotated[Status | None, typer.Option(help="That stand so.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Mails or webhooks.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """List deliveries, newest first."""

    async def fetch(api: Api) -> dict[str, Any]:
        lead_id = (await find_lead(api, lead))["id"] if lead else None
        found: dict[str, Any] = await api.get("/api/deliveries", lead_id=lead_id, journey=journey, status=status, kind=kind, limit=limit)
        return found

    found = ask(data, fetch)
    put_json(found) if format is Format.json else _show(found)


def _show(found: dict[str, Any]) -> None:
    rows = table("id", "queued", "to", "what", "status", "attempts")
    for delivery in found["items"]:
        journey, reason, status = delivery.get("journey"), delivery.get("reason"), delivery["status"]
        what = Text.assemble(safe(delivery.get("template") or delivery["kind"]), safe(f"  {journey}" if journey else "", "dim"))
        stands = Text.assemble((status.replace("_", " "), TONES.get(status, "")), safe(f"  {reason}" if reason else "", "dim"))
        rows.add_row(delivery["id"], short(delivery["queued_at"]), safe(delivery.get("to") or ""), what, stands, str(delivery["attempts"]))
    put_rows(rows) if found["items"] else screen().print("no deliveries")
    for delivery in found["items"]:
        if delivery["status"] in ("deferred", "failed", "in_doubt") and delivery.get("detail"):
            screen().print(safe(f"{delivery['id']}: {delivery['detail']}"), soft_wrap=True)
    if found["next"]:
        screen(stderr=True).print("there are more; --limit shows up to 500", style="dim")


class Settled(StrEnum):
    sent = "sent"
    failed = "failed"
    retry = "retry"


class Retried(StrEnum):
    failed = "failed"
    deferred = "deferred"


@deliveries.command("retry")
def retry(
    delivery_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `list` shows them.")] = None,
    status: Annotated[Retried | None, typer.Option(help="All that stand so.")] = None,
    reason: Annotated[str | None, typer.Option(help="All that failed or were deferred for this reason.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that failed or were deferred.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Try again now.

    What failed, or was deferred: by id, or all of a kind, after asking.
    """
    if bool(delivery_ids) == bool(status or reason or everything):
        raise Failure("name the deliveries to retry, or say which: --status, --reason, --all", WRONG_USE)
    if not delivery_ids:
        delivery_ids = ask(data, lambda api: _that_stand(api, [status] if status else list(Retried), reason))
        few = f"{len(delivery_ids)} deliver{'y' if len(delivery_ids) == 1 else 'ies'}"
        if delivery_ids and not yes and not confirmed(f"try {few} again?"):
            raise typer.Exit(NO)
    _each(data, format, delivery_ids, "retry", None)


async def _that_stand(api: Api, statuses: list[Retried], reason: str | None) -> list[str]:
    found = [row for status in statuses for row in [one async for one in api.each("/api/deliveries", status=status)]]
    return [row["id"] for row in found if reason in (None, row["reason"])]


@deliveries.command("resolve")
def resolve(
    delivery_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `list --status in_doubt` shows them.")],
    settled: Annotated[Settled, typer.Option("--as", help="What became of it; `retry` sends it again, perhaps twice.")],
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Settle what is in doubt.

    The mail server may have taken it; whoever can look there says what became of it.
    """
    _each(data, format, delivery_ids, "resolve", {"as": settled})


def _each(data: Path | None, format: Format, delivery_ids: list[str], act: str, body: dict[str, str] | None) -> None:
    async def post(api: Api) -> list[dict[str, Any]]:
        return [await api.post(f"/api/deliveries/{delivery_id}/{act}", body) for delivery_id in delivery_ids]

    changed = ask(data, post)
    if format is Format.json:
        put_json({"items": changed, "next": None})
        return
    if not changed:
        screen().print("no deliveries")
    for delivery in changed:
        screen().print(f"{delivery['id']} is {delivery['status'].replace('_', ' ')}")
