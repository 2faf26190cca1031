"""What an activity, the time or a merge does to one enrollment. Pure: no I/O, no clock.

(journey, enrollment, stimulus, lead, now) ──advance──► (enrollment, effects). PLAYBOOK, "When two things meet", is the law.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from services.journeys import awaiting, waiting
from services.journeys.definitions import Goal, Journey
from services.journeys.enrollment import Effect, Enrollment, KnownLead, Remembered
from services.journeys.going import go, reset_timer, restart
from services.journeys.matching import DEEPEST, find_trigger, happened_after_entry, is_trigger, key_text, trigger_scope
from services.journeys.steps import BranchStep, ExitStep, HandoffStep, SendStep, UpdateStep, WaitForStep, WaitStep
from services.journeys.walk import Onward, Walk
from shared.wire import Activity, Entry, Event


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

    events: Collection[Remembered]


Stimulus = Activity | TimeCame | Absorbed | Merged | Learned


def advance(
    journey: Journey, enrollment: Enrollment, stimulus: Stimulus, known: KnownLead, now: datetime, recent: Collection[Remembered] = ()
) -> tuple[Enrollment, tuple[Effect, ...]]:
    """The enrollment after the stimulus, and what must happen, in order. What changes nothing returns the same enrollment.

    `recent` are the lead's events that were kept; they are looked at where the journey has a `wait_for`.
    """
    walk = Walk(journey, enrollment, known, now, recent)
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
    goal = walk.journey.goal
    if goal is not None and _reaches(walk, goal, event):
        walk.move(converted_at=event.at)
        if goal.exit and walk.enrollment.active:
            walk.end("exited", "goal")
            return True
    if not walk.enrollment.active:
        return False
    reason = _exit_reason(walk, event)
    if reason is not None:
        walk.end("exited", reason)
    return reason is not None


def condition_holds(walk: Walk) -> bool:
    """Whether an `exit_when` condition is true now."""
    conditions = walk.journey.conditions
    return bool(conditions) and any(condition.truth(walk.scope) for condition in conditions)


def _on_activity(walk: Walk, activity: Activity) -> None:
    """Goals and exits, then what the walk waits for, then `on_repeat` (rule 1)."""
    ended = end_by_event(walk, activity.event, activity.sequence)
    if ended or not walk.enrollment.active:
        return
    if condition_holds(walk):
        walk.end("exited", "exit_when")
        return
    onward = _heard(walk, activity)
    if onward is not None:
        go(walk, *onward)
    if walk.enrollment.active and _is_repeat(walk, activity):
        _on_repeat(walk, activity)
    waiting.reckon(walk)


def _heard(walk: Walk, activity: Activity) -> Onward | None:
    """Where an activity leads the walk that stands at its step; None where it means nothing there."""
    step = walk.step
    match step:
        case SendStep():
            return awaiting.settled(walk, step, activity.event)
        case HandoffStep():
            return awaiting.answered(walk, step, activity.event)
        case WaitForStep():
            return awaiting.heard(walk, step, activity)
        case WaitStep() | BranchStep() | UpdateStep() | ExitStep() | None:
            return None
        case _:
            assert_never(step)


def _reaches(walk: Walk, goal: Goal, event: Event) -> bool:
    here = walk.enrollment
    if here.converted_at is not None or here.goal_until is None or event.at > here.goal_until:
        return False
    return walk.meets(goal.match, event)


def _exit_reason(walk: Walk, event: Event) -> str | None:
    if any(walk.meets(match, event) for match in walk.journey.exits):
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


def _is_repeat(walk: Walk, activity: Activity) -> bool:
    """The same trigger, `where` and key again, later than what began the walk (rule 5)."""
    event = activity.event
    if walk.journey.on_repeat == "ignore" or activity.late or event.depth > DEEPEST:
        return False
    named = any(event.name in trigger.events for trigger in walk.journey.triggers)
    if not named or not happened_after_entry(walk.enrollment, event, activity.sequence):
        return False
    scope = trigger_scope(event, walk.known.lead, walk.now)
    index = walk.enrollment.trigger
    if index is None:
        index = find_trigger(walk.journey, event, scope)
    if index is None or not is_trigger(walk.journey.triggers[index], event, scope):
        return False
    key = walk.journey.triggers[index].key
    return (key_text(key(scope)) if key else None) == walk.enrollment.key


def _on_repeat(walk: Walk, activity: Activity) -> None:
    event = activity.event
    walk.enter(entry_of(event), activity.sequence, event.depth, walk.enrollment.trigger)
    match walk.journey.on_repeat:
        case "ignore" | "update":
            pass
        case "reset_timer":
            reset_timer(walk)
        case "restart":
            restart(walk)
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
    elif walk.halted:
        go(walk, here.step, here.reached_at)
    else:
        onward = _come(walk)
        if onward is not None:
            go(walk, *onward)


def _come(walk: Walk) -> Onward | None:
    """Where the time leads the walk that stands at its step; None where it means nothing there."""
    step = walk.step
    match step:
        case WaitStep():
            return waiting.on_time(walk, step)
        case WaitForStep():
            return awaiting.on_time(walk, step)
        case SendStep() | HandoffStep() | BranchStep() | UpdateStep() | ExitStep() | None:
            return None
        case _:
            assert_never(step)


def _on_absorbed(walk: Walk, other: Enrollment) -> None:
    """The walk stays where it is and keeps its arm; the newer entry becomes its own."""
    here = walk.enrollment
    if here.active and other.entry.at > here.entry.at:
        walk.enter(other.entry, 0, max(here.depth, other.depth), other.trigger if other.version == here.version else None)
        waiting.reckon(walk)


def _on_merged(walk: Walk) -> None:
    """The walk goes on in the other enrollment, which alone counts the goal from here."""
    if walk.enrollment.active:
        walk.end("exited", "merged")
        walk.forget_goal()


def _on_learned(walk: Walk, events: Collection[Remembered]) -> None:
    """Goals and exits among them count as they would have; two leads' sequences do not compare, so only the time says which came after."""
    if any(end_by_event(walk, one.event, 0) for one in sorted(events, key=lambda one: one.event.at)):
        return
    step = walk.step
    if isinstance(step, WaitForStep) and walk.enrollment.awaits is not None:
        onward = awaiting.look_back(walk, step)
        if onward is not None:
            go(walk, *onward)


def entry_of(event: Event) -> Entry:
    """What an event leaves behind in the walk that it begins."""
    return Entry(at=event.at, event=event.name, event_id=event.id, properties=event.properties, context=event.context)
