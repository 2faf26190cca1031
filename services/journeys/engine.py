"""What an activity, the time or a merge does to one enrollment. Pure: no I/O, no clock.

(journey, enrollment, stimulus, lead, now) ──advance──► (enrollment, effects). PLAYBOOK, "When two things meet", is the law.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from services.journeys.definitions import Goal, Journey, SendStep, WaitStep
from services.journeys.enrollment import Effect, Enrollment, KnownLead
from services.journeys.matching import Scope, event_scope, find_trigger, happened_after_entry, is_match, key_text, trigger_scope
from services.journeys.walk import Walk
from shared.wire import OURSELVES, Activity, Entry, Event

DEEPEST = 16
"""An event with more of our own effects between it and a person starts nothing (PLAYBOOK, rule 14)."""

SETTLED = frozenset({"Email Sent", "Email Suppressed", "Email Failed", "Email In Doubt"})
"""The events that end a send step."""

UNREACHABLE = frozenset({"no_address", "unconfirmed_address", "no_consent", "suppressed"})
"""The reasons for which nothing can reach the lead."""


@dataclass(frozen=True, slots=True)
class TimeCame:
    """The clock reached the enrollment's wake-up."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """Another enrollment of the same journey and key became part of this one in a merge (rule 11)."""

    other: Enrollment


@dataclass(frozen=True, slots=True)
class Merged:
    """This enrollment became part of another one in a merge."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What the other of two merged leads did lately is this lead's doing too (rule 2)."""

    events: Iterable[Event]


Stimulus = Activity | TimeCame | Absorbed | Merged | Learned


def advance(
    journey: Journey, enrollment: Enrollment, stimulus: Stimulus, known: KnownLead, now: datetime
) -> tuple[Enrollment, tuple[Effect, ...]]:
    """The enrollment after the stimulus, and what must happen, in order. What changes nothing returns the same enrollment."""
    walk = Walk(journey, enrollment, known, now)
    match stimulus:
        case Activity():
            _on_activity(walk, stimulus)
        case TimeCame():
            _on_time(walk)
        case Absorbed():
            _on_absorbed(walk, stimulus.other)
        case Merged():
            _on_merged(walk)
        case Learned():
            _on_learned(walk, stimulus.events)
        case _:
            assert_never(stimulus)
    return walk.result()


def end_by_event(walk: Walk, event: Event, sequence: int) -> bool:
    """Apply an event that may be this walk's goal or exit; True where it ended the walk. Rules 2 and 3."""
    if not happened_after_entry(walk.enrollment, event, sequence):
        return False
    scope = walk.scope | {"event": event_scope(event)}
    goal = walk.journey.goal
    if goal is not None and _reaches(goal, walk.enrollment, event, scope):
        walk.move(converted_at=event.at)
        if goal.exit and walk.enrollment.active:
            walk.end("exited", "goal")
            return True
    if not walk.enrollment.active:
        return False
    reason = _exit_reason(walk, event, scope)
    if reason is not None:
        walk.end("exited", reason)
    return reason is not None


def condition_holds(walk: Walk) -> bool:
    """Whether an `exit_when` condition is true now."""
    conditions = walk.journey.conditions
    return bool(conditions) and any(condition.truth(walk.scope) for condition in conditions)


def _on_activity(walk: Walk, activity: Activity) -> None:
    """Goals and exits, then the message under way, then `on_repeat` (rule 1)."""
    ended = end_by_event(walk, activity.event, activity.sequence)
    if ended or not walk.enrollment.active:
        return
    if condition_holds(walk):
        walk.end("exited", "exit_when")
        return
    _on_settled(walk, activity.event)
    if walk.enrollment.active and _is_repeat(walk, activity):
        _on_repeat(walk, activity)


def _reaches(goal: Goal, enrollment: Enrollment, event: Event, scope: Scope) -> bool:
    if enrollment.converted_at is not None or enrollment.goal_until is None or event.at > enrollment.goal_until:
        return False
    return is_match(goal.match, event, enrollment.key, scope)


def _exit_reason(walk: Walk, event: Event, scope: Scope) -> str | None:
    if any(is_match(match, event, walk.enrollment.key, scope) for match in walk.journey.exits):
        return "exit_when"
    return _built_in_exit(walk.journey, event)


