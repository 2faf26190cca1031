"""Forgetting a person: the graves that each service keeps, what is held against them, and the dead letters that go.

A grave says that somebody was erased, never who: lead ids stand in it as they are, everything else as a keyed hash. See docs/adr/0008.
"""

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from fastapi import APIRouter
from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import among, insert_all, upsert
from shared.dead_letters import naming
from shared.http import Problem, allow
from shared.names import Name, keyed_names, names_in
from shared.service import Ports
from shared.signing import Signer
from shared.tables import DeadLetterRow, ErasureRow, GraveRow
from shared.wire import Erasure

ERASED = "Lead Erased"
REASON = "erased"
"""Why a walk ended or a message stayed, where it is for this."""

ERASURES: Table = ErasureRow.__table__  # type: ignore[attr-defined]
GRAVES: Table = GraveRow.__table__  # type: ignore[attr-defined]
LETTERS: Table = DeadLetterRow.__table__  # type: ignore[attr-defined]


class Marks:
    """What stands in a grave for a name; only who has the house's secret can make one."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def of(self, name: Name) -> str:
        if name.kind == "lead":
            return f"lead:{name.value}"
        return f"{name.kind}:{self._signer.mac('grave', f'{name.kind}:{name.value}'.encode()).hex()}"

    def of_all(self, names: Iterable[Name]) -> set[str]:
        return {self.of(name) for name in names}


def marks_of(erasure: Erasure) -> set[str]:
    """Everything the person was known by, as marks."""
    return {*erasure.marks, *(f"lead:{lead_id}" for lead_id in erasure.lead_ids)}


async def bury(connection: AsyncConnection, service: str, erasure: Erasure, removed: dict[str, int], done_at: datetime | None) -> None:
    """Keep the person's grave, and what this service removed. A repeat adds what it has found since."""
    rows = [{"service": service, "mark": mark, "lead_id": erasure.erased, "at": erasure.at} for mark in sorted(marks_of(erasure))]
    await upsert(connection, GRAVES, rows, ["service", "mark"])
    if await _is_new(connection, service, erasure):
        await insert_all(connection, ERASURES, [_fresh(service, erasure)])
    await add_removed(connection, service, erasure.erased, removed, done_at)


async def add_removed(connection: AsyncConnection, service: str, lead_id: str, removed: dict[str, int], done_at: datetime | None) -> None:
    """Count what was removed; with `done_at` nothing of the person is left here."""
    here = (ERASURES.c.service == service, ERASURES.c.lead_id == lead_id)
    before = json.loads((await connection.execute(select(ERASURES.c.removed).where(*here))).scalar_one())
    counts = {what: before.get(what, 0) + removed.get(what, 0) for what in sorted({*before, *removed})}
    await connection.execute(update(ERASURES).where(*here).values(removed=json.dumps(counts), done_at=done_at))


async def count_dropped(connection: AsyncConnection, service: str, lead_id: str, count: int) -> None:
    """Count events of an erased person that came after the erasure and were of the time before it."""
    here = (ERASURES.c.service == service, ERASURES.c.lead_id == lead_id)
    await connection.execute(update(ERASURES).where(*here).values(dropped=ERASURES.c.dropped + count))


class Grave(NamedTuple):
    """Whose grave it is, and since when."""

    lead_id: str
    at: datetime


async def find_graves(connection: AsyncConnection, service: str, marks: Collection[str]) -> dict[str, Grave]:
    """The graves among these marks."""
    if not marks:
        return {}
    found = select(GRAVES.c.mark, GRAVES.c.lead_id, GRAVES.c.at).where(GRAVES.c.service == service, among(GRAVES.c.mark, marks))
    return {mark: Grave(lead_id, at) for mark, lead_id, at in await connection.execute(found)}


async def find_erased(connection: AsyncConnection, service: str, lead_ids: Iterable[str]) -> set[str]:
    """Those of the leads that this service has forgotten."""
    found = await find_graves(connection, service, {f"lead:{lead_id}" for lead_id in lead_ids})
    return {mark.removeprefix("lead:") for mark in found}


async def newest_erasure(connection: AsyncConnection, service: str) -> datetime | None:
    """When somebody was erased last; None where nobody ever was."""
    found: datetime | None = (await connection.execute(select(func.max(ERASURES.c.at)).where(ERASURES.c.service == service))).scalar_one()
    return found


async def delete_letters(connection: AsyncConnection, service: str, erasure: Erasure, marks: Marks) -> int:
    """Delete the service's dead letters that name the person; says how many."""
    wanted = marks_of(erasure)
    named = naming(connection, service, lambda key, payload: bool(wanted & marks.of_all(names_in(payload) | keyed_names(key))))
    theirs = [letter["id"] async for letter in named]
    await connection.execute(delete(LETTERS).where(among(LETTERS.c.id, theirs)))
    return len(theirs)


async def delete_of_leads(connection: AsyncConnection, tables: Iterable[Table], lead_ids: Collection[str]) -> int:
    """Delete the rows of these leads from tables that have a `lead_id`; says how many."""
    gone = 0
    for table in tables:
        gone += (await connection.execute(delete(table).where(among(table.c.lead_id, lead_ids)))).rowcount
    return gone


async def find_erasure(connection: AsyncConnection, service: str, lead_id: str) -> dict[str, Any] | None:
    """How far a service is with forgetting a lead, found by any of its ids; None where it was not told to."""
    graves = await find_graves(connection, service, {f"lead:{lead_id}"})
    if not graves:
        return None
    whose = graves[f"lead:{lead_id}"].lead_id
    row = (await connection.execute(select(ERASURES).where(ERASURES.c.service == service, ERASURES.c.lead_id == whose))).one()
    return {
        "service": service,
        "lead_id": row.lead_id,
        "at": row.at,
        "done_at": row.done_at,
        "removed": json.loads(row.removed),
        "dropped": row.dropped,
    }


def erasure_routes(ports: Ports, service: str) -> APIRouter:
    """`/api/erasures/{lead_id}`: how far this service is."""
    router = APIRouter(prefix="/api/erasures")

    @router.get("/{lead_id}", dependencies=[allow()])
    async def show(lead_id: str) -> dict[str, Any]:
        async with ports.database.reading() as connection:
            found = await find_erasure(connection, service, lead_id)
        if found is None:
            raise Problem(404, "not_found", f"{service} was not told to forget a lead {lead_id}")
        return found

    return router


def _fresh(service: str, erasure: Erasure) -> dict[str, Any]:
    return {"service": service, "lead_id": erasure.erased, "at": erasure.at, "done_at": None, "removed": "{}", "dropped": 0}


async def _is_new(connection: AsyncConnection, service: str, erasure: Erasure) -> bool:
    known = select(ERASURES.c.lead_id).where(ERASURES.c.service == service, ERASURES.c.lead_id == erasure.erased)
    return (await connection.execute(known)).one_or_none() is None
