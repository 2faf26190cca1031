"""What the mailer tells the others: each mail's fate and what sales answered, as ordinary events of the lead. Pure."""

import hashlib
from datetime import datetime
from typing import Any

from services.mailer.handoffs import Handoff
from services.mailer.policy import Delivery, Status
from shared.wire import OURSELVES, Event, Send

EVENT_OF: dict[Status, str] = {
    "sent": "Email Sent",
    "suppressed": "Email Suppressed",
    "failed": "Email Failed",
    "in_doubt": "Email In Doubt",
}
"""The states in which a send step is over."""

CLICKED = "Email Link Clicked"
OPENED = "Email Opened"
BOUNCED = "Email Bounced"
UNSUBSCRIBED = "Unsubscribed"
RESUBSCRIBED = "Resubscribed"
CONSENT_GIVEN = "Consent Given"


def mail_event(delivery: Delivery, name: str, at: datetime, *, lead_id: str | None = None, hit: str = "", **more: Any) -> Event:
    """The event `name` of this delivery. Said twice it is one event; `hit` tells apart what may truly happen twice."""
    send = delivery.send
    properties = {
        "journey": send.journey,
        "step": send.step,
        "template": send.template,
        "enrollment_id": send.enrollment_id,
        "transition": send.transition,
        "message_id": delivery.message_id or "",
    }
    return Event(
        id=_event_id(delivery.id, name, hit),
        type="track",
        name=name,
        at=at,
        received_at=at,
        source=OURSELVES,
        lead_id=lead_id or delivery.lead_id,
        trusted=True,
        properties=properties | more,
        depth=send.depth + 1,
    )


def wish_event(delivery: Delivery, traits: dict[str, Any], at: datetime, lead_id: str) -> Event:
    """What the reader of this delivery wishes to be known of him from now on, such as his language."""
    return Event(
        id=_event_id(delivery.id, "identify", at.isoformat()),
        type="identify",
        at=at,
        received_at=at,
        source=OURSELVES,
        lead_id=lead_id,
        trusted=True,
        traits=traits,
        depth=delivery.send.depth + 1,
    )


def handoff_event(send: Send, handoff: Handoff, word: str, at: datetime, lead_id: str) -> Event:
    """`Handoff Accepted`, `Rejected`, `Snoozed` or `Expired`: what was said, to which step of which walk."""
    told = {
        "journey": send.journey,
        "step": send.step,
        "enrollment_id": send.enrollment_id,
        "transition": send.transition,
        "handoff_id": handoff.id,
        "endpoint": send.endpoint,
        "reason": handoff.reason or "",
    }
    if handoff.snoozed_until is not None:
        told["until"] = handoff.snoozed_until.isoformat()
    name = f"Handoff {word.capitalize()}"
    return Event(
        id=_event_id(handoff.id, name, str(handoff.moves)),
        type="track",
        name=name,
        at=at,
        received_at=at,
        source=OURSELVES,
        lead_id=lead_id,
        trusted=True,
        properties=told,
        depth=send.depth + 1,
    )


def _event_id(delivery_id: str, name: str, hit: str) -> str:
    seed = "\0".join((OURSELVES, delivery_id, name, hit)).encode()
    return hashlib.blake2b(seed, digest_size=16).hexdigest()