def _built_in_exit(journey: Journey, event: Event) -> str | None:
    """What ends a marketing journey without being written in it."""
    if journey.category != "marketing":
        return None
    if event.name == "Unsubscribed" and event.properties.get("topic") in (None, "", "all", journey.topic):
        return "unsubscribed"
    if _withdraws_consent(event, journey.topic):
        return "unsubscribed"
    if event.name == "Email Marked as Spam":
        return "complaint"
    if event.name == "Email Bounced" and event.properties.get("kind") == "hard":
        return "bounced"
    return None


def _withdraws_consent(event: Event, topic: str | None) -> bool:
    """Whether somebody who is believed says that the lead wants no marketing mail, or none of this topic."""
    if event.type != "identify" or not event.trusted:
        return False
    said = event.traits.get("consent")
    if not isinstance(said, dict):
        return said is False
    topics = said.get("topics")
    return said.get("marketing") is False or (isinstance(topics, dict) and topic is not None and topics.get(topic) is False)


BUILT_IN_EXITS = frozenset({"Unsubscribed", "Email Marked as Spam", "Email Bounced"})


def _on_settled(walk: Walk, event: Event) -> None:
    """A message was sent, suppressed, failed or is in doubt: its step is over, and the next wait counts from there (rule 7)."""
    here = walk.enrollment
    if event.name not in SETTLED or event.source != OURSELVES or here.message is None or here.step is None:
        return
    if event.properties.get("enrollment_id") != here.id or event.properties.get("transition") != here.message:
        return
    step = walk.journey.steps[here.step]
    assert isinstance(step, SendStep)
    walk.note(step.id, {"event": event_scope(event), "at": event.at})
    walk.settle()
    if step.exit_if_unreachable and event.name == "Email Suppressed" and event.properties.get("reason") in UNREACHABLE:
        walk.end("exited", "unreachable")
    else:
        walk.go(step.next, min(event.at, walk.now))


def _is_repeat(walk: Walk, activity: Activity) -> bool:
    """The same trigger, `where` and key again, later than what began the walk (rule 5)."""
    event = activity.event
    if walk.journey.on_repeat == "ignore" or activity.late or event.depth > DEEPEST:
        return False
    if not happened_after_entry(walk.enrollment, event, activity.sequence):
        return False
    scope = trigger_scope(event, walk.known.lead, walk.now)
    trigger = find_trigger(walk.journey, event, scope)
    if trigger is None:
        return False
    return (key_text(trigger.key(scope)) if trigger.key else None) == walk.enrollment.key


def _on_repeat(walk: Walk, activity: Activity) -> None:
    event = activity.event
    walk.enter(entry_of(event), activity.sequence, event.depth)
    match walk.journey.on_repeat:
        case "ignore" | "update":
            pass
        case "reset_timer":
            walk.reset_timer()
        case "restart":
            walk.restart()
        case _:
            assert_never(walk.journey.on_repeat)


def _on_time(walk: Walk) -> None:
    """Ends first, then whatever is due; a wake-up before its time changes nothing."""
    here = walk.enrollment
    if not here.active or walk.journey.held:
        return
    limit = walk.journey.max_duration
    if limit is not None and here.entered_at + limit <= walk.now:
        walk.end("exited", "max_duration")
    elif walk.journey.hourly and condition_holds(walk):
        walk.end("exited", "exit_when")
    elif here.due_at is None and here.message is None:
        walk.go(here.step, here.reached_at)
    elif here.due_at is not None and here.due_at <= walk.now and here.step is not None:
        step = walk.journey.steps[here.step]
        assert isinstance(step, WaitStep)
        walk.go(*walk.leave_wait(step, here.due_at))


def _on_absorbed(walk: Walk, other: Enrollment) -> None:
    """The walk stays where it is and keeps its arm; the newer entry becomes its own."""
    if walk.enrollment.active and other.entry.at > walk.enrollment.entry.at:
        walk.enter(other.entry, 0, max(walk.enrollment.depth, other.depth))


def _on_merged(walk: Walk) -> None:
    """The walk goes on in the other enrollment, which alone counts the goal from here."""
    if walk.enrollment.active:
        walk.end("exited", "merged")
        walk.forget_goal()


def _on_learned(walk: Walk, events: Iterable[Event]) -> None:
    """Goals and exits among them count as they would have; two leads' sequences do not compare, so only the time says which came after."""
    for event in sorted(events, key=lambda event: event.at):
        if end_by_event(walk, event, 0):
            return


def entry_of(event: Event) -> Entry:
    """What an event leaves behind in the walk that it begins."""
    return Entry(at=event.at, event=event.name, event_id=event.id, properties=event.properties, context=event.context)
