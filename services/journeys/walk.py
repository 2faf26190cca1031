"""From step to step, until one must stand still or the walk is over. Pure."""

from datetime import datetime, timedelta
from typing import Any, assert_never

from msgspec.structs import replace

from services.journeys.definitions import BranchStep, ExitStep, HandoffStep, Journey, SendStep, Step, WaitStep
from services.journeys.enrollment import Effect, Enrollment, EnrollmentStatus, KnownLead, Outcome, StepKind, Visit, message_id
from services.journeys.matching import Scope, walk_scope
from shared.expressions import Expression
from shared.wire import Entry, Send, Withdraw

FORGETS_DEPTH = timedelta(hours=1)
"""A wait this long ends a chain of causes: what comes after it is no loop."""

ASKED_EVERY = timedelta(hours=1)
"""How often an exit condition that speaks of time is asked."""

Onward = tuple[str | None, datetime]
"""The next step, and when the walk came to it."""

KINDS: dict[type[Step], StepKind] = {SendStep: "send", WaitStep: "wait", BranchStep: "branch", HandoffStep: "handoff", ExitStep: "exit"}


class Walk:
    """One enrollment during one stimulus; collects what its moves ask for, in order."""

    __slots__ = ("effects", "enrollment", "journey", "known", "now")

    def __init__(self, journey: Journey, enrollment: Enrollment, known: KnownLead, now: datetime) -> None:
        self.journey = journey
        self.enrollment = enrollment
        self.known = known
        self.now = now
        self.effects: list[Effect] = []

    def result(self) -> tuple[Enrollment, tuple[Effect, ...]]:
        """The enrollment with its next wake-up, and the effects."""
        wake_at = self._wake_at()
        if wake_at != self.enrollment.wake_at:
            self.enrollment = replace(self.enrollment, wake_at=wake_at)
        return self.enrollment, tuple(self.effects)

    @property
    def scope(self) -> Scope:
        return walk_scope(self.enrollment, self.known.lead, self.now)

    def move(self, **changes: Any) -> None:
        """Change the enrollment; every change is a transition."""
        self.enrollment = replace(self.enrollment, transition=self.enrollment.transition + 1, **changes)

    def end(self, status: EnrollmentStatus, reason: str | None = None) -> None:
        """End the walk and take back what is still under way."""
        self.withdraw(reason or status)
        self.move(status=status, reason=reason, ended_at=self.now, step=None, due_at=None, message=None)

    def withdraw(self, reason: str) -> None:
        if self.enrollment.message is not None:
            pending = message_id(self.enrollment.id, self.enrollment.message)
            self.effects.append(Withdraw(id=pending, lead_id=self.enrollment.lead_id, reason=reason, at=self.now))

    def enter(self, entry: Entry, sequence: int, depth: int) -> None:
        """Make `entry` what began this walk; the goal's time counts from it."""
        goal = self.journey.goal
        until = entry.at + goal.within if goal else None
        self.move(entry=entry, entry_sequence=sequence, depth=depth, goal_until=until)

    def go(self, name: str | None, reached: datetime) -> None:
        """Walk from the step `name`, come to at `reached`, as far as it goes now."""
        while name is not None:
            self.move(step=name, reached_at=reached, due_at=None, message=None)
            if self.journey.held:
                return
            onward = self._take(self.journey.steps[name])
            if onward is None:
                return
            name, reached = onward
        self.end("completed")

    def settle(self) -> None:
        """The message under way has ended: nothing is left to withdraw."""
        self.enrollment = replace(self.enrollment, message=None)

    def forget_goal(self) -> None:
        self.enrollment = replace(self.enrollment, goal_until=None)

    def reset_timer(self) -> None:
        """Begin the present wait's clock anew, if it stands in a wait."""
        here = self.enrollment
        step = self.journey.steps[here.step] if here.step and here.due_at else None
        if isinstance(step, WaitStep):
            self.enrollment = replace(here, reached_at=self.now, due_at=self.now + step.duration)

    def restart(self) -> None:
        """Begin the walk anew from its first step."""
        self.withdraw("restarted")
        self.enrollment = replace(self.enrollment, message=None, entered_at=self.now, steps=None)
        self.go(self.journey.first, self.now)

    def barred(self) -> str | None:
        """Why nothing may reach the lead from here; the audience is asked again at each step that does."""
        audience = self.journey.audience
        return None if audience is None or audience.truth(self.scope) else "audience"

    def leave_wait(self, step: WaitStep, due: datetime) -> Onward:
        if step.duration >= FORGETS_DEPTH:
            self.enrollment = replace(self.enrollment, depth=0)
        return step.next, due

    def _take(self, step: Step) -> Onward | None:
        """Do what the step says; None where the walk stands or has ended."""
        self.note(step.id, {"at": self.now})
        match step:
            case SendStep():
                return self._send(step)
            case WaitStep():
                return self._wait(step)
            case BranchStep():
                return self._branch(step)
            case HandoffStep():
                return self._hand_off(step)
            case ExitStep():
                self._visit(step, "exited", step.reason)
                self.end("exited", step.reason)
                return None
            case _:
                assert_never(step)

    def note(self, step_id: str | None, happened: dict[str, Any]) -> None:
        """Keep what happened at a step, for conditions and templates to name."""
        if step_id is not None:
            self.enrollment = replace(self.enrollment, steps={**(self.enrollment.steps or {}), step_id: happened})

    def _send(self, step: SendStep) -> Onward | None:
        if self.enrollment.holdout:
            return self._pass_by(step, step.next)
        expires_at = self.enrollment.reached_at + step.max_age if step.max_age else None
        barred = self.barred() or ("max_age" if expires_at is not None and expires_at < self.now else None)
        if barred:
            self._visit(step, "skipped", barred)
            return step.next, self.now
        message = self._message(step, kind="email", template=step.template, category=step.category, expires_at=expires_at)
        self._publish(step, message)
        self.enrollment = replace(self.enrollment, message=self.enrollment.transition)
        return None

    def _hand_off(self, step: HandoffStep) -> Onward:
        if self.enrollment.holdout:
            return self._pass_by(step, step.next)
        barred = self.barred()
        if barred:
            self._visit(step, "skipped", barred)
        else:
            message = self._message(step, kind="handoff", endpoint=step.endpoint, note=self._note_of(step), category=self.journey.category)
            self._publish(step, message)
        return step.next, self.now

    def _wait(self, step: WaitStep) -> Onward | None:
        self._visit(step, "waited")
        due = self.enrollment.reached_at + step.duration
        if due <= self.now:
            return self.leave_wait(step, due)
        self.enrollment = replace(self.enrollment, due_at=due)
        return None

    def _branch(self, step: BranchStep) -> Onward:
        scope = self.scope
        for arm in step.arms:
            if arm.condition is None or arm.condition.truth(scope):
                self._visit(step, "branched", arm.label)
                return arm.to, self.enrollment.reached_at
        self._visit(step, "branched", "none")
        return step.next, self.enrollment.reached_at

    def _pass_by(self, step: Step, onward: str | None) -> Onward:
        """The holdout walks past what would reach the lead."""
        self._visit(step, "holdout")
        return onward, self.enrollment.reached_at

    def _note_of(self, step: HandoffStep) -> str:
        if not isinstance(step.note, Expression):
            return step.note
        value = step.note(self.scope)
        return "" if value is None else str(value)

    def _message(self, step: SendStep | HandoffStep, **particulars: Any) -> Send:
        enrollment = self.enrollment
        return Send(
            id=message_id(enrollment.id, enrollment.transition),
            lead_id=enrollment.lead_id,
            journey=enrollment.journey,
            version=enrollment.version,
            enrollment_id=enrollment.id,
            transition=enrollment.transition,
            step=step.name,
            topic=self.journey.topic,
            priority=self.journey.priority,
            lead=self.known.lead,
            sequence=self.known.sequence,
            reached_at=enrollment.reached_at,
            entry=enrollment.entry,
            entered_at=enrollment.entered_at,
            key=enrollment.key,
            steps=dict(enrollment.steps or {}),
            depth=enrollment.depth,
            **particulars,
        )

    def _publish(self, step: Step, message: Send) -> None:
        self.effects.append(message)
        self._visit(step, "published", message=message.id)

    def _visit(self, step: Step, outcome: Outcome, reason: str = "", message: str | None = None) -> None:
        here = self.enrollment
        visit = Visit(here.id, here.transition, here.journey, step.name, KINDS[type(step)], outcome, reason, here.reached_at, message)
        self.effects.append(visit)

    def _wake_at(self) -> datetime | None:
        """When time next means something to the walk; early is harmless, late is not."""
        here = self.enrollment
        if not here.active:
            return None
        moments = [] if here.due_at is None else [here.due_at]
        if here.due_at is None and here.message is None:
            moments.append(here.reached_at)
        if self.journey.max_duration is not None:
            moments.append(here.entered_at + self.journey.max_duration)
        if self.journey.hourly:
            asked_again = here.wake_at is not None and here.wake_at > self.now
            moments.append(here.wake_at if asked_again and here.wake_at else self.now + ASKED_EVERY)
        return min(moments, default=None)
