"""Whether a lead may begin a journey, and the first moves of its walk. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Literal, assert_never

from services.journeys.definitions import After, AfterEvent, Always, Journey, Once
from services.journeys.engine import condition_holds, end_by_event, entry_of
from services.journeys.enrollment import Effect, Enrollment, KnownLead, Remembered, enrollment_id
from services.journeys.going import go
from services.journeys.matching import find_trigger, key_text, trigger_scope
from services.journeys.walk import Walk
from shared.wire import Activity, Entry, Lead

Refusal = Literal["draft", "paused", "draining", "where", "no_key", "inside", "reentry", "gap", "audience", "exit_when"]

WHY: Mapping[Refusal, str] = {
    "draft": "it is a draft",
    "paused": "it is paused",
    "draining": "it takes nobody in any more",
    "where": "its `where` does not hold of this call",
    "no_key": "it tells walks of one lead apart by a key: send `key`",
    "inside": "the lead is inside already",
    "reentry": "the lead has been inside, and `reentry` says not again now",
    "gap": "the lead entered a short while ago, and `gap` asks for more time between",
    "audience": "the lead is not in its audience",
    "exit_when": "a condition of its `exit_when` holds",
}


@dataclass(frozen=True, slots=True)
class Call:
    """What asks for a lead to begin a journey: an activity that is its trigger, or somebody over the API."""

    key: str | None
    entry: Entry
    sequence: int
    depth: int = 0
    trigger: int | None = None  # which of the journey's triggers it is


@dataclass(frozen=True, slots=True)
class Past:
    """The lead's walks through one journey: when each key was last entered, and the keys inside now."""

    entered: Mapping[str | None, datetime]
    inside: Collection[str | None]


@dataclass(frozen=True, slots=True)
class Entered:
    """A walk was begun (and may have ended already)."""

    enrollment: Enrollment
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The lead may not begin the journey; a refusal leaves no trace."""

    reason: Refusal


def find_call(journey: Journey, activity: Activity, lead: Lead, now: datetime) -> Call | Refused | None:
    """The call that this activity is for this journey; None where it is no trigger of it."""
    event = activity.event
    scope = trigger_scope(event, lead, now)
    index = find_trigger(journey, event, scope)
    if index is None:
        return None
    expression = journey.triggers[index].key
    key = key_text(expression(scope)) if expression else None
    if expression and key is None:
        return Refused("no_key")
    return Call(key, entry_of(event), activity.sequence, event.depth, index)


def call_by_hand(journey: Journey, entry: Entry, key: str | None, known: KnownLead, now: datetime) -> Call | Refused:
    """The call that somebody makes over the API, with a key or with properties that a key comes from.

    A journey with an `api` trigger is begun by the first whose `where` holds of the call; any other journey asks for nothing but the key
    that tells its walks apart.
    """
    event = {"name": entry.event, "properties": entry.properties, "context": entry.context, "at": entry.at}
    scope = {"lead": known.lead, "event": event, "now": now}
    by_hand = [index for index, trigger in enumerate(journey.triggers) if trigger.api]
    meant = [index for index in by_hand if (where := journey.triggers[index].where) is None or where.truth(scope)]
    if by_hand and not meant:
        return Refused("where")
    index = meant[0] if meant else None
    expression = journey.triggers[index].key if index is not None else None
    key = key_text(expression(scope)) if key is None and expression else key
    if key is None and any(trigger.key for trigger in journey.triggers):
        return Refused("no_key")
    return Call(key, entry, known.sequence, 0, index)


def enter(journey: Journey, call: Call, known: KnownLead, past: Past, recent: Collection[Remembered], now: datetime) -> Entered | Refused:
    """Begin a walk, unless status, key, reentry, audience or an exit condition forbids it.

    What arrived already but happened after the entry counts: a goal or an exit among it ends the walk before its first step (rule 2).
    """
    refused = _status_refuses(journey) or _past_refuses(journey, call, past, known.lead)
    if refused:
        return Refused(refused)
    walk = Walk(journey, _begun(journey, call, known, now), known, now, recent)
    if walk.barred():
        return Refused("audience")
    if condition_holds(walk):
        return Refused("exit_when")
    walk.enter(call.entry, call.sequence, call.depth, call.trigger)
    walk.begins = True
    if not _already_over(walk, recent):
        go(walk, journey.first, now)
    return Entered(*walk.result())


def in_holdout(journey: Journey, lead_id: str) -> bool:
    """The arm of a lead: the same for ever, by hash of lead and journey."""
    digest = blake2b(f"{journey.name}\0{lead_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < journey.holdout * 2**64


def _status_refuses(journey: Journey) -> Refusal | None:
    return None if journey.status == "live" else journey.status


def _past_refuses(journey: Journey, call: Call, past: Past, lead: Lead) -> Refusal | None:
    if call.key in past.inside:
        return "inside"
    last = past.entered.get(call.key)
    if last is not None and not _may_return(journey, call, last, lead):
        return "reentry"
    newest = max(past.entered.values(), default=None)
    return "gap" if journey.gap and newest and call.entry.at - newest < journey.gap else None


def _may_return(journey: Journey, call: Call, last: datetime, lead: Lead) -> bool:
    match journey.reentry:
        case Once():
            return False
        case Always():
            return True
        case After(since_entry):
            return call.entry.at - last >= since_entry
        case AfterEvent(name):
            history = lead.events.get(name)
            return history is not None and history.last_at is not None and history.last_at > last
        case _:
            assert_never(journey.reentry)


def _begun(journey: Journey, call: Call, known: KnownLead, now: datetime) -> Enrollment:
    return Enrollment(
        id=enrollment_id(journey.name, known.lead.id, call.key, call.entry),
        lead_id=known.lead.id,
        journey=journey.name,
        version=journey.version,
        key=call.key,
        holdout=in_holdout(journey, known.lead.id),
        entry=call.entry,
        entry_sequence=call.sequence,
        entered_at=now,
        reached_at=now,
    )


def _already_over(walk: Walk, recent: Collection[Remembered]) -> bool:
    in_order = sorted(recent, key=lambda remembered: (remembered.event.at, remembered.sequence))
    return any(end_by_event(walk, remembered.event, remembered.sequence) for remembered in in_order)
