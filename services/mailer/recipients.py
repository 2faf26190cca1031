"""Whom a group of deliveries is for: each lead, and what is known of the address that its mail goes to.

Caps hold for an address, whichever leads have it and whichever replica sends: its row is locked for as long as the transaction decides.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads
from services.mailer.addresses import hold_addresses, load_paused, lock_addresses
from services.mailer.mime import domain_of
from services.mailer.policy import Delivery, Policy, Recipient, Suppression, address_key, address_of
from services.mailer.store import COUNT
from services.mailer.tables import DELIVERIES
from shared import wire
from shared.db import among

D = DELIVERIES.c


@dataclass(slots=True)
class Mailed:
    """The marketing that an address got lately, and what is in hand for it."""

    at: list[datetime] = field(default_factory=list)
    going: int = 0


@dataclass(frozen=True, slots=True)
class Recipients:
    """What decisions about a group go by; those that may go count for those after them."""

    leads: Mapping[str, wire.Lead]
    suppressions: Mapping[str, list[Suppression]]
    paused: Mapping[str, datetime]
    mailed: dict[str, Mailed]

    def of(self, delivery: Delivery) -> Recipient | None:
        """The recipient as he stands now; None where his lead is not known."""
        lead = self._lead(delivery)
        if lead is None:
            return None
        key = address_key(address_of(delivery.send, lead) or "")
        mailed = self.mailed.get(key, Mailed())
        return Recipient(lead, tuple(self.suppressions.get(key, ())), self.paused.get(key), tuple(mailed.at), mailed.going)

    def takes(self, delivery: Delivery, at: datetime | None) -> None:
        """The delivery goes: at this moment, or (None) it is in hand."""
        lead = self._lead(delivery)
        if lead is None or delivery.send.category != "marketing":
            return
        mailed = self.mailed.setdefault(address_key(address_of(delivery.send, lead) or ""), Mailed())
        if at is None:
            mailed.going += 1
        else:
            mailed.at.append(at)

    def _lead(self, delivery: Delivery) -> wire.Lead | None:
        return self.leads.get(delivery.lead_id) if delivery.lead_id else stranger(delivery.send)


def stranger(send: wire.Send) -> wire.Lead:
    """Whom a message asked for over the API goes to, where nobody is known by that address: a lead of whom we know the address."""
    return wire.Lead(id="", email=send.to, created_at=send.entered_at, last_seen_at=send.entered_at)


async def load_domains(connection: AsyncConnection, deliveries: Sequence[Delivery]) -> dict[str, str]:
    """Where these mails go, as far as it is known."""
    known = await leads.load_leads(connection, [mail.lead_id for mail in deliveries if not mail.send.to])
    found = {mail.id: mail.send.to or getattr(known.get(mail.lead_id), "email", None) for mail in deliveries}
    return {delivery_id: domain_of(address) for delivery_id, address in found.items() if address}


async def load_recipients(
    connection: AsyncConnection, deliveries: Sequence[Delivery], policy: Policy, now: datetime, *, marking: bool = False
) -> Recipients:
    """What is known of those mails' recipients. When `marking`, what others have in hand does not count: it was let in after these."""
    mails = [delivery for delivery in deliveries if delivery.kind == "email"]
    known = await leads.load_leads(connection, [mail.lead_id for mail in mails])
    addresses = {mail.id: address_of(mail.send, known[mail.lead_id]) for mail in mails if mail.lead_id in known}
    addresses |= {mail.id: mail.send.to for mail in mails if not mail.lead_id}
    keys = {address_key(addresses.get(mail.id) or "") for mail in mails if mail.send.category == "marketing"} - {""}
    if policy.caps and keys:
        await lock_addresses(connection, keys)
    elif marking:
        await hold_addresses(connection, keys)
    suppressions = await leads.load_suppressions(connection, {address for address in addresses.values() if address})
    paused = await load_paused(connection, keys) if keys else {}
    mailed = await _load_mailed(connection, keys, {mail.id for mail in mails}, now - policy.remembers) if policy.caps and keys else {}
    if marking:
        for counted in mailed.values():
            counted.going = 0
    return Recipients(known, suppressions, paused, mailed)


async def _load_mailed(connection: AsyncConnection, keys: Iterable[str], beside: Set[str], since: datetime) -> dict[str, Mailed]:
    """What counts for these addresses, but for the deliveries that are being decided about."""
    rows = await connection.execute(
        select(D.id, D.counted_for, D.counted_at, D.status).where(among(D.counted_for, keys), D.counted_at > since)
    )
    mailed: dict[str, Mailed] = {}
    for row in rows:
        if row.id in beside:
            continue
        counted = mailed.setdefault(row.counted_for, Mailed())
        if row.status in COUNT:
            counted.at.append(row.counted_at)
        else:
            counted.going += 1
    return mailed
