"""A step that waits for a time: when it is over, reckoned on the lead's clock, and reckoned anew as the lead changes. Pure."""

from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from services.journeys.localtime import moment_named, next_clock, next_within, zone_of
from services.journeys.steps import Lasting, NextClock, Until, WaitStep, Window
from services.journeys.walk import Onward, Walk


def begin(walk: Walk, step: WaitStep) -> Onward | None:
    """Stand until the time comes; onward where there is none, or where it has come already."""
    walk.visit(step, "waited")
    reached = walk.enrollment.reached_at
    due = _due(walk, step, reached)
    if due is None:
        return step.next, reached
    if isinstance(step.wait, Until) and due <= reached:
        return step.if_past, reached
    if due <= walk.now:
        return _over(walk, step, due)
    walk.enrollment = replace(walk.enrollment, due_at=due)
    return None


def on_time(walk: Walk, step: WaitStep) -> Onward | None:
    """The clock came to where the wait was to end."""
    due = walk.enrollment.due_at
    if due is None or due > walk.now:
        return None
    if isinstance(step.wait, Until):
        until = _due(walk, step, due)
        if until is None:
            return step.next, due
        if until > walk.now:
            walk.move(due_at=until)
            return None
    return _over(walk, step, due)


def reckon(walk: Walk) -> None:
    """Look anew when the present wait is over: the moment it waits for or the lead's zone may be another now (rule 6)."""
    step, due = walk.step, walk.enrollment.due_at
    if not isinstance(step, WaitStep) or isinstance(step.wait, Lasting) or due is None or due <= walk.now:
        return
    found = max(_due(walk, step, walk.now) or walk.now, walk.now)
    if found != due:
        walk.move(due_at=found)


def _over(walk: Walk, step: WaitStep, due: datetime) -> Onward:
    walk.waited(due)
    return step.do, due


def _due(walk: Walk, step: WaitStep, since: datetime) -> datetime | None:
    """When a wait that stands since `since` is over; None where what it waits for is no moment."""
    wait = step.wait
    if isinstance(wait, Lasting):
        return since + wait.duration
    zone = zone_of(walk.known.lead, walk.journey.zone)
    match wait:
        case NextClock():
            return next_clock(since, wait.clock, wait.days, zone)
        case Window():
            return next_within(since, wait.opens, wait.closes, wait.days, zone)
        case Until():
            reached = walk.enrollment.reached_at  # `now` is when the walk came here: what is reckoned from it does not run away
            return moment_named(wait.moment(walk.scope | {"now": reached}), wait.offset, zone)
        case _:
            assert_never(wait)
