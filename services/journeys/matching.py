"""Whether an event is a trigger, an exit, a goal or awaited. Pure; a name is compared first, so most events cost one look-up."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.journeys.definitions import Journey, Trigger
from services.journeys.enrollment import Enrollment
from services.journeys.steps import EventMatch
from shared.wire import Entry, Event, Lead

Scope = dict[str, Any]

DEEPEST = 16
"""An event with more of our own effects between it and a person starts and wakes nothing (PLAYBOOK, rule 14)."""


def event_scope(event: Event) -> dict[str, Any]:
    """An event as conditions see it."""
    return {"name": event.name, "properties": event.properties, "context": event.context, "at": event.at}


def trigger_scope(event: Event, lead: Lead, now: datetime) -> Scope:
    """What a trigger's `where` and `key` see: nothing has been entered yet."""
    return {"lead": lead, "event": event_scope(event), "now": now}


def walk_scope(enrollment: Enrollment, lead: Lead, now: datetime) -> Scope:
    """What conditions within a walk see."""
    return {
        "lead": lead,
        "entry": entry_scope(enrollment.entry),
        "key": enrollment.key,
        "entered_at": enrollment.entered_at,
        "steps": enrollment.steps or {},
        "now": now,
    }


def entry_scope(entry: Entry) -> dict[str, Any]:
    return {"event": entry.event, "at": entry.at, "properties": entry.properties, "context": entry.context}


def find_trigger(journey: Journey, event: Event, scope: Scope) -> int | None:
    """Which of the journey's triggers this event is, the first of them."""
    return next((index for index, trigger in enumerate(journey.triggers) if is_trigger(trigger, event, scope)), None)


def is_trigger(trigger: Trigger, event: Event, scope: Scope) -> bool:
    """Whether the event is what this trigger reacts to."""
    return event.name in trigger.events and _crosses(trigger, event) and (trigger.where is None or trigger.where.truth(scope))


def _crosses(trigger: Trigger, event: Event) -> bool:
    if trigger.crossing is None:
        return True
    before, after = event.properties.get("before"), event.properties.get("after")
    if not isinstance(before, int) or not isinstance(after, int):
        return False
    rises, falls = trigger.crossing.rises_to, trigger.crossing.falls_to
    return (rises is not None and before < rises <= after) or (falls is not None and before > falls >= after)


def key_text(value: object) -> str | None:
    """A key as it is compared: text. None where there is no value, for nothing can be told apart by nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def is_match(match: EventMatch, event: Event, key: str | None, scope: Mapping[str, Any]) -> bool:
    """Whether the event is the one meant. One that lacks its `match_key` is meant for every key of the lead."""
    if event.name not in match.events or not (match.where is None or match.where.truth(scope)):
        return False
    if match.match_key is None or key is None:
        return True
    value = key_text(match.match_key(scope))
    return value is None or value == key


def happened_after_entry(enrollment: Enrollment, event: Event, sequence: int) -> bool:
    """By the events' own times, not by when they arrived; of one and the same instant, the later arrival is the later event."""
    return (event.at, sequence) > (enrollment.entry.at, enrollment.entry_sequence)
