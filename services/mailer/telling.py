"""What a reader's word about marketing does here at once, and how the others hear of it."""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads, store
from services.mailer.events import UNSUBSCRIBED, mail_event
from services.mailer.policy import Delivery, suppresses
from shared import wire
from shared.work import Work

EVERYTHING = "all"
"""The topic that stands for all marketing."""
PRESSED_TWICE = timedelta(minutes=1)
"""Within this a second unsubscription is the same one."""


async def unsubscribe(work: Work, delivery: Delivery, at: datetime) -> None:
    """Withdraw the reader's consent to marketing: after this commit none goes out. A second call only renews the moment.

    A consent given between two calls may still be on its way: the later word must stand, so it is told again unless it was just told.
    """
    if delivery.address is None:
        return
    lead = (await leads.load_leads(work.conn, [delivery.lead_id])).get(delivery.lead_id)
    consent = lead.consent if lead else wire.Consent()
    if consent.at is not None:  # who leaves by a mail leaves after he agreed to it, whatever the clock of this replica says
        at = max(at, consent.at + timedelta(microseconds=1))
    just_told = await _has_just_unsubscribed(work.conn, delivery.address, consent, at)
    addresses = {delivery.address, lead.email or delivery.address if lead else delivery.address}
    await suppress(work, delivery, "marketing", sorted(addresses), at)
    if not just_told:
        await tell(work, delivery, UNSUBSCRIBED, at, at.isoformat(), topic=EVERYTHING, address=delivery.address)


async def suppress(work: Work, delivery: Delivery, scope: str, addresses: list[str], at: datetime) -> None:
    """Stop what this scope names to these addresses, by their reader's own word."""
    about = {"scope": scope, "reason": "unsubscribed", "delivery_id": delivery.id, "at": at}
    await leads.save_suppressions(work.conn, [about | {"address": address} for address in addresses])


async def tell(work: Work, delivery: Delivery, name: str, at: datetime, hit: str, **about: object) -> None:
    """Tell of what the reader of this delivery did, under the lead that he is now."""
    lead_id = (await leads.resolve(work.conn, [delivery.lead_id]))[delivery.lead_id]
    store.tell(work, mail_event(delivery, name, at, lead_id=lead_id, hit=hit, **about))


async def _has_just_unsubscribed(connection: AsyncConnection, address: str, consent: wire.Consent, now: datetime) -> bool:
    """Whether this address unsubscribed a moment ago: mail programs and readers press twice."""
    standing = (await leads.load_suppressions(connection, [address])).values()
    marketing = [one for found in standing for one in found if one.scope == "marketing" and suppresses(one, consent)]
    return any(now - one.at < PRESSED_TWICE for one in marketing)
