"""`dripline import`: the leads of a CSV file, through the tracking API's import path, as any program with a secret key could do it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dripline.cli.client import Api, DataOption, ask
from dripline.cli.shell import NO, WRONG_USE, Failure, Format, FormatOption, put_json, safe, screen
from dripline.leads_file import Bad, LeadsFile, Row, batches, opened

ROWS_AT_ONCE, BYTES_AT_ONCE = 500, 900_000
SHOWN = 50
"""Errors told for people; programs get all of them."""


def import_leads(
    file: Annotated[Path, typer.Argument(help="CSV with a heading: email, user_id, consent, …; any other column becomes a trait.")],
    columns: Annotated[list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help='What a column is: "Contact=email".')] = None,
    encoding: Annotated[str | None, typer.Option(help="How the file is written.", show_default="found out")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong; send nothing.")] = False,
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Bring leads in from a CSV file.

    Rows with a mistake are named and left out, the others go in; exit 1 if there were any. Doing it again changes nothing.
    """
    leads = opened(file, encoding, dict(_parted(given) for given in columns or ()))
    bad: list[Bad] = []
    with leads.raw, _progress(format) as progress:
        rows = _good(leads, f"import:{file.name}", bad, progress)
        sent = sum(1 for _ in rows) if dry_run else ask(data, lambda api: _send(api, rows, bad))
    told = sorted(bad, key=lambda one: one.number)
    if format is Format.json:
        put_json(_document(leads, sent, told))
    else:
        _show(leads, sent, told, dry_run=dry_run)
    if bad:
        raise typer.Exit(NO)


def _parted(given: str) -> tuple[str, str]:
    column, equals, field = given.rpartition("=")
    if not equals:
        raise Failure(f'--map {given}: write it as "COLUMN=FIELD"', WRONG_USE)
    return column, field


def _progress(format: Format) -> Progress:
    """A bar on stderr, where people look and a terminal is."""
    out = screen(stderr=True)
    what = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*what, console=out, transient=True, disable=format is Format.json or not out.is_terminal)


def _good(leads: LeadsFile, source: str, bad: list[Bad], progress: Progress) -> Iterator[Row]:
    """The rows that can be sent; the others go into `bad`. The bar goes by how much of the file was read."""
    task = progress.add_task("", total=os.fstat(leads.raw.fileno()).st_size)
    for row in leads.rows(source):
        progress.update(task, completed=leads.raw.tell(), description=f"row {row.number}")
        if isinstance(row, Row):
            yield row
        else:
            bad.append(row)


async def _send(api: Api, rows: Iterator[Row], bad: list[Bad]) -> int:
    sent = 0
    for part in batches(rows, ROWS_AT_ONCE, BYTES_AT_ONCE):
        answer = await api.track("/v1/import", {"batch": [await _known(api, row) for row in part]})
        rejected = {one["index"]: one["message"] for one in answer.get("rejected", ())}
        bad += [Bad(part[index].number, "", message) for index, message in rejected.items()]
        sent += len(part) - len(rejected)
    return sent


async def _known(api: Api, row: Row) -> dict[str, Any]:
    """The call; where only an address names the lead, under the user id that this address has already."""
    call = dict(row.call)
    address = call["traits"].get("email", "")
    if call.get("userId", "") == address.lower():
        found = (await api.get("/api/leads", email=address))["items"]
        call["userId"] = next((lead["user_id"] for lead in found if lead["user_id"]), call["userId"])
    return call


def _document(leads: LeadsFile, sent: int, bad: list[Bad]) -> dict[str, Any]:
    wrong = [{"row": one.number, "column": one.column or None, "message": one.message} for one in bad]
    return {"encoding": leads.encoding, "delimiter": leads.delimiter, "accepted": sent, "rejected": wrong}


def _show(leads: LeadsFile, sent: int, bad: list[Bad], *, dry_run: bool) -> None:
    for one in bad[:SHOWN]:
        screen(stderr=True).print(safe(one), soft_wrap=True)
    if len(bad) > SHOWN:
        screen(stderr=True).print(f"… and {len(bad) - SHOWN} more; --format json names all of them")
    what = "could be sent" if dry_run else "went in"
    left = f", {len(bad)} did not" if bad and not dry_run else (f", {len(bad)} could not" if bad else "")
    screen().print(f"{sent} {'row' if sent == 1 else 'rows'} {what}{left} ({leads.encoding})")
