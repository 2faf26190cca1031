"""One lead's walk through one version of a journey, and what a move of it asks for.

entering.py begins one, engine.py moves it, store.py keeps it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha1
from typing import Any, Literal
from uuid import UUID, uuid5

from msgspec import Struct

from shared.wire import Entry, Event, Lead, Send, Withdraw, decode_lead, encode, replace

EnrollmentStatus = Literal["active", "completed", "exited"]
StepKind = Literal["send", "wait", "wait_for", "branch", "update", "handoff", "exit"]
Outcome = Literal["published", "skipped", "holdout", "waited", "branched", "updated", "exited"]

ENROLLMENTS = UUID("6a0c2f60-7d3b-5a55-9e0e-3a4f1c5f2b11")
"""The name space of enrollment ids."""

_HASHED = (1 << 76) - 1
"""The bits of a UUID behind its time and version: the variant and what is hashed."""


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

    def told(self, update: Event) -> "KnownLead":
        """The lead as it will be once scoring has heard of our own update: until then, this view alone has it."""
        tags = update.properties.get("tags", {})
        traits = {name: value for name, value in (self.lead.traits | update.traits).items() if value is not None}
        kept = sorted({*self.lead.tags, *tags.get("add", ())} - set(tags.get("remove", ())))
        return KnownLead(encode(replace(self.lead, traits=traits, tags=kept)), self.sequence)


class Enrollment(Struct, frozen=True, kw_only=True):
    """A walk. It stands at `step`: until `due_at`, with the message of transition `message` under way, waiting since transition `awaits`
    for something to come, or held there (none of these).

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
    awaits: int | None = None
    wake_at: datetime | None = None
    steps: Mapping[str, Any] | None = None  # what happened at the steps that have an id
    depth: int = 0
    ended_at: datetime | None = None
    reason: str | None = None
    goal_until: datetime | None = None
    converted_at: datetime | None = None
    trigger: int | None = None  # which of its version's triggers began it; None: by hand, or before this was kept

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


@dataclass(frozen=True, slots=True)
class Remembered:
    """An event that an exit, a goal or a `wait_for` names, kept because what it means something to may begin after it."""

    event: Event
    sequence: int
    late: bool = False  # ends walks, wakes none


Effect = Send | Withdraw | Event | Visit


def enrollment_id(journey: str, lead_id: str, key: str | None, entry: Entry) -> str:
    """The same event enters the same lead under the same id, however often it comes.

    A UUIDv8 (RFC 9562, section 5.8): the entry's millisecond, as in a UUIDv7, then uuid5's hash of what was entered by what. Walks that
    began one after the other lie side by side in every index that begins with their id. See docs/adr/0018.
    """
    hashed = uuid5(ENROLLMENTS, "\0".join((journey, lead_id, "" if key is None else f"={key}", entry.event_id))).int
    began = max(0, int(entry.at.timestamp() * 1000))
    return str(UUID(int=began << 80 | 8 << 76 | hashed & _HASHED))


def message_id(enrollment: str, transition: int) -> str:
    """The id of the message that this transition asked for: a repeat is the same message. uuid5's (RFC 9562, 5.5), in half its time."""
    hashed = sha1(UUID(enrollment).bytes + b"%d" % transition, usedforsecurity=False)
    return str(UUID(bytes=hashed.digest()[:16], version=5))
