"""`dripline lead`: one person, with the readiness and its reasons, the journeys and the timeline."""

from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dripline.cli.client import Api, DataOption, ask
from dripline.cli.shell import NO, Failure, Format, FormatOption, put_json, safe, screen, short, table
from services.console.telling import Line, line, told_traits, walk
from services.console.words import plain, points, who

TONES = {
    "sent": "green",
    "failed": "red",
    "in_doubt": "red",
    "suppressed": "dim",
    "queued": "yellow",
    "sending": "yellow",
    "deferred": "yellow",
}
MARKS = {"event": "●", "readiness": "◆", "step": "·", "delivery": "✉"}


def lead(
    who: Annotated[str, typer.Argument(metavar="EMAIL_OR_ID", help="An address, a user id or a lead id.")],
    limit: Annotated[int, typer.Option(min=1, max=200, help="How much of the timeline to show.")] = 30,
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Show a lead.

    Profile, readiness with reasons, journeys, timeline.
    """
    found = ask(data, lambda api: _fetch(api, who, limit))
    put_json(found) if format is Format.json else _show(screen(), found)


async def find_lead(api: Api, who: str) -> dict[str, Any]:
    """The lead of this address, lead id or user id. Raises Failure where there is none."""
    direct: dict[str, Any] | None = None if "@" in who else await api.find(f"/api/leads/{quote(who, safe='')}")
    if direct is not None:
        return direct
    for field in ("email", "user_id"):
        items = (await api.get("/api/leads", **{field: who}))["items"]
        if items:
            whole: dict[str, Any] = await api.get(f"/api/leads/{items[0]['id']}")
            return whole
    raise Failure(f"no lead {who}; it takes an address, a user id or a lead id", NO)


async def find_leads(api: Api, who: str) -> list[dict[str, Any]]:
    """Every lead that has this address; or the one of this lead id or user id. Empty where there is none."""
    direct = None if "@" in who else await api.find(f"/api/leads/{quote(who, safe='')}")
    if direct is not None:
        return [direct]
    by_address = [lead async for lead in api.each("/api/leads", email=who)]
    return by_address or [lead async for lead in api.each("/api/leads", user_id=who)]


async def _fetch(api: Api, who: str, limit: int) -> dict[str, Any]:
    found = await find_lead(api, who)
    timeline = await api.get(f"/api/leads/{found['id']}/timeline", limit=limit)
    return found | {"timeline": timeline["items"]}


def _show(out: Console, found: dict[str, Any]) -> None:
    out.print()
    out.print(_heading(found))
    out.print(_profile(found))
    _section(out, "readiness", _reasons(found))
    _section(out, "journeys", _walks(found))
    _section(out, "timeline", _timeline(found))


def _heading(found: dict[str, Any]) -> Text:
    readiness, hot = found["readiness"], found.get("hot")
    colour = "dark_orange" if hot else "cyan"
    return Text.assemble(
        safe(who(found), "bold"),
        "   ",
        ("▰" * readiness, colour),
        ("▱" * (10 - readiness), "dim"),
        (f" {readiness}", f"bold {colour}"),
        (" of 10", "dim"),
        ("  hot" if hot else "", "bold dark_orange"),
        ("  asleep" if found.get("sleeping") else "", "dim"),
    )


def _profile(found: dict[str, Any]) -> Table:
    consent = found.get("consent") or {}
    given = f"yes, {consent.get('source') or 'source unknown'}" if consent.get("marketing") else "no"
    said = {
        "e-mail": found.get("email"),
        "user id": found.get("user_id"),
        "lead id": found["id"],
        "consent": given,
        "tags": ", ".join(found.get("tags") or []),
        "zone": found.get("timezone"),
        "last seen": short(found.get("last_seen_at")),
    } | told_traits(found)
    rows = Table.grid(padding=(0, 2))
    for name, value in said.items():
        if value not in (None, ""):
            rows.add_row(safe(name, "dim"), safe(plain(value)))
    return rows


def _reasons(found: dict[str, Any]) -> Table | None:
    if not found.get("reasons"):
        return None
    rows = Table.grid(padding=(0, 2))
    rows.add_column(justify="right")
    for reason in found["reasons"]:
        count = f"{reason['count']} times" if (reason.get("count") or 0) > 1 else ""
        rows.add_row(
            points(reason["points"]),
            safe(reason["text"] or reason["rule"].replace("_", " ")),
            Text(count, "dim"),
            Text(short(reason.get("at")), "dim"),
        )
    rows.add_row(Text(points(found["points"]), "bold"), Text("together", "bold"))
    return rows


def _walks(found: dict[str, Any]) -> Table | None:
    if not found.get("enrollments"):
        return None
    rows = Table.grid(padding=(0, 2))
    for enrollment in map(walk, found["enrollments"]):
        wakes = f"wakes {short(enrollment.wake_at)}" if enrollment.wake_at else ""
        rows.add_row(
            safe(enrollment.journey), safe(enrollment.key, "dim"), enrollment.where, safe(enrollment.story, "dim"), Text(wakes, "dim")
        )
    return rows


def _timeline(found: dict[str, Any]) -> Table | None:
    lines = [said for item in found["timeline"] if (said := line(item)) is not None]
    if not lines:
        return None
    rows = table()
    rows.show_header = False
    for said in lines:
        rows.add_row(Text(short(said.at), "dim"), _told(said))
    return rows


def _told(said: Line) -> Text:
    return Text.assemble(
        (f"{MARKS[said.kind]} ", "cyan" if said.kind == "readiness" else "dim"),
        safe(said.title, "dim" if said.kind == "step" else ""),
        (f" {said.status.replace('_', ' ')}" if said.status else "", TONES.get(said.status, "")),
        ("".join(f" {mark}" for mark in said.marks), "green"),
        safe(f"  {said.detail}" if said.detail else "", "dim"),
    )


def _section(out: Console, title: str, rows: Table | None) -> None:
    if rows is not None:
        out.print(Text(f"\n{title}", "bold"))
        out.print(rows)
