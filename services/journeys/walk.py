"""One enrollment during one stimulus: where it stands, the small moves it makes, and what they ask for, in order. Pure.

engine.py makes one for each stimulus; going.py and its like move it from step to step.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from services.journeys.definitions import Journey
from services.journeys.enrollment import Effect, Enrollment, EnrollmentStatus, KnownLead, Outcome, Remembered, StepKind, Visit, message_id
from services.journeys.matching import Scope, event_scope, is_match, walk_scope
from services.journeys.steps import BranchStep, EventMatch, ExitStep, HandoffStep, SendStep, Step, UpdateStep, WaitForStep, WaitStep
from shared.wire import Entry, Event, Withdraw

FORGETS_DEPTH = timedelta(hours=1)
"""A wait this long ends a chain of causes: what comes after it is no loop."""

ASKED_EVERY = timedelta(hours=1)
"""How often a condition that speaks of time is asked."""

Onward = tuple[str | None, datetime]
"""The next step, and when the walk came to it."""

KINDS: dict[type[Step], StepKind] = {
    SendStep: "send",
    WaitStep: "wait",
    WaitForStep: "wait_for",
    BranchStep: "branch",
    UpdateStep: "update",
    HandoffStep: "handoff",
    ExitStep: "exit",
}


class Walk:
    """One enrollment, what is known of its lead, and the events of the lead that were kept (`recent`)."""

    __slots__ = ("begins", "effects", "enrollment", "journey", "known", "now", "recent")

    def __init__(
        self, journey: Journey, enrollment: Enrollment, known: KnownLead, now: datetime, recent: Collection[Remembered] = ()
    ) -> None:
        self.journey = journey
        self.enrollment = enrollment
        self.known = known
        self.now = now
        self.recent = recent
        self.effects: list[Effect] = []
        self.begins = False  # whether it comes to its step straight from its entry, which may have happened long before it arrived

    def result(self) -> tuple[Enrollment, tuple[Effect, ...]]:
        """The enrollment with its next wake-up, and the effects."""
        wake_at = self._wake_at()
        if wake_at != self.enrollment.wake_at:
            self.enrollment = replace(self.enrollment, wake_at=wake_at)
        return self.enrollment, tuple(self.effects)

    @property
    def scope(self) -> Scope:
        return walk_scope(self.enrollment, self.known.lead, self.now)

    def scope_at(self, event: Event) -> Scope:
        """What conditions see that are asked of an event."""
        return self.scope | {"event": event_scope(event)}

    def meets(self, match: EventMatch, event: Event) -> bool:
        """Whether the event is the one meant; most differ in the name, and nothing else is looked at."""
        return event.name in match.events and is_match(match, event, self.enrollment.key, self.scope_at(event))

    @property
    def step(self) -> Step | None:
        """Where the walk stands; None once it is over."""
        return self.journey.steps[self.enrollment.step] if self.enrollment.step is not None else None

    @property
    def halted(self) -> bool:
        """Whether the walk came to its step while no step could be taken."""
        here = self.enrollment
        return here.due_at is None and here.message is None and here.awaits is None

    def move(self, **changes: Any) -> None:
        """Change the enrollment; every change is a transition."""
        self.enrollment = replace(self.enrollment, transition=self.enrollment.transition + 1, **changes)

    def arrive(self, step: str, reached: datetime) -> None:
        """Come to a step, with nothing asked for there yet."""
        self.move(step=step, reached_at=reached, due_at=None, message=None, awaits=None)

    def end(self, status: EnrollmentStatus, reason: str | None = None) -> None:
        """End the walk and take back what is still under way; a hand-off stays with sales."""
        self.withdraw(reason or status)
        self.move(status=status, reason=reason, ended_at=self.now, step=None, due_at=None, message=None, awaits=None)

    def withdraw(self, reason: str) -> None:
        if self.enrollment.message is not None:
            pending = message_id(self.enrollment.id, self.enrollment.message)
            self.effects.append(Withdraw(id=pending, lead_id=self.enrollment.lead_id, reason=reason, at=self.now))

    def enter(self, entry: Entry, sequence: int, depth: int, trigger: int | None) -> None:
        """Make `entry` what began this walk; the goal's time counts from it."""
        goal = self.journey.goal
        until = entry.at + goal.within if goal else None
        self.move(entry=entry, entry_sequence=sequence, depth=depth, goal_until=until, trigger=trigger)

    def settle(self) -> None:
        """The message under way has ended: nothing is left to withdraw."""
        self.enrollment = replace(self.enrollment, message=None)

    def forget_goal(self) -> None:
        self.enrollment = replace(self.enrollment, goal_until=None)

    def waited(self, until: datetime, cause: int = 0) -> None:
        """The walk stood at its step until a moment: a long wait forgets its depth, an event that ended it brings its own (`cause`)."""
        long = until - self.enrollment.reached_at >= FORGETS_DEPTH
        self.enrollment = replace(self.enrollment, depth=max(cause, 0 if long else self.enrollment.depth))

    def barred(self) -> str | None:
        """Why nothing may reach the lead from here; the audience is asked again at each step that does."""
        audience = self.journey.audience
        return None if audience is None or audience.truth(self.scope) else "audience"

    def note(self, step_id: str | None, at: datetime, event: Event | None = None) -> None:
        """Keep what happened at a step, for conditions and templates to name."""
        if step_id is not None:
            happened = {"at": at} | ({"event": event_scope(event)} if event is not None else {})
            self.enrollment = replace(self.enrollment, steps={**(self.enrollment.steps or {}), step_id: happened})

    def visit(self, step: Step, outcome: Outcome, reason: str = "", message: str | None = None) -> None:
        """Tell what came of reaching the step."""
        here = self.enrollment
        visit = Visit(here.id, here.transition, here.journey, step.name, KINDS[type(step)], outcome, reason, here.reached_at, message)
        self.effects.append(visit)

    def pass_by(self, step: Step, onward: str | None) -> Onward:
        """The holdout walks past what does anything."""
        self.visit(step, "holdout")
        return onward, self.enrollment.reached_at

    def _wake_at(self) -> datetime | None:
        """When time next means something to the walk; early is harmless, late is not."""
        here = self.enrollment
        if not here.active:
            return None
        moments = [] if here.due_at is None else [here.due_at]
        if self.halted:
            moments.append(here.reached_at)
        if self.journey.max_duration is not None:
            moments.append(here.entered_at + self.journey.max_duration)
        if self.journey.hourly or (isinstance(self.step, WaitForStep) and self.step.hourly):
            ahead = here.wake_at is not None and here.wake_at > self.now
            moments.append(min(here.wake_at, self.now + ASKED_EVERY) if ahead and here.wake_at else self.now + ASKED_EVERY)
        return min(moments, default=None)
