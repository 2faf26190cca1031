"""`dripline audit`: do the promises' counters reconcile?"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.text import Text

from dripline.cli.client import Api, DataOption, ask
from dripline.cli.shell import NO, Format, FormatOption, put_json, put_rows, safe, screen, short, table

SHOWN = 10
"""Offenders that are named of each check."""
AT_ONCE = 200
WholeOption = Annotated[bool, typer.Option("--whole", help="Fold every lead anew from its record, too: minutes for a million leads.")]


def audit(data: DataOption = None, whole: WholeOption = False, format: FormatOption = Format.text) -> None:
    """Check that the counters reconcile.

    Those of the promises, in each service and across them; exit 1 if one does not. What still waits is no mistake.
    """
    found = ask(data, lambda api: _asked(api, whole=whole))
    if format is Format.json:
        put_json(found)
    else:
        _show(found)
    if not found["ok"]:
        raise typer.Exit(NO)


async def _asked(api: Api, *, whole: bool) -> dict[str, Any]:
    found: dict[str, Any] = await api.get("/api/audit")
    if whole:
        check = await _refolded(api)
        found = {"ok": found["ok"] and check["ok"], "checks": [*found["checks"], check]}
    return found


async def _refolded(api: Api) -> dict[str, Any]:
    """All leads, some at a time."""
    checked = waiting = 0
    offenders: list[Any] = []
    after: str | None = ""
    with Progress(console=screen(stderr=True), transient=True) as bar:
        task = bar.add_task("leads folded anew", total=None)
        while after is not None:
            page = await api.get("/api/audit/refolded", after=after, limit=AT_ONCE)
            checked, waiting = checked + page["checked"], waiting + page["waiting"]
            offenders += page["offenders"]
            bar.update(task, completed=checked + waiting, total=page.get("leads"))
            after = page["next"]
    return {
        "service": "scoring",
        "name": "all leads = their recorded events folded anew",
        "promise": 1,
        "ok": not offenders,
        "left": checked - len(offenders),
        "right": checked,
        "detail": f"{waiting} wait for a change of rules" if waiting else "",
        "offenders": offenders[:SHOWN],
    }


def _show(found: dict[str, Any]) -> None:
    rows = table("", "promise", "service", "check", "")
    for check in sorted(found["checks"], key=lambda one: one.get("promise", 0)):
        mark = Text("✓", "green") if check["ok"] else Text("✗", "bold red")
        said = Text(_detail(check), "dim") if check["ok"] else _difference(check)
        rows.add_row(mark, str(check.get("promise", "")), check["service"], safe(check["name"]), said)
    put_rows(rows)
    broken = [check for check in found["checks"] if not check["ok"]]
    for check in broken:
        _name_offenders(check)
    many = len(found["checks"])
    screen().print(f"\n{len(broken)} of {many} checks do not reconcile" if broken else f"\nall {many} checks reconcile")


def _detail(check: Mapping[str, Any]) -> str:
    return str(check.get("detail") or f"{check.get('left', '')}")


def _difference(check: Mapping[str, Any]) -> Text:
    said = f"{check.get('left', '?')} ≠ {check.get('right', '?')}"
    return Text(f"{said}: {check['detail']}" if check.get("detail") else said, "red")


def _name_offenders(check: Mapping[str, Any]) -> None:
    offenders = check.get("offenders", [])
    if not offenders:
        return
    screen().print(safe(f"\n{check['service']}: {check['name']}", "bold"))
    for offender in offenders:
        screen().print(safe("  " + ", ".join(f"{name} {_plain(value)}" for name, value in offender.items() if value is not None)))
    more = abs(check["left"] - check["right"]) - len(offenders)
    if more > 0:
        screen().print(f"  and {more} more")


def _plain(value: Any) -> str:
    """A moment to the minute, all else as it is."""
    if isinstance(value, str) and value.endswith("Z") and value[4:5] == "-":
        return short(value)
    return str(value)
