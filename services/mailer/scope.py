"""What a template sees: the playbook's names, as they stand for one message."""

from datetime import datetime
from typing import Any

import msgspec

from services.mailer.links import Links
from services.mailer.loader import MailerPlaybook
from services.mailer.opt_in import is_confirmation
from services.mailer.sandbox import ZONE, Did
from shared import wire
from shared.local_time import find_zone

_DECIDED = ("readiness", "points", "hot", "sleeping", "orders", "reasons", "last_seen_at")


class Histories(dict[str, Did]):
    """What a lead did, by event; what he never did counts 0."""

    def __missing__(self, name: str) -> Did:
        return Did()


def scope_of(playbook: MailerPlaybook, send: wire.Send, lead: wire.Lead, links: Links, now: datetime) -> dict[str, Any]:
    """Who the lead is comes from his newest profile; how he scored and what he had done, from the moment the message was decided."""
    decided = send.lead or lead
    then = {name: getattr(decided, name) for name in _DECIDED}
    return {
        "lead": msgspec.structs.asdict(lead) | then | {"events": _histories(decided, now)},
        "entry": send.entry,
        "key": send.key,
        "entered_at": send.entered_at,
        "steps": send.steps,
        "now": now,
        "brand": playbook.brand,
        "links": _links(send, links),
        ZONE: find_zone(lead.timezone or "") or find_zone(playbook.mail.timezone),
    }


def _links(send: wire.Send, links: Links) -> dict[str, str]:
    ways = {"unsubscribe": links.unsubscribe_url(send.id), "preferences": links.preferences_url(send.id)}
    return ways | {"confirm": links.confirm_url(send.id)} if is_confirmation(send) else ways


def _histories(lead: wire.Lead, now: datetime) -> Histories:
    return Histories({name: Did(did.count, did.first_at, did.last_at, did.last, did.days, now) for name, did in lead.events.items()})
