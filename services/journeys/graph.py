"""A journey's steps as a graph that the API shows: what each is, and where it leads. Pure."""

from typing import Any, assert_never

from services.journeys.form_types import DAYS
from services.journeys.localtime import EVERY_DAY
from services.journeys.steps import (
    BranchStep,
    Case,
    ExitStep,
    HandoffStep,
    Lasting,
    NextClock,
    SendStep,
    Step,
    Until,
    UpdateStep,
    Wait,
    WaitForStep,
    WaitStep,
    Window,
)
from services.journeys.walk import KINDS
from shared.durations import format_duration

Node = dict[str, Any]


def node(step: Step) -> Node:
    """A step as a node of the graph."""
    return {"step": step.name, "kind": KINDS[type(step)]} | _particulars(step)


def _particulars(step: Step) -> Node:
    match step:
        case SendStep():
            return {"template": step.template, "next": step.next}
        case WaitStep():
            ways = {"do": step.do, "if_past": step.if_past} if isinstance(step.wait, Until) else {}
            return {"wait": _wait(step.wait), "next": step.next} | ways
        case WaitForStep():
            timeout = format_duration(step.timeout) if step.timeout is not None else None
            cases = [_case(case) for case in step.cases]
            return {"cases": cases, "timeout": timeout, "on_timeout": step.on_timeout, "next": step.next}
        case BranchStep():
            arms = [{"label": arm.label, "if": arm.condition.source if arm.condition else None, "next": arm.to} for arm in step.arms]
            return {"arms": arms, "next": step.next}
        case UpdateStep():
            return {"traits": sorted(step.traits), "next": step.next}
        case HandoffStep():
            return {"endpoint": step.endpoint, "next": step.next} | _answers(step)
        case ExitStep():
            return {"reason": step.reason, "next": None}
        case _:
            assert_never(step)


def _wait(wait: Wait) -> str:
    match wait:
        case Lasting():
            return format_duration(wait.duration)
        case NextClock():
            return f"at {wait.clock:%H:%M}{_days(wait.days)}"
        case Window():
            return f"{wait.opens:%H:%M} to {wait.closes:%H:%M}{_days(wait.days)}"
        case Until():
            return f"until {wait.moment.source}"
        case _:
            assert_never(wait)


def _days(days: frozenset[int]) -> str:
    return "" if days == EVERY_DAY else " on " + ", ".join(DAYS[day] for day in sorted(days))


def _case(case: Case) -> Node:
    return {
        "label": case.label,
        "events": sorted(case.match.events) if case.match else None,
        "when": case.condition.source if case.condition else None,
        "next": case.to,
    }


def _answers(step: HandoffStep) -> Node:
    if step.answers is None:
        return {}
    answers = step.answers
    ways = {"accepted": answers.accepted, "rejected": answers.rejected, "expired": answers.expired}
    return {"sla": format_duration(answers.sla), "fallback": answers.fallback or None, "answers": ways}
