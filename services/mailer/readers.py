"""What readers do with a mail that reached them: they open it, click, unsubscribe. Kept on the delivery, told as events."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads, store
from services.mailer.editions import Editions
from services.mailer.events import CLICKED, OPENED
from services.mailer.notices import Reader
from services.mailer.policy import Delivery
from services.mailer.tables import DELIVERIES
from services.mailer.telling import tell, unsubscribe
from shared.db import Database
from shared.errors import ConfigurationError
from shared.failpoints import passing
from shared.work import Outbox

D = DELIVERIES.c


MOST_TOLD = 50
"""Clicks of one delivery that are told as events, a person's and a machine's each; every further one is only counted."""


class LedgerReaders:
    """The pages' view of the ledger. Each call is one transaction; every one may raise Outage."""

    def __init__(self, outbox: Outbox, database: Database, editions: Editions) -> None:
        self._outbox = outbox
        self._database = database
        self._editions = editions

    async def find_target(self, delivery_id: str, index: int) -> str | None:
        """Where the link of that number led in the mail as it was sent."""
        async with self._database.reading() as connection:
            delivery = await store.find_delivery(connection, delivery_id)
        if delivery is None or index >= len(delivery.targets):
            return None
        return delivery.targets[index]

    async def find_reader(self, delivery_id: str) -> Reader | None:
        """The reader of a delivery, or None where there is no such delivery."""
        async with self._database.reading() as connection:
            delivery = await store.find_delivery(connection, delivery_id)
            if delivery is None:
                return None
            lead = (await leads.load_leads(connection, [delivery.lead_id])).get(delivery.lead_id)
        return await self._reader(delivery, lead.locale if lead else None)

    async def _reader(self, delivery: Delivery, locale: str | None) -> Reader:
        try:
            playbook = await self._editions.of(delivery)
        except ConfigurationError:
            return Reader(locale, "")
        return Reader(locale, playbook.brand["name"] or "", playbook.mail.locale)

    async def clicked(self, delivery_id: str, index: int, human: bool, at: datetime) -> None:
        """Count a click; tell of the first on each link, a person's and a machine's apart, with where it led."""
        async with self._outbox.work() as work:
            delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
            if delivery is None or index >= len(delivery.targets):
                return
            told = await _count_click(work.conn, delivery_id)
            if human:
                await _first(work.conn, delivery_id, "clicked_at", at)
            hit = f"{index}{'h' if human else 'm'}"
            if not is_worth_telling(told, hit):
                return
            await work.conn.execute(update(DELIVERIES).where(D.id == delivery_id).values(clicks_told=" ".join((*told, hit))))
            await tell(work, delivery, CLICKED, at, hit, link=index, url=delivery.targets[index], human=human)

    async def opened(self, delivery_id: str, at: datetime) -> None:
        """Count an opening, and tell of the first. Mail programs open by themselves too, so it says little."""
        async with self._outbox.work() as work:
            delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
            if delivery is None:
                return
            opens = await _count_opening(work.conn, delivery_id)
            await _first(work.conn, delivery_id, "opened_at", at)
            if opens == 1:
                await tell(work, delivery, OPENED, at, "1", human=False)

    async def unsubscribe(self, delivery_id: str, at: datetime) -> None:
        """Withdraw the reader's consent to marketing: after this commit none goes out."""
        async with self._outbox.work() as work:
            delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
            if delivery is not None:
                await unsubscribe(work, delivery, at)
            passing("mailer.before_unsubscribe")
        passing("mailer.after_unsubscribe")


def is_worth_telling(told: Sequence[str], hit: str) -> bool:
    """Whether this hit (link, `h` for a person or `m` for a machine) is a new event: the first of its kind, within bounds.

    Each kind has bounds of its own, so that a scanner that tries every link takes nothing from the reader.
    """
    return hit not in told and sum(one[-1] == hit[-1] for one in told) < MOST_TOLD


async def _count_click(connection: AsyncConnection, delivery_id: str) -> list[str]:
    """One more; the hits that were told before."""
    counted = await connection.execute(update(DELIVERIES).where(D.id == delivery_id).values(clicks=D.clicks + 1).returning(D.clicks_told))
    return (counted.scalar_one() or "").split()


async def _count_opening(connection: AsyncConnection, delivery_id: str) -> int:
    counted = await connection.execute(update(DELIVERIES).where(D.id == delivery_id).values(opens=D.opens + 1).returning(D.opens))
    return int(counted.scalar_one())


async def _first(connection: AsyncConnection, delivery_id: str, column: str, at: datetime) -> None:
    await connection.execute(update(DELIVERIES).where(D.id == delivery_id, D[column].is_(None)).values({column: at}))
