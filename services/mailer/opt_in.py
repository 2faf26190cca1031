"""Who is asked whether he wants mail: a reader for whom a browser asked, where anybody may type anybody's address. Pure.

event of `consent.events` from a browser ──address_to_ask──► a confirmation mail ──► its page, its button ──► `Consent Given`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from services.mailer.mime import bare_address
from services.mailer.policy import State, address_key
from shared.wire import Activity, Entry, Event, Lead, Send

CONFIRMATION = "confirmation"
"""The step that such a mail stands under; no journey's."""
TEMPLATE = "confirm"
CONFIRMATIONS = uuid5(NAMESPACE_URL, "dripline:confirmation")
ANSWERED_WITHIN = timedelta(days=30)
"""So long the button of a confirmation mail counts."""
WORTH_SENDING = timedelta(days=1)
"""Later than this after it was asked for, nobody remembers that he did."""

ASKED_LATELY, TOO_MANY = "asked_lately", "too_many_asked"
"""Why one is not asked."""


@dataclass(frozen=True, slots=True)
class OptIn:
    """By which events a browser asks for mail, and how often that may make us write: to one mailbox, and an hour to all together."""

    events: frozenset[str] = frozenset()
    per_address: timedelta = timedelta(days=7)
    per_hour: int = 500


def address_to_ask(activity: Activity) -> str | None:
    """The address that an activity of `consent.events` gives, if its owner must be asked.

    A secret key's word needs no asking, and what is late starts nothing. Nobody is asked for an address that has consent, nor where another
    one stands confirmed.
    """
    event, lead = activity.event, activity.lead
    if event.trusted or activity.late:
        return None
    address = _named(event) or lead.email
    if address is None or not _is_address(address):
        return None
    is_other = lead.email is None or address_key(lead.email) != address_key(address)
    stands_confirmed = lead.email is not None and lead.address_trusted
    return None if (is_other and stands_confirmed) or _has_consent(lead, address) else address.strip()


def confirmation(activity: Activity, address: str, version: str, now: datetime) -> Send:
    """The mail that asks, from now on. The same event asks once, however often it is read."""
    event = activity.event
    return Send(
        id=str(uuid5(CONFIRMATIONS, event.id)),
        kind="email",
        lead_id=activity.lead.id,
        version=version,
        step=CONFIRMATION,
        template=TEMPLATE,
        to=address,
        category="transactional",
        reached_at=now,
        expires_at=event.received_at + WORTH_SENDING,
        entry=Entry(at=event.at, event=event.name, event_id=event.id, properties=event.properties, context=event.context),
        entered_at=event.at,
        depth=event.depth,
    )


def is_confirmation(send: Send) -> bool:
    return send.journey == "" and send.step == CONFIRMATION and send.to is not None


def asked_in_vain(send: Send, state: State) -> bool:
    """Whether a mail that was to ask ends without having left, so that its reader may ask for another."""
    return is_confirmation(send) and state.status in ("suppressed", "failed") and state.reason not in (ASKED_LATELY, TOO_MANY)


def _named(event: Event) -> str | None:
    """The address that the event itself gives, in any of the places where clients put it."""
    places: list[Any] = [event.properties, event.traits, event.context.get("traits")]
    found = (place.get("email") for place in places if isinstance(place, Mapping))
    return next((address for address in found if isinstance(address, str) and address.strip()), None)


def _is_address(text: str) -> bool:
    try:
        bare_address(text)
    except ValueError:
        return False
    return True


def _has_consent(lead: Lead, address: str) -> bool:
    consent = lead.consent
    return consent.marketing and consent.address is not None and address_key(consent.address) == address_key(address)
