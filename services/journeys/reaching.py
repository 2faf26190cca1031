"""The steps that reach somebody: a mail to the lead, a hand-off to sales. Pure; what they ask for goes to topic `messages`."""

from typing import Any

from msgspec.structs import replace

from services.journeys.enrollment import message_id
from services.journeys.steps import HandoffStep, SendStep
from services.journeys.walk import Onward, Walk
from shared.expressions import Expression
from shared.wire import Send


def send(walk: Walk, step: SendStep) -> Onward | None:
    """Ask for a mail and stand until it has ended; onward where it is not to go."""
    here = walk.enrollment
    if here.holdout:
        return walk.pass_by(step, step.next)
    expires_at = here.reached_at + step.max_age if step.max_age else None
    barred = walk.barred() or ("max_age" if expires_at is not None and expires_at < walk.now else None)
    if barred:
        walk.visit(step, "skipped", barred)
        return step.next, walk.now
    message = _message(walk, step, kind="email", template=step.template, category=step.category, expires_at=expires_at)
    _publish(walk, step, message)
    walk.enrollment = replace(walk.enrollment, message=here.transition)
    return None


def hand_off(walk: Walk, step: HandoffStep) -> Onward | None:
    """Give the lead to sales; onward at once, or standing until sales has answered."""
    if walk.enrollment.holdout:
        return walk.pass_by(step, step.next)
    barred = walk.barred()
    if barred:
        walk.visit(step, "skipped", barred)
        return step.next, walk.now
    _publish(walk, step, _message(walk, step, kind="handoff", category=walk.journey.category, **_particulars(walk, step)))
    if step.answers is None:
        return step.next, walk.now
    walk.enrollment = replace(walk.enrollment, awaits=walk.enrollment.transition)
    return None


def _particulars(walk: Walk, step: HandoffStep) -> dict[str, Any]:
    told = {"endpoint": step.endpoint, "note": _note(walk, step)}
    if step.answers is None:
        return told
    return told | {"sla": step.answers.sla, "sla_working": step.answers.working, "fallback": step.answers.fallback}


def _note(walk: Walk, step: HandoffStep) -> str:
    if not isinstance(step.note, Expression):
        return step.note
    value = step.note(walk.scope)
    return "" if value is None else str(value)


def _message(walk: Walk, step: SendStep | HandoffStep, **particulars: Any) -> Send:
    enrollment = walk.enrollment
    return Send(
        id=message_id(enrollment.id, enrollment.transition),
        lead_id=enrollment.lead_id,
        journey=enrollment.journey,
        version=enrollment.version,
        enrollment_id=enrollment.id,
        transition=enrollment.transition,
        step=step.name,
        topic=walk.journey.topic,
        priority=walk.journey.priority,
        lead=walk.known.lead,
        sequence=walk.known.sequence,
        reached_at=enrollment.reached_at,
        entry=enrollment.entry,
        entered_at=enrollment.entered_at,
        key=enrollment.key,
        steps=dict(enrollment.steps or {}),
        depth=enrollment.depth,
        **particulars,
    )


def _publish(walk: Walk, step: SendStep | HandoffStep, message: Send) -> None:
    walk.effects.append(message)
    walk.visit(step, "published", message=message.id)
