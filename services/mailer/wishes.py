"""What readers wish on their preferences page: only some of it, a pause, another language, nothing at all.

Each word takes effect with its own commit, before anybody hears of it; then it is told as an event, and the lead's profile follows.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads, store
from services.mailer.addresses import load_paused, lock_addresses, save_addresses, was_confirmed
from services.mailer.choices import Choices, Wish, after, choices_of
from services.mailer.editions import Editions
from services.mailer.events import RESUBSCRIBED, UNSUBSCRIBED, wish_event
from services.mailer.loader import MailerPlaybook
from services.mailer.notices import Reader
from services.mailer.policy import TOPIC, Delivery, address_key
from services.mailer.recipients import stranger
from services.mailer.tables import DELIVERIES
from services.mailer.telling import EVERYTHING, suppress, tell, unsubscribe
from shared import wire
from shared.db import Database
from shared.work import Outbox, Work

D = DELIVERIES.c


@dataclass(frozen=True, slots=True)
class Standing:
    """Whom a preferences page speaks to, and how it stands for him."""

    reader: Reader
    choices: Choices


@dataclass(frozen=True, slots=True)
class _Known:
    """A delivery that reached its reader, and his lead."""

    delivery: Delivery
    lead: wire.Lead
    address: str


class LedgerWishes:
    """The preferences page's view of the ledger. Each call is one transaction; every one may raise Outage, or ConfigurationError."""

    def __init__(self, outbox: Outbox, database: Database, editions: Editions) -> None:
        self._outbox = outbox
        self._database = database
        self._editions = editions

    async def find(self, delivery_id: str) -> Standing | None:
        """How it stands for the reader of a delivery; None where he is not known any more."""
        playbook = await self._editions.newest()
        async with self._database.reading() as connection:
            known = await _known(connection, await store.find_delivery(connection, delivery_id))
            if known is None:
                return None
            choices = await _choices(connection, playbook, known)
        return Standing(_reader(playbook, known, known.lead.locale), choices)

    async def grant(self, delivery_id: str, wish: Wish, at: datetime) -> Standing | None:
        """Do what the reader wishes. How it stands then, though other services have yet to hear of it."""
        playbook = await self._editions.newest()
        async with self._outbox.work() as work:
            known = await _known(work.conn, (await store.lock(work.conn, [delivery_id])).get(delivery_id))
            if known is None:
                return None
            await lock_addresses(work.conn, [address_key(known.address)])
            before = await _choices(work.conn, playbook, known)
            then = after(before, wish, at)
            await _grant(work, known, before, then, at)
        return Standing(_reader(playbook, known, then.language if then.language != before.language else known.lead.locale), then)


async def _known(connection: AsyncConnection, delivery: Delivery | None) -> _Known | None:
    if delivery is None or delivery.address is None:
        return None
    lead = (await leads.load_leads(connection, [delivery.lead_id])).get(delivery.lead_id) if delivery.lead_id else stranger(delivery.send)
    return _Known(delivery, lead, delivery.address) if lead else None


def _reader(playbook: MailerPlaybook, known: _Known, locale: str | None) -> Reader:
    return Reader(locale, playbook.brand["name"] or "", playbook.mail.locale, known.address)


async def _choices(connection: AsyncConnection, playbook: MailerPlaybook, known: _Known) -> Choices:
    key = address_key(known.address)
    suppressions = (await leads.load_suppressions(connection, [key])).get(key, [])
    paused = (await load_paused(connection, [key])).get(key)
    had_consent = await _had_consent(connection, key)
    return choices_of(playbook, known.lead, known.address, suppressions, paused, had_consent=had_consent)


async def _had_consent(connection: AsyncConnection, key: str) -> bool:
    """Whether marketing was once agreed to for this address: it was confirmed for it, or marketing was sent there."""
    if await was_confirmed(connection, key):
        return True
    marketing = select(D.id).where(D.counted_for == key, D.status == "sent").limit(1)
    return (await connection.execute(marketing)).one_or_none() is not None


async def _grant(work: Work, known: _Known, before: Choices, then: Choices, at: datetime) -> None:
    """Whatever is different from before is written down and told."""
    await _grant_topics(work, known, before, then, at)
    if then.paused_until != before.paused_until:
        await save_addresses(work.conn, [address_key(known.address)], paused_until=then.paused_until)
        await store.release_put_off(work.conn, work.now, known.lead.id)
    if then.language != before.language:
        store.tell(work, wish_event(known.delivery, {"locale": then.language}, at, known.lead.id))
    if before.subscribed and not then.subscribed:
        await unsubscribe(work, known.delivery, at)
    elif then.subscribed and not before.subscribed:
        await tell(work, known.delivery, RESUBSCRIBED, at, at.isoformat(), topic=EVERYTHING, address=known.address)


async def _grant_topics(work: Work, known: _Known, before: Choices, then: Choices, at: datetime) -> None:
    for was, topic in zip(before.topics, then.topics, strict=True):
        if topic.wanted == was.wanted:
            continue
        if not topic.wanted:
            await suppress(work, known.delivery, TOPIC + topic.name, [known.address], at)
        name = RESUBSCRIBED if topic.wanted else UNSUBSCRIBED
        await tell(work, known.delivery, name, at, f"{at.isoformat()}/{topic.name}", topic=topic.name, address=known.address)
