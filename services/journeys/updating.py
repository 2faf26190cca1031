"""The step that says something of the lead: its traits and tags. Pure; it goes to topic `events` and comes back as every event does."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid5

from msgspec import to_builtins

from services.journeys.matching import Scope
from services.journeys.steps import UpdateStep
from services.journeys.walk import Onward, Walk
from shared.expressions import Expression
from shared.wire import OURSELVES, Event


def update(walk: Walk, step: UpdateStep) -> Onward:
    """Say what the step says of the lead; from here on the walk sees the lead so."""
    here = walk.enrollment
    if here.holdout:
        return walk.pass_by(step, step.next)
    event = _event(walk, step)
    walk.effects.append(event)
    walk.known = walk.known.told(event)
    walk.visit(step, "updated")
    return step.next, here.reached_at


def _event(walk: Walk, step: UpdateStep) -> Event:
    """One and the same event, however often the transition is tried."""
    here, scope = walk.enrollment, walk.scope
    tags = {"add": _texts(step.add, scope), "remove": _texts(step.remove, scope)}
    return Event(
        id=uuid5(UUID(here.id), f"update {here.transition}").hex,
        type="identify",
        at=walk.now,
        received_at=walk.now,
        source=OURSELVES,
        lead_id=here.lead_id,
        trusted=True,
        traits={name: _worked_out(value, scope) for name, value in step.traits.items()},
        properties={"tags": tags, "journey": here.journey, "step": step.name, "enrollment_id": here.id, "transition": here.transition},
        depth=here.depth + 1,
    )


def _worked_out(value: Any, scope: Scope) -> Any:
    """A value with its expressions worked out, as JSON has it."""
    match value:
        case Expression():
            return to_builtins(value(scope))
        case dict():
            return {name: _worked_out(part, scope) for name, part in value.items()}
        case list():
            return [_worked_out(part, scope) for part in value]
        case _:
            return value


def _texts(values: Iterable[str | Expression], scope: Scope) -> list[str]:
    """Tags are texts; what is none is no tag."""
    found = (_worked_out(value, scope) for value in values)
    return [str(value) for value in found if value is not None and value != ""]
