"""One lead's walk through one version of a journey, and what a move of it asks for.

entering.py begins one, engine.py moves it, store.py keeps it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from msgspec import Struct

from shared.wire import Entry, Lead, Send, Withdraw, decode_lead

EnrollmentStatus = Literal["active", "completed", "exited"]
StepKind = Literal["send", "wait", "branch", "handoff", "exit"]
Outcome = Literal["published", "skipped", "holdout", "waited", "branched", "exited"]

ENROLLMENTS = UUID("6a0c2f60-7d3b-5a55-9e0e-3a4f1c5f2b11")
"""The name space of enrollment ids."""


class KnownLead:
    """A lead as the activity of this `sequence` left it. Its JSON is read only when somebody asks: most activities ask nothing."""

    __slots__ = ("_lead", "json", "sequence")

    def __init__(self, json: bytes, sequence: int) -> None:
        self.json = json
        self.sequence = sequence
        self._lead: Lead | None = None

    @property
    def lead(self) -> Lead:
        if self._lead is None:
            self._lead = decode_lead(self.json)
        return self._lead


class Enrollment(Struct, frozen=True, kw_only=True):
    """A walk. It stands at `step`: in a wait until `due_at`, with the message of transition `message` under way, or held there (neither).

    `transition` counts its moves; a save compares it and sets it, and a message's id comes from it.
    A Struct and no dataclass: every move replaces it, and a Struct is replaced ten times as fast.
    """

    id: str
    lead_id: str
    journey: str
    version: str
    key: str | None
    holdout: bool
    entry: Entry
    entry_sequence: int
    entered_at: datetime
    reached_at: datetime  # when the walk came to `step`; a wait counts from here
    status: EnrollmentStatus = "active"
    transition: int = 0
    step: str | None = None
    due_at: datetime | None = None
    message: int | None = None
    wake_at: datetime | None = None
    steps: Mapping[str, Any] | None = None  # what happened at the steps that have an id
    depth: int = 0
    ended_at: datetime | None = None
    reason: str | None = None
    goal_until: datetime | None = None
    converted_at: datetime | None = None

    @property
    def active(self) -> bool:
        return self.status == "active"


class Visit(Struct, frozen=True):
    """A step was reached, and what came of it. `at` is when it was reached, as the message it asked for says too."""

    enrollment_id: str
    transition: int
    journey: str
    step: str
    kind: StepKind
    outcome: Outcome
    reason: str
    at: datetime
    message_id: str | None = None


Effect = Send | Withdraw | Visit


def enrollment_id(journey: str, lead_id: str, key: str | None, event_id: str) -> str:
    """The same event enters the same lead under the same id, however often it comes."""
    return str(uuid5(ENROLLMENTS, "\0".join((journey, lead_id, "" if key is None else f"={key}", event_id))))


def message_id(enrollment: str, transition: int) -> str:
    """The id of the message that this transition asked for: a repeat is the same message."""
    return str(uuid5(UUID(enrollment), str(transition)))
