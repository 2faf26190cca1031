"""`dripline audit`: do the promises' counters reconcile?"""

from typing import Any

import typer
from rich.text import Text

from dripline.cli.client import DataOption, ask
from dripline.cli.shell import NO, Format, FormatOption, put_json, put_rows, screen, table

TOLD_ELSEWHERE = frozenset({"service", "name", "ok", "journey", "step"})


def audit(data: DataOption = None, format: FormatOption = Format.text) -> None:
    """Check that the counters reconcile.

    Those of the promises, in each service and across them; exit 1 if one does not.
    """
    found = ask(data, lambda api: api.get("/api/audit"))
    if format is Format.json:
        put_json(found)
    else:
        _show(found)
    if not found["ok"]:
        raise typer.Exit(NO)


def _show(found: dict[str, Any]) -> None:
    rows = table("", "service", "check", "")
    for check in found["checks"]:
        mark = Text("✓", "green") if check["ok"] else Text("✗", "bold red")
        rows.add_row(mark, check["service"], Text(check["name"]), Text(_detail(check), "dim"))
    put_rows(rows)
    broken = sum(not check["ok"] for check in found["checks"])
    screen().print(
        f"\n{broken} of {len(found['checks'])} checks do not reconcile" if broken else f"\nall {len(found['checks'])} checks reconcile"
    )


def _detail(check: dict[str, Any]) -> str:
    if check.get("detail"):
        return str(check["detail"])
    return ", ".join(f"{name} {value}" for name, value in check.items() if name not in TOLD_ELSEWHERE and value != "")
