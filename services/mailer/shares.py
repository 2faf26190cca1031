"""This replica's part of the sender's rates: leased about once a second, from rows that all replicas take from.

due mail ──► Shares.refresh ──one transaction──► slots of the next second ──► Scheduler claims as many as have come
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.lanes import RELAY
from services.mailer.rates import BEAT, LEEWAY, SECOND, Share, lease
from services.mailer.tables import RATES
from shared.db import Database, among, insert_new, upsert

Rates = Mapping[str, float]
"""Mails a second, by the lane that they bind."""


class Shares:
    """What this replica may send of each lane that has a rate. A replica that dies leaves unused what was its part of one second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shares: dict[str, Share] = {}
        self._asks_at: dict[str, datetime] = {}

    async def refresh(self, rates: Rates, lanes: Collection[str], most: int, now: datetime) -> None:
        """Take slots of those of `lanes` that have a rate and of which we have none left, at most so many of each."""
        wanted = sorted(name for name in lanes if name in rates and self._wants(name, now))
        if not wanted or (RELAY in rates and RELAY not in wanted and self._is_empty(RELAY, now)):
            return
        before = dict(self._shares)
        try:
            async with self._database.transaction() as connection:
                free = await _lock(connection, wanted)
                for name in wanted:  # that of all mail first: by its part the others are measured
                    self._take(name, rates, free[name], most, now)
                rows = [{"lane": name, "free_from": self._shares[name].end} for name in wanted]
                await upsert(connection, RATES, rows, ["lane"])
        except BaseException:
            self._shares = before  # it may have committed: then those slots are nobody's
            raise

    def _take(self, name: str, rates: Rates, free_from: datetime | None, most: int, now: datetime) -> None:
        """A domain's slots are of use only to who has slots for mail at all: nobody takes them without these, or further ahead.

        They wait for the next of these: two slow rates, whose slots never come at one time, would else hold a mail up for ever.
        """
        ahead, leeway = SECOND, LEEWAY
        if RELAY in rates and name != RELAY:
            of_all = self._shares[RELAY].fresh(now)
            ahead, leeway = min(SECOND, of_all.last + LEEWAY - now), LEEWAY + of_all.every
            most = most if of_all.count else 0
        self._shares[name] = share = lease(rates[name], free_from, now, most, ahead, leeway)
        self._asks_at[name] = now if share.count == most else now + max(ahead, BEAT)

    def open(self, lane: str, now: datetime) -> int:
        """How many may go through this lane now, as far as its rate goes."""
        share = self._shares.get(lane)
        return share.open(now) if share else 0

    def opens_at(self, lane: str, now: datetime) -> datetime:
        """When more of them may go, or when to ask for more."""
        share = self._shares.get(lane)
        opens = share.opens_at(now) if share else None
        return opens or max(now, self._asks_at.get(lane, now))

    def spend(self, lane: str, now: datetime) -> None:
        """One has gone."""
        if lane in self._shares:
            self._shares[lane] = self._shares[lane].fresh(now).spent(1)

    def _wants(self, name: str, now: datetime) -> bool:
        """A share is asked for when the one before is used up, and not sooner than a second after one that took all there was."""
        return self._is_empty(name, now) and self._asks_at.get(name, now) <= now

    def _is_empty(self, name: str, now: datetime) -> bool:
        share = self._shares.get(name)
        return share is None or share.fresh(now).count == 0


async def _lock(connection: AsyncConnection, lanes: Collection[str]) -> dict[str, datetime | None]:
    """Where each rate's next free slot lies, held until the transaction ends."""
    await insert_new(connection, RATES, [{"lane": lane, "free_from": None} for lane in lanes], "lane")
    rows = await connection.execute(select(RATES).where(among(RATES.c.lane, lanes)).order_by(RATES.c.lane).with_for_update())
    return {row.lane: row.free_from for row in rows}
