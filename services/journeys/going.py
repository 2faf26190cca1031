"""From step to step, until a walk must stand still or is over. Pure."""

from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from services.journeys import awaiting, waiting
from services.journeys.reaching import hand_off, send
from services.journeys.steps import BranchStep, ExitStep, HandoffStep, Lasting, SendStep, Step, UpdateStep, WaitForStep, WaitStep
from services.journeys.updating import update
from services.journeys.walk import Onward, Walk


def go(walk: Walk, name: str | None, reached: datetime) -> None:
    """Walk from the step `name`, come to at `reached`, as far as it goes now."""
    while name is not None:
        walk.arrive(name, reached)
        if walk.journey.held:
            return
        onward = _take(walk, walk.journey.steps[name])
        if onward is None:
            return
        name, reached = onward
    walk.end("completed")


def restart(walk: Walk) -> None:
    """Begin the walk anew from its first step."""
    walk.withdraw("restarted")
    walk.enrollment = replace(walk.enrollment, message=None, entered_at=walk.now, steps=None)
    walk.begins = True
    go(walk, walk.journey.first, walk.now)


def reset_timer(walk: Walk) -> None:
    """Begin the present wait's clock anew, if it stands in one that has a length (rule 5)."""
    step = walk.step
    if walk.enrollment.due_at is None:
        return
    if isinstance(step, WaitStep) and isinstance(step.wait, Lasting):
        walk.enrollment = replace(walk.enrollment, reached_at=walk.now, due_at=walk.now + step.wait.duration)
    elif isinstance(step, WaitForStep):
        awaiting.restart_timeout(walk, step, walk.now)


def _take(walk: Walk, step: Step) -> Onward | None:
    """Do what the step says; None where the walk stands or has ended."""
    walk.note(step.id, walk.now)
    match step:
        case SendStep():
            return send(walk, step)
        case WaitStep():
            return waiting.begin(walk, step)
        case WaitForStep():
            return awaiting.begin(walk, step)
        case BranchStep():
            return _branch(walk, step)
        case UpdateStep():
            return update(walk, step)
        case HandoffStep():
            return hand_off(walk, step)
        case ExitStep():
            walk.visit(step, "exited", step.reason)
            walk.end("exited", step.reason)
            return None
        case _:
            assert_never(step)


def _branch(walk: Walk, step: BranchStep) -> Onward:
    scope = walk.scope
    for arm in step.arms:
        if arm.condition is None or arm.condition.truth(scope):
            walk.visit(step, "branched", arm.label)
            return arm.to, walk.enrollment.reached_at
    walk.visit(step, "branched", "none")
    return step.next, walk.enrollment.reached_at
