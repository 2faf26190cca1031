"""A step that waits for something to come: an event, a condition, an answer of sales. Pure.

PLAYBOOK: of what has come already rule 2 speaks, of what comes while it waits rule 4.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from services.journeys.enrollment import Remembered
from services.journeys.matching import DEEPEST, happened_after_entry
from services.journeys.steps import Case, HandoffStep, SendStep, WaitForStep
from services.journeys.walk import Onward, Walk
from shared.wire import OURSELVES, Activity, Event

SETTLED = frozenset({"Email Sent", "Email Suppressed", "Email Failed", "Email In Doubt"})
"""The events that end a send step."""

UNREACHABLE = frozenset({"no_address", "unconfirmed_address", "no_consent", "suppressed"})
"""The reasons for which nothing can reach the lead."""

CLICKED = "Email Link Clicked"


def begin(walk: Walk, step: WaitForStep) -> Onward | None:
    """Stand until a case happens; onward where one has already, or where the timeout has run out."""
    walk.visit(step, "waited")
    walk.enrollment = replace(walk.enrollment, awaits=walk.enrollment.transition, due_at=_due(walk, step))
    return look_back(walk, step) or on_time(walk, step)


def look_back(walk: Walk, step: WaitForStep) -> Onward | None:
    """Whether a case has happened already: a condition that is true, an event that arrived before the wait and belongs into it."""
    came = list(_came_before(walk, step))
    for case in step.cases:
        found = next((one.event for one in came if _is_awaited(walk, case, one.event)), None)
        if found is not None or _is_true(walk, case):
            return _met(walk, step, case, found)
    return None


def heard(walk: Walk, step: WaitForStep, activity: Activity) -> Onward | None:
    """What an activity means to the wait: the first case listed that it is ends it, a reset begins its timeout anew (rule 4)."""
    if walk.enrollment.awaits is None or activity.late or activity.event.depth > DEEPEST:
        return None
    event, after = activity.event, happened_after_entry(walk.enrollment, activity.event, activity.sequence)
    for case in step.cases:
        if after and _is_awaited(walk, case, event):
            return _met(walk, step, case, event)
        if _is_true(walk, case):
            return _met(walk, step, case, None, event.depth)
    if after and _is_reset(walk, step, event):
        restart_timeout(walk, step, min(event.at, walk.now))
    return None


def on_time(walk: Walk, step: WaitForStep) -> Onward | None:
    """A condition that speaks of time may have come true; else the timeout may have run out."""
    if walk.enrollment.awaits is None:
        return None
    for case in step.cases:
        if _is_true(walk, case):
            return _met(walk, step, case, None)
    due = walk.enrollment.due_at
    if due is None or due > walk.now:
        return None
    walk.waited(due)
    walk.note(step.id, due)
    return step.on_timeout, due


def restart_timeout(walk: Walk, step: WaitForStep, since: datetime) -> None:
    """Begin the timeout anew, as of a moment."""
    if step.timeout is not None and walk.enrollment.due_at is not None:
        walk.move(due_at=max(walk.enrollment.due_at, since + step.timeout))


def settled(walk: Walk, step: SendStep, event: Event) -> Onward | None:
    """A message was sent, suppressed, failed or is in doubt: its step is over, and the next wait counts from there (rule 7)."""
    if event.name not in SETTLED or not _answers(walk, event, walk.enrollment.message):
        return None
    walk.note(step.id, event.at, event)
    walk.settle()
    if step.exit_if_unreachable and event.name == "Email Suppressed" and event.properties.get("reason") in UNREACHABLE:
        walk.end("exited", "unreachable")
        return None
    return step.next, min(event.at, walk.now)


def answered(walk: Walk, step: HandoffStep, event: Event) -> Onward | None:
    """Sales has accepted or rejected the hand-off, or let its time run out. Snoozing it leaves the walk where it is."""
    if step.answers is None or not _answers(walk, event, walk.enrollment.awaits):
        return None
    ways = {
        "Handoff Accepted": step.answers.accepted,
        "Handoff Rejected": step.answers.rejected,
        "Handoff Expired": step.answers.expired,
    }
    if event.name not in ways:
        return None
    at = min(event.at, walk.now)
    walk.waited(at, event.depth)
    walk.note(step.id, event.at, event)
    return ways[event.name], at


def _answers(walk: Walk, event: Event, asked: int | None) -> bool:
    """Whether the event says how what this walk asked for with that transition went."""
    if asked is None or event.source != OURSELVES:
        return False
    return (event.properties.get("enrollment_id"), event.properties.get("transition")) == (walk.enrollment.id, asked)


def _came_before(walk: Walk, step: WaitForStep) -> Iterable[Remembered]:
    """What has arrived already and may count, in its own order: what happened since the step, or since the entry (rule 2)."""
    here = walk.enrollment
    from_entry = step.since_entry or walk.begins
    for one in sorted(walk.recent, key=lambda one: (one.event.at, one.sequence)):
        if one.late or one.event.depth > DEEPEST or one.event.name not in step.names:
            continue
        if happened_after_entry(here, one.event, one.sequence) and (from_entry or one.event.at > here.reached_at):
            yield one


def _due(walk: Walk, step: WaitForStep) -> datetime | None:
    """When the timeout runs out, by the resets that have come already."""
    if step.timeout is None:
        return None
    reached = walk.enrollment.reached_at
    resets = (min(one.event.at, walk.now) for one in _came_before(walk, step) if _is_reset(walk, step, one.event))
    return max([reached, *resets]) + step.timeout


def _is_awaited(walk: Walk, case: Case, event: Event) -> bool:
    if case.match is None or not walk.meets(case.match, event):
        return False
    return case.of is None or _is_click_of(walk, event, case.of)


def _is_click_of(walk: Walk, event: Event, step: str) -> bool:
    """Whether a human clicked in this walk's own mail of that step."""
    told = event.properties
    if event.source != OURSELVES or told.get("human") is not True:
        return False
    return (told.get("enrollment_id"), told.get("step")) == (walk.enrollment.id, step)


def _is_true(walk: Walk, case: Case) -> bool:
    return case.condition is not None and case.condition.truth(walk.scope)


def _is_reset(walk: Walk, step: WaitForStep, event: Event) -> bool:
    return any(walk.meets(match, event) for match in step.resets)


def _met(walk: Walk, step: WaitForStep, case: Case, event: Event | None, depth: int = 0) -> Onward:
    """Go where the case leads; the next wait counts from what happened."""
    reached = walk.enrollment.reached_at
    at = max(reached, min(event.at, walk.now)) if event is not None else walk.now
    walk.waited(at, event.depth if event is not None else depth)
    walk.note(step.id, at if event is None else event.at, event)
    walk.begins = False
    return case.to, at
