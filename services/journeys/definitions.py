"""What a journey is once read: frozen, compiled and flat, so that a walk only ever asks for the next name.

journeys/*.yaml ──loader.py──► these ──► entering.py, engine.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from services.journeys.localtime import UTC_ZONE
from services.journeys.steps import Category, EventMatch, Step
from shared.expressions import Expression

Status = Literal["live", "draft", "paused", "draining"]
OnRepeat = Literal["ignore", "reset_timer", "update", "restart"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A readiness that rises to, or falls to, a level."""

    rises_to: int | None = None
    falls_to: int | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts a walk: one of these events or a call of the API, where the condition holds; `key` tells walks of one lead apart."""

    events: frozenset[str]
    crossing: Crossing | None = None
    api: bool = False
    where: Expression | None = None
    key: Expression | None = None


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
    zone: ZoneInfo = UTC_ZONE  # of leads of whom we know none
    awaited: frozenset[str] = frozenset()  # the events that a `wait_for` waits for, or begins anew with

    @property
    def held(self) -> bool:
        """Whether no step may be taken now."""
        return self.status in ("paused", "draft")

    @property
    def urgency(self) -> tuple[bool, int, str]:
        """Transactional first, then by priority, then by name (PLAYBOOK, rule 9)."""
        return self.category == "marketing", self.priority, self.name
