"""When the definitions change, every lead is folded anew from the record: in the background, a few at a time, going on after a restart.

publish ──► tick ──► some leads ──store.fetch_leads──► renewed, saved, told as late ──► … ──► done
A lead that something happens to meanwhile is renewed first, by whoever has it in hand; so is what the API shows.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.leads import Definitions, Roster
from services.scoring.rulebook import Rulebook
from services.scoring.store import LEADS, fetch_leads, save
from services.scoring.tables import RenewalRow
from shared.db import Database, upsert
from shared.telemetry import LEADS_TO_RENEW
from shared.work import Outbox

RENEWALS: Table = RenewalRow.__table__  # type: ignore[attr-defined]
AT_ONCE = 100
"""Leads a transaction: events that arrive meanwhile wait no longer than for that."""
SETTLE = timedelta(seconds=10)
"""Before the first of them, so that no replica still goes by the definitions before (it looks every five seconds)."""
LOOKS_AGAIN = timedelta(seconds=1)
"""When to come back while another replica is at it."""


class Place(NamedTuple):
    """How far one version has come."""

    version: str
    began_at: datetime
    done_to: str
    is_done: bool


class Renewal:
    """Folds all leads anew, some at each step. Replicas take turns."""

    def __init__(self, database: Database, outbox: Outbox, rulebook: Rulebook) -> None:
        self._database = database
        self._outbox = outbox
        self._rulebook = rulebook
        self._left: int | None = None  # leads to go, once counted

    async def step(self, now: datetime) -> datetime | None:
        """Renew some of the leads that were folded under other definitions; answers when to go on, None when all are done."""
        definitions = await self._rulebook.newest()
        async with self._database.reading() as connection:
            row = await _row(connection, definitions.version)
        if row is None:
            await self._begin(definitions.version, now)
            return now + SETTLE
        if row.is_done:
            return None
        if now < row.began_at + SETTLE:
            return row.began_at + SETTLE
        return await self._some(definitions, now)

    async def _begin(self, version: str, now: datetime) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(delete(RENEWALS).where(RENEWALS.c.version != version))
            await upsert(connection, RENEWALS, [{"version": version, "began_at": now, "done_to": "", "is_done": False}], ["version"])

    async def _some(self, definitions: Definitions, now: datetime) -> datetime | None:
        """One step, unless another replica is at one; answers when to go on."""
        async with self._outbox.work() as work:
            row = await _row(work.conn, definitions.version, locked=True)
            if row is None:
                return now + LOOKS_AGAIN
            if row.is_done:
                return None
            living = select(LEADS.c.id).where(LEADS.c.id > row.done_to, LEADS.c.merged_into.is_(None))
            ids = list((await work.conn.execute(living.order_by(LEADS.c.id).limit(AT_ONCE))).scalars())
            roster = Roster(definitions, work.now)
            await fetch_leads(work.conn, roster, ids)
            await save(work, roster)
            place = {"done_to": ids[-1] if ids else row.done_to, "is_done": not ids}
            await upsert(work.conn, RENEWALS, [row._asdict() | place], ["version"])
            await self._count(work.conn, row.done_to, len(ids))
        return now if ids else None

    async def _count(self, connection: AsyncConnection, done_to: str, renewed: int) -> None:
        """Say how many are left; counted once, for counting a million takes longer than renewing some."""
        if self._left is None:
            self._left = await _behind(connection, done_to)
        self._left = max(0, self._left - renewed) if renewed else None
        LEADS_TO_RENEW.set(self._left or 0)


async def waiting(connection: AsyncConnection, version: str) -> int:
    """How many leads may still have to be renewed."""
    row = await _row(connection, version)
    return 0 if row is not None and row.is_done else await _behind(connection, "" if row is None else row.done_to)


async def _row(connection: AsyncConnection, version: str, *, locked: bool = False) -> Place | None:
    query = select(*(RENEWALS.c[name] for name in Place._fields)).where(RENEWALS.c.version == version)
    found = (await connection.execute(query.with_for_update(skip_locked=True) if locked else query)).one_or_none()
    return None if found is None else Place(*found)


async def _behind(connection: AsyncConnection, done_to: str) -> int:
    query = select(func.count()).select_from(LEADS).where(LEADS.c.id > done_to)
    return int((await connection.execute(query)).scalar_one())
