"""What the steps of a journey are once read: frozen, compiled and flat. `next`, `to` and the like name the step to go to; None is the end.

step_reader.py makes them; going.py takes them, one function each. A new kind is not done before every `assert_never` knows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Any, Literal

from shared.durations import Offset
from shared.expressions import Expression

Category = Literal["marketing", "transactional"]


@dataclass(frozen=True, slots=True)
class EventMatch:
    """An event that is meant, where the condition and the key hold: an exit, a goal, what is waited for."""

    events: frozenset[str]
    where: Expression | None = None
    match_key: Expression | None = None


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
class Lasting:
    """A wait of a length."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class NextClock:
    """A wait for the next time that the lead's clock shows this, on one of these days (Monday is 0)."""

    clock: time
    days: frozenset[int]


@dataclass(frozen=True, slots=True)
class Window:
    """A wait for a window on the lead's clock; inside of it there is nothing to wait for."""

    opens: time
    closes: time
    days: frozenset[int]


@dataclass(frozen=True, slots=True)
class Until:
    """A wait for a moment that is reckoned from the lead or the entry."""

    moment: Expression
    offset: Offset


Wait = Lasting | NextClock | Window | Until


@dataclass(frozen=True, slots=True)
class WaitStep:
    """Stands until a time: goes to `do` when it comes, to `if_past` where it had passed already, to `next` where there is none."""

    name: str
    id: str | None
    next: str | None
    wait: Wait
    do: str | None
    if_past: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is waited for: an event (`of`: a click in this walk's mail of that step), or a condition that comes true."""

    label: str
    match: EventMatch | None
    condition: Expression | None
    of: str | None
    to: str | None


@dataclass(frozen=True, slots=True)
class WaitForStep:
    """Stands until the first of its cases happens, or for `timeout`, which each of `resets` begins anew."""

    name: str
    id: str | None
    next: str | None
    cases: tuple[Case, ...]
    timeout: timedelta | None
    since_entry: bool
    resets: tuple[EventMatch, ...]
    on_timeout: str | None

    @property
    def hourly(self) -> bool:
        """Whether a condition speaks of time, so that it is asked every hour."""
        return any(case.condition is not None and case.condition.speaks_of_time for case in self.cases)

    @property
    def names(self) -> frozenset[str]:
        """The names of the events that mean something to it."""
        matches = [*self.resets, *(case.match for case in self.cases if case.match is not None)]
        return frozenset(name for match in matches for name in match.events)


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
class UpdateStep:
    """Says something of the lead: traits and tags. Where an Expression stands, its value does."""

    name: str
    id: str | None
    next: str | None
    traits: Mapping[str, Any]
    add: tuple[str | Expression, ...]
    remove: tuple[str | Expression, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """How long sales has to answer a hand-off, who gets it after that, and where each answer leads."""

    sla: timedelta
    working: bool
    fallback: str
    accepted: str | None
    rejected: str | None
    expired: str | None


@dataclass(frozen=True, slots=True)
class HandoffStep:
    """Gives the lead to sales by webhook, and goes on; with `answers` it stands until one comes."""

    name: str
    id: str | None
    next: str | None
    endpoint: str
    note: str | Expression = ""
    answers: Answers | None = None


@dataclass(frozen=True, slots=True)
class ExitStep:
    """Ends the walk."""

    name: str
    id: str | None
    reason: str


Step = SendStep | WaitStep | WaitForStep | BranchStep | UpdateStep | HandoffStep | ExitStep
