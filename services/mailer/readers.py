"""What readers do with a mail that reached them: they open it, click, unsubscribe. Kept on the delivery, told as events."""

from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads, store
from services.mailer.editions import Editions
from services.mailer.events import CLICKED, OPENED, UNSUBSCRIBED, mail_event
from services.mailer.pages import Reader
from services.mailer.policy import Delivery, suppresses
from services.mailer.tables import DELIVERIES
from shared import wire
from shared.db import Database
from shared.errors import ConfigurationError
from shared.work import Outbox, Work

D = DELIVERIES.c


PRESSED_TWICE = timedelta(minutes=1)
"""Within this a second unsubscription is the same one."""


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
        return Reader(lead.locale if lead else None, await self._brand(delivery))

    async def _brand(self, delivery: Delivery) -> str:
        try:
            return (await self._editions.of(delivery)).brand["name"] or ""
        except ConfigurationError:
            return ""

    async def clicked(self, delivery_id: str, index: int, human: bool, at: datetime) -> None:
        """Count a click, and tell of it with where it led."""
        async with self._outbox.work() as work:
            delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
            if delivery is None or index >= len(delivery.targets):
                return
            hit = await _count(work.conn, delivery_id, "clicks")
            if human:
                await _first(work.conn, delivery_id, "clicked_at", at)
            about = {"link": index, "url": delivery.targets[index], "human": human}
            await _tell(work, delivery, CLICKED, at, f"{index}/{hit}", about)

    async def opened(self, delivery_id: str, at: datetime) -> None:
        """Count an opening, and tell of it. Mail programs open by themselves too, so it says little."""
        async with self._outbox.work() as work:
            delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
            if delivery is None:
                return
            hit = await _count(work.conn, delivery_id, "opens")
            await _first(work.conn, delivery_id, "opened_at", at)
            await _tell(work, delivery, OPENED, at, str(hit), {"human": False})

    async def unsubscribe(self, delivery_id: str, at: datetime) -> None:
        """Withdraw the reader's consent to marketing: after this commit none goes out. A second call only renews the moment.

        A consent given between two calls may still be on its way: the later word must stand, so it is told again unless it was just told.
        """
        async with self._outbox.work() as work:
            delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
            if delivery is None or delivery.address is None:
                return
            lead = (await leads.load_leads(work.conn, [delivery.lead_id])).get(delivery.lead_id)
            consent = lead.consent if lead else wire.Consent()
            just_told = await _has_just_unsubscribed(work.conn, delivery.address, consent, at)
            about = {"scope": "marketing", "reason": "unsubscribed", "delivery_id": delivery_id, "at": at}
            addresses = {delivery.address, lead.email or delivery.address if lead else delivery.address}
            await leads.save_suppressions(work.conn, [about | {"address": address} for address in sorted(addresses)])
            if not just_told:
                await _tell(work, delivery, UNSUBSCRIBED, at, at.isoformat(), {})


async def _has_just_unsubscribed(connection: AsyncConnection, address: str, consent: wire.Consent, now: datetime) -> bool:
    """Whether this address unsubscribed a moment ago: mail programs and readers press twice."""
    standing = (await leads.load_suppressions(connection, [address])).values()
    marketing = [one for found in standing for one in found if one.scope == "marketing" and suppresses(one, consent)]
    return any(now - one.at < PRESSED_TWICE for one in marketing)


async def _count(connection: AsyncConnection, delivery_id: str, column: str) -> int:
    counted = await connection.execute(update(DELIVERIES).where(D.id == delivery_id).values({column: D[column] + 1}).returning(D[column]))
    return int(counted.scalar_one())


async def _first(connection: AsyncConnection, delivery_id: str, column: str, at: datetime) -> None:
    await connection.execute(update(DELIVERIES).where(D.id == delivery_id, D[column].is_(None)).values({column: at}))


async def _tell(work: Work, delivery: Delivery, name: str, at: datetime, hit: str, about: dict[str, object]) -> None:
    lead_id = (await leads.resolve(work.conn, [delivery.lead_id]))[delivery.lead_id]
    store.tell(work, mail_event(delivery, name, at, lead_id=lead_id, hit=hit, **about))
