"""What `run` itself forgets of an erased person, once its services have: in the log, the mailbox, the sales inbox, SQLite's journal.

The services' graves say who is to be forgotten, as keyed hashes. A crash at any point is made good by the next look.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.console.pages import Forget
from shared.clock import Clock
from shared.db import Database, among
from shared.embedded_log import EmbeddedLog, Ends
from shared.erasing import ERASURES, GRAVES, Marks, bury, find_erasure
from shared.errors import Outage
from shared.log import Record
from shared.log_cleaning import Cleaner
from shared.tables import OutboxBlob
from shared.wire import Erasure
from shared.work import unpack_blob

OUTBOX: Table = OutboxBlob.__table__  # type: ignore[attr-defined]
HOUSE = "house"
"""The name under which the house keeps its own erasures, beside the services'."""
SERVICES = ("ingest", "scoring", "journeys", "mailer")

AGAIN_AFTER = timedelta(hours=1)
"""Late events of an erased person lie in the log too: it is rewritten again, not for each of them."""


@dataclass(slots=True)
class _Round:
    """Those who are forgotten together, and how far the house is with it.

    Who becomes due meanwhile waits for the next: her traces may lie behind this one's end.
    """

    due: Mapping[str, int]
    graves: Mapping[str, datetime]
    began: Ends  # of the log, when they became due
    sealed: Ends | None = None
    removed: dict[str, int] = field(default_factory=dict)


class HouseErasing:
    """Looks whom all services have forgotten, and forgets them too. `rooms` are what the house keeps beside database and log, by name."""

    def __init__(self, database: Database, log: EmbeddedLog, clock: Clock, marks: Marks, rooms: Mapping[str, Forget]) -> None:
        self._database = database
        self._log = log
        self._clock = clock
        self._marks = marks
        self._rooms = rooms
        self._round: _Round | None = None  # kept from look to look; a restart begins it anew

    async def look(self) -> None:
        """Forget who is to be forgotten. Raises Outage where that must wait; the next look tries again."""
        self._round = self._round or await self._begun()
        if self._round is None:
            return
        await self._forget(self._round)
        async with self._database.transaction() as connection:
            for lead_id, late in self._round.due.items():
                await _note(connection, lead_id, late, self._round.removed, self._clock.now())
        self._round = None

    async def of(self, lead_id: str) -> dict[str, Any] | None:
        """How far the house is with forgetting a lead; None before it began."""
        async with self._database.reading() as connection:
            return await find_erasure(connection, HOUSE, lead_id)

    async def _begun(self) -> _Round | None:
        async with self._database.reading() as connection:
            due = await _due(connection, self._clock.now())
            graves = await _graves(connection, due)
        return _Round(due, graves, self._log.ends()) if due else None

    async def _forget(self, current: _Round) -> None:
        """What is done of a round stays done, should the rest have to wait."""
        if "log" not in current.removed:
            current.removed["log"] = await self._rewrite_log(current)
        for what, forget in self._rooms.items():
            if what not in current.removed:
                current.removed[what] = await asyncio.to_thread(forget, lambda name: self._marks.of(name) in current.graves)
        await self._database.empty_journal()

    async def _rewrite_log(self, current: _Round) -> int:
        """Seals once all is handled that was there: what the services still told of it lies before the seal too."""
        cleaner = Cleaner(self._marks, current.graves)
        if current.sealed is None:
            await self._log.check_handled(current.began)
            await self._await_outboxes(cleaner)
            current.sealed = await self._log.seal()
        return await self._log.rewrite(cleaner.clean, current.sealed)

    async def _await_outboxes(self, cleaner: Cleaner) -> None:
        """What was published lies there until its service's next commit, or its next sweep."""
        async with self._database.reading() as connection:
            blobs = (await connection.execute(select(OUTBOX.c.topic, OUTBOX.c.records))).all()
        for topic, records in blobs:
            if any(cleaner.clean(topic, Record(key, value, self._clock.now())) for key, value in unpack_blob(records)):
                raise Outage("an outbox still holds something of an erased person")


async def _due(connection: AsyncConnection, now: datetime) -> dict[str, int]:
    """Whom to forget here, with how much came late of each: those whom all services forgot, and, after a while, those of whom more came."""
    found = await connection.execute(select(ERASURES.c.service, ERASURES.c.lead_id, ERASURES.c.done_at, ERASURES.c.dropped))
    by_lead: dict[str, dict[str, Any]] = {}
    for row in found:
        by_lead.setdefault(row.lead_id, {})[row.service] = row
    late = {lead_id: sum(rows[service].dropped for service in SERVICES if service in rows) for lead_id, rows in by_lead.items()}
    return {lead_id: late[lead_id] for lead_id, rows in by_lead.items() if _is_due(rows, late[lead_id], now)}


def _is_due(rows: Mapping[str, Any], late: int, now: datetime) -> bool:
    if not all(service in rows and rows[service].done_at for service in SERVICES):
        return False
    ours = rows.get(HOUSE)
    return ours is None or (late > ours.dropped and now - ours.done_at >= AGAIN_AFTER)


async def _graves(connection: AsyncConnection, lead_ids: Iterable[str]) -> dict[str, datetime]:
    found = await connection.execute(select(GRAVES.c.mark, GRAVES.c.at).where(among(GRAVES.c.lead_id, lead_ids)))
    return {mark: at for mark, at in found}


async def _note(connection: AsyncConnection, lead_id: str, late: int, removed: dict[str, int], now: datetime) -> None:
    """Write down that it is done; where others were forgotten in the same look, what went is counted for each."""
    at = (await connection.execute(select(ERASURES.c.at).where(ERASURES.c.lead_id == lead_id).limit(1))).scalar_one()
    await bury(connection, HOUSE, Erasure(erased=lead_id, at=at, lead_ids=[lead_id], marks=[]), removed, now)
    here = (ERASURES.c.service == HOUSE, ERASURES.c.lead_id == lead_id)
    await connection.execute(update(ERASURES).where(*here).values(dropped=late))
