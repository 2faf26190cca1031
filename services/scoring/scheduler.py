"""What time does to leads: the sweep reckons anew those whose fading has reached a change, and those whose silence makes them sleep."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.leads import Roster
from services.scoring.rulebook import Rulebook
from services.scoring.store import LEADS, fetch_leads, save
from shared.db import Database
from shared.failpoints import passing
from shared.work import Outbox

AT_ONCE = 500
"""Leads a transaction: others that write wait no longer than for a batch of events."""
LOOKS_AGAIN = timedelta(seconds=1)
"""When to come back for what is due and others hold."""


class Sweep:
    """Rescores what is due. Replicas share the work: each takes rows that no other holds."""

    def __init__(self, database: Database, outbox: Outbox, rulebook: Rulebook) -> None:
        self._database = database
        self._outbox = outbox
        self._rulebook = rulebook

    async def tick(self, now: datetime) -> datetime | None:
        """Rescore every lead that is due; answers when the next one will be."""
        due = await self._next_due()
        while due is not None and due <= now:
            if not await self._rescore(now):
                return now + LOOKS_AGAIN
            due = await self._next_due()
        return due

    async def _next_due(self) -> datetime | None:
        async with self._database.reading() as connection:
            fading = select(func.min(LEADS.c.next_change_at)).where(LEADS.c.next_change_at.is_not(None))  # as its index says: no scan
            found: datetime | None = (await connection.execute(fading)).scalar_one()
            return found

    async def _rescore(self, now: datetime) -> int:
        """Rescore some of those due; answers how many, 0 where others hold them."""
        definitions = await self._rulebook.newest()
        async with self._outbox.work() as work:
            roster = Roster(definitions, work.now)
            await fetch_leads(work.conn, roster, await _claimed(work.conn, now))
            for lead_id in sorted(roster.leads):
                roster.rescore(lead_id)
            await save(work, roster)
            passing("scoring.before_sweep")
        passing("scoring.after_sweep")
        return len(roster.leads)


async def _claimed(connection: AsyncConnection, now: datetime) -> list[str]:
    due = select(LEADS.c.id).where(LEADS.c.next_change_at <= now).order_by(LEADS.c.next_change_at).limit(AT_ONCE)
    return list((await connection.execute(due.with_for_update(skip_locked=True))).scalars())
