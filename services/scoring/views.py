"""A lead and its events as the API shows them: plain data with every key, whether or not there is something to say."""

from datetime import datetime
from typing import Any

from services.scoring.leads import Definitions, Scored
from services.scoring.readiness import Readiness, is_hot, readiness
from shared.wire import Event, Reason


def lead_view(scored: Scored, definitions: Definitions, now: datetime) -> dict[str, Any]:
    """A lead as it is at `now`, fading included."""
    return _profile(scored, definitions, readiness(scored.evidence, definitions.rules, scored.lead, now))


def whole_view(scored: Scored, definitions: Definitions, now: datetime) -> dict[str, Any]:
    """A lead with its reasons, which add up to its points, and what it did and bought."""
    found = readiness(scored.evidence, definitions.rules, scored.lead, now)
    lead = scored.lead
    return _profile(scored, definitions, found) | {
        "reasons": [_reason(reason) for reason in found.reasons],
        "company": lead.company,
        "orders": {"count": lead.orders.count, "total": lead.orders.total, "last_at": lead.orders.last_at},
    }


def event_view(at: datetime, event: Event) -> dict[str, Any]:
    """An event of the timeline; `at` is the moment it counts at."""
    return {
        "id": event.id,
        "type": event.type,
        "name": event.name,
        "at": at,
        "received_at": event.received_at,
        "source": event.source,
        "properties": event.properties,
        "traits": event.traits,
    }


def _profile(scored: Scored, definitions: Definitions, found: Readiness) -> dict[str, Any]:
    lead, consent = scored.lead, scored.lead.consent
    return {
        "id": lead.id,
        "email": lead.email,
        "user_id": lead.user_id,
        "readiness": found.value,
        "points": found.points,
        "hot": is_hot(definitions.rules, lead, found.value),
        "sleeping": lead.sleeping,
        "traits": lead.traits,
        "tags": lead.tags,
        "consent": {
            "marketing": consent.marketing,
            "address": consent.address,
            "topics": consent.topics,
            "source": consent.source,
            "at": consent.at,
        },
        "timezone": lead.timezone,
        "locale": lead.locale,
        "created_at": lead.created_at,
        "last_seen_at": lead.last_seen_at,
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "rule": reason.rule,
        "kind": reason.kind,
        "points": reason.points,
        "count": reason.count,
        "at": reason.at,
        "text": reason.text,
    }
