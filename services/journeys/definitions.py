"""What a journey is once read: frozen, compiled and flat, so that a walk only ever asks for the next name.

journeys/*.yaml ──loader.py──► these ──► entering.py, engine.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from shared.expressions import Expression

Status = Literal["live", "draft", "paused", "draining"]
Category = Literal["marketing", "transactional"]
OnRepeat = Literal["ignore", "reset_timer", "update", "restart"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A readiness that rises to, or falls to, a level."""

    rises_to: int | None = None
    falls_to: int | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts a walk: one of these events, where the condition holds; `key` tells walks of one lead apart."""

    events: frozenset[str]
    crossing: Crossing | None = None
    where: Expression | None = None
    key: Expression | None = None


@dataclass(frozen=True, slots=True)
class EventMatch:
    """An event that ends a walk or is its goal, where the condition and the key hold."""

    events: frozenset[str]
    where: Expression | None = None
    match_key: Expression | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What the journey is for; counted within this time of the entry, and ending the walk if `exit`."""

    match: EventMatch
    within: timedelta
    exit: bool


@dataclass(frozen=True, slots=True)
class Once:
    """Never again."""


@dataclass(frozen=True, slots=True)
class Always:
    """Again as soon as the last walk has ended."""


@dataclass(frozen=True, slots=True)
class After:
    """Again this long after the last entry."""

    since_entry: timedelta


@dataclass(frozen=True, slots=True)
class AfterEvent:
    """Again once this event has happened since the last entry."""

    event: str


Reentry = Once | Always | After | AfterEvent


@dataclass(frozen=True, slots=True)
class SendStep:
    """Asks the mailer for a mail and stands until it says how that went."""

    name: str
    id: str | None
    next: str | None
    template: str
    category: Category
    max_age: timedelta | None = None
    exit_if_unreachable: bool = False


@dataclass(frozen=True, slots=True)
class WaitStep:
    """Stands for a duration."""

    name: str
    id: str | None
    next: str | None
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Arm:
    """One way out of a branch; without a condition it is the `else`."""

    label: str
    condition: Expression | None
    to: str | None


@dataclass(frozen=True, slots=True)
class BranchStep:
    """Goes the first way whose condition holds, else on."""

    name: str
    id: str | None
    next: str | None
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class HandoffStep:
    """Gives the lead to sales by webhook, and goes on."""

    name: str
    id: str | None
    next: str | None
    endpoint: str
    note: str | Expression = ""


@dataclass(frozen=True, slots=True)
class ExitStep:
    """Ends the walk."""

    name: str
    id: str | None
    reason: str


Step = SendStep | WaitStep | BranchStep | HandoffStep | ExitStep


@dataclass(frozen=True, slots=True)
class Journey:
    """One version of a journey: `version` names the published playbook it stood in. `steps` is by name (the id, else the path)."""

    name: str
    triggers: tuple[Trigger, ...]
    steps: Mapping[str, Step]
    first: str | None
    version: str = ""
    description: str = ""
    status: Status = "live"
    category: Category = "marketing"
    topic: str | None = None
    priority: int = 100
    audience: Expression | None = None
    reentry: Reentry = Once()
    gap: timedelta | None = None
    on_repeat: OnRepeat = "ignore"
    exits: tuple[EventMatch, ...] = ()
    conditions: tuple[Expression, ...] = ()
    goal: Goal | None = None
    holdout: float = 0.0
    max_duration: timedelta | None = None
    hourly: bool = False  # an exit condition speaks of time, so it is asked every hour

    @property
    def held(self) -> bool:
        """Whether no step may be taken now."""
        return self.status in ("paused", "draft")

    @property
    def urgency(self) -> tuple[bool, int, str]:
        """Transactional first, then by priority, then by name (PLAYBOOK, rule 9)."""
        return self.category == "marketing", self.priority, self.name
