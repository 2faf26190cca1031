"""The answer to a confirmation mail: who holds it owns the address, and who presses its button wants to be written to."""

from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads, store
from services.mailer.addresses import lock_addresses, save_addresses
from services.mailer.editions import Editions
from services.mailer.events import CONSENT_GIVEN
from services.mailer.notices import Reader
from services.mailer.opt_in import ANSWERED_WITHIN, is_confirmation
from services.mailer.policy import Delivery, address_key
from services.mailer.tables import ADDRESSES
from services.mailer.telling import tell
from shared.db import Database
from shared.work import Outbox

A = ADDRESSES.c
Answer = Literal["open", "confirmed", "confirmed_before", "too_old"]


class LedgerConfirmations:
    """The confirmation page's view of the ledger. Each call is one transaction; every one may raise Outage, or ConfigurationError."""

    def __init__(self, outbox: Outbox, database: Database, editions: Editions) -> None:
        self._outbox = outbox
        self._database = database
        self._editions = editions

    async def find(self, delivery_id: str, at: datetime) -> tuple[Reader, Answer] | None:
        """How the question of that mail stands; None where there is no such mail."""
        async with self._database.reading() as connection:
            delivery = await store.find_delivery(connection, delivery_id)
            reader = await self._reader(connection, delivery)
            if delivery is None or reader is None:
                return None
            confirmed_at = await connection.execute(select(A.confirmed_at).where(A.address == address_key(reader.address)))
            return reader, _answer(delivery, confirmed_at.scalar_one_or_none(), at)

    async def confirm(self, delivery_id: str, at: datetime) -> tuple[Reader, Answer] | None:
        """Take the owner's word that he wants to be written to. Once: an old mail, or one answered before, changes nothing."""
        async with self._outbox.work() as work:
            delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
            reader = await self._reader(work.conn, delivery)
            if delivery is None or reader is None:
                return None
            key = address_key(reader.address)
            answer = _answer(delivery, (await lock_addresses(work.conn, [key]))[key].confirmed_at, at)
            if answer != "open":
                return reader, answer
            await save_addresses(work.conn, [key], confirmed_at=at)
            about = {"address": reader.address, "source": "double_opt_in", "event": delivery.send.entry.event}
            await tell(work, delivery, CONSENT_GIVEN, at, at.isoformat(), **about)
            return reader, "confirmed"

    async def _reader(self, connection: AsyncConnection, delivery: Delivery | None) -> Reader | None:
        if delivery is None or not is_confirmation(delivery.send):
            return None
        playbook = await self._editions.newest()
        lead = (await leads.load_leads(connection, [delivery.lead_id])).get(delivery.lead_id)
        brand = playbook.brand["name"] or ""
        return Reader(lead.locale, brand, playbook.mail.locale, delivery.send.to or "") if lead else None


def _answer(delivery: Delivery, confirmed_at: datetime | None, now: datetime) -> Answer:
    """Answered is whatever was asked before its address was confirmed."""
    if confirmed_at is not None and confirmed_at >= delivery.queued_at:
        return "confirmed_before"
    return "too_old" if now - delivery.queued_at > ANSWERED_WITHIN else "open"
