"""Journeys that would begin each other for ever, without a wait of an hour between: told when a playbook is read (PLAYBOOK, rule 14). Pure.

What counts is what a walk makes happen without anybody doing anything: a mail's outcome, a readiness that its update moves. A `where` on a
trigger gets the benefit of the doubt; what goes round all the same is stopped when it happens, at the seventeenth effect.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import assert_never

from services.journeys.definitions import After, Journey, Once
from services.journeys.steps import (
    BranchStep,
    ExitStep,
    HandoffStep,
    Lasting,
    NextClock,
    SendStep,
    Step,
    Until,
    UpdateStep,
    WaitForStep,
    WaitStep,
    Window,
)
from services.journeys.walk import FORGETS_DEPTH

OF_A_MAIL = frozenset({"Email Sent", "Email Delivered", "Email Suppressed", "Email Failed", "Email In Doubt", "Email Bounced"})
READINESS = "Readiness Changed"
EXPIRED = "Handoff Expired"

Moves = Callable[[UpdateStep], bool]
"""Whether an update says something that readiness goes by."""


def circles(journeys: Iterable[Journey], moves: Moves) -> Iterator[tuple[Journey, ...]]:
    """The shortest circle through each journey that is the first of it by name; each begins the next, the last one the first."""
    by_name = {journey.name: journey for journey in journeys}
    made = {name: _made(journey, moves) for name, journey in by_name.items()}
    begins = {name: [other for other in sorted(by_name) if _begins(made[name], by_name[other])] for name in sorted(by_name)}
    for name, others in begins.items():
        if name in others and not _goes_on((by_name[name],), made):
            others.remove(name)
    for name in begins:
        circle = tuple(by_name[member] for member in _way_back(name, begins))
        if circle and _goes_on(circle, made):
            yield circle


def _begins(made: frozenset[str], journey: Journey) -> bool:
    """Whether one of these events begins the journey, however often it comes."""
    if isinstance(journey.reentry, Once | After) or journey.gap is not None:
        return False
    return any(trigger.events & made and trigger.where is None for trigger in journey.triggers)


def _way_back(start: str, begins: Mapping[str, list[str]]) -> list[str]:
    """The shortest way from a journey to itself through those after it by name; empty where there is none."""
    ways, seen = [[start]], set[str]()
    while ways:
        way = ways.pop(0)
        for name in begins[way[-1]]:
            if name == start:
                return way
            if name > start and name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def _goes_on(circle: tuple[Journey, ...], made: Mapping[str, frozenset[str]]) -> bool:
    """A readiness that only ever rises, or only falls, comes to an end."""
    following = (*circle[1:], circle[0])
    by_readiness = [other for one, other in zip(circle, following, strict=True) if not _begins(made[one.name] - {READINESS}, other)]
    crossings = [trigger.crossing for journey in by_readiness for trigger in journey.triggers if trigger.crossing is not None]
    rises, falls = (any(getattr(crossing, way) is not None for crossing in crossings) for way in ("rises_to", "falls_to"))
    return not by_readiness or (rises and falls)


def _made(journey: Journey, moves: Moves) -> frozenset[str]:
    """The events that a walk makes by itself before it has waited for an hour."""
    ahead, seen, made = [journey.first], set[str](), set[str]()
    while ahead:
        name = ahead.pop()
        if name is None or name in seen:
            continue
        seen.add(name)
        step = journey.steps[name]
        made |= _made_by(step, moves)
        ahead += _at_once(step)
    return frozenset(made)


def _made_by(step: Step, moves: Moves) -> frozenset[str]:
    match step:
        case SendStep():
            return OF_A_MAIL
        case UpdateStep() if moves(step):
            return frozenset({READINESS})
        case HandoffStep() if _is_short(step):
            return frozenset({EXPIRED})
        case _:
            return frozenset()


def _at_once(step: Step) -> list[str | None]:
    """The steps that a walk may come to from this one before an hour has passed."""
    match step:
        case SendStep() | UpdateStep():
            return [step.next]
        case WaitStep():
            return _through(step)
        case WaitForStep():
            by_itself = [case.to for case in step.cases if case.match is None or (case.match.events & OF_A_MAIL and not case.match.where)]
            return by_itself + ([step.on_timeout] if step.timeout is not None and step.timeout < FORGETS_DEPTH else [])
        case BranchStep():
            return [step.next, *(arm.to for arm in step.arms)]
        case HandoffStep():
            return [step.next] if step.answers is None else [step.answers.expired] if _is_short(step) else []
        case ExitStep():
            return []
        case _:
            assert_never(step)


def _through(step: WaitStep) -> list[str | None]:
    match step.wait:
        case Lasting(duration=duration):
            return [step.do] if duration < FORGETS_DEPTH else []
        case NextClock():
            return []
        case Window():
            return [step.do]
        case Until():
            return [step.if_past, step.next]
        case _:
            assert_never(step.wait)


def _is_short(step: HandoffStep) -> bool:
    return step.answers is not None and step.answers.sla < FORGETS_DEPTH
