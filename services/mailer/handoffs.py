"""A hot lead in the hands of sales: what an answer, the clock and the endpoint make of it. Pure.

open ──answer──► accepted | rejected      open ──snoozed──► open, its clock put off
  └──the SLA ends──► the fallback gets it, the clock begins anew ──the SLA ends──► expired
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, get_args
from uuid import UUID, uuid5

from services.mailer.sla import Sla
from shared import wire

Status = Literal["open", "accepted", "rejected", "expired"]
STATUSES: tuple[Status, ...] = get_args(Status)
Word = Literal["accepted", "rejected", "snoozed"]

LONGEST_SNOOZE = timedelta(days=30)
"""At once; it can be said again."""
_FALLBACKS = UUID("5f0ad3b2-3c0e-4b6e-9d0a-8f2f5d9a7c11")


@dataclass(frozen=True, slots=True)
class Handoff:
    """One row. `delivery_id` is the webhook that told of it last; `due_at` is the SLA's end, None where no clock runs.

    `told_at` is when the endpoint that has it now took it. `moves` counts what became of it and fences off who looked earlier.
    """

    id: str
    delivery_id: str
    lead_id: str
    status: Status
    opened_at: datetime
    due_at: datetime | None = None
    told_at: datetime | None = None
    snoozed_until: datetime | None = None
    answered_at: datetime | None = None
    reason: str | None = None
    moves: int = 0

    @property
    def passed_on(self) -> bool:
        """Whether the fallback has it."""
        return self.delivery_id != self.id


@dataclass(frozen=True, slots=True)
class Answer:
    """What sales said; `until` of a snooze."""

    word: Word
    reason: str | None = None
    until: datetime | None = None


def opened(send: wire.Send, lead_id: str, sla: Sla | None, now: datetime) -> Handoff:
    """A hand-off as it is received. Its clock runs from here until the endpoint has taken it, and then anew: see docs/adr/0011."""
    return Handoff(send.id, send.id, lead_id, "open", now, due_at=sla.ends(now) if sla else None)


def told(handoff: Handoff, sla: Sla | None, now: datetime) -> Handoff:
    """The endpoint has taken it: from now on sales has its time, unless sales has said already when it will look."""
    due_at = sla.ends(now) if sla and handoff.snoozed_until is None else handoff.due_at
    return replace(handoff, told_at=now, due_at=due_at, moves=handoff.moves + 1)


def undeliverable(handoff: Handoff, send: wire.Send, now: datetime) -> Handoff:
    """Its endpoint will never take it: the fallback need not wait for the SLA. Without one somebody may still mend it in time."""
    return replace(handoff, due_at=now, moves=handoff.moves + 1) if send.fallback else handoff


def answered(handoff: Handoff, answer: Answer, sla: Sla | None, now: datetime) -> Handoff:
    """An open one after an answer. A snooze puts the clock off by as much as it lasts; another one replaces it."""
    if answer.word != "snoozed":
        return _ended(handoff, answer.word, answer.reason, now)
    assert answer.until is not None
    stands_since = max(now, handoff.snoozed_until or now)
    due_at = sla.put_off(handoff.due_at, stands_since, answer.until) if sla and handoff.due_at else handoff.due_at
    return replace(handoff, due_at=due_at, snoozed_until=answer.until, reason=answer.reason, moves=handoff.moves + 1)


def passed_on(handoff: Handoff, delivery_id: str, sla: Sla | None, now: datetime) -> Handoff:
    """Nobody answered in time: the fallback gets it by the webhook of that id, and the clock begins anew."""
    due_at = sla.ends(now) if sla else None
    return replace(handoff, delivery_id=delivery_id, due_at=due_at, told_at=None, snoozed_until=None, moves=handoff.moves + 1)


def expired(handoff: Handoff, now: datetime) -> Handoff:
    return _ended(handoff, "expired", handoff.reason, now)


def _ended(handoff: Handoff, status: Status, reason: str | None, now: datetime) -> Handoff:
    ended = replace(handoff, status=status, reason=reason, answered_at=now, due_at=None, snoozed_until=None)
    return replace(ended, moves=handoff.moves + 1)


def to_fallback(send: wire.Send, now: datetime) -> wire.Send:
    """The message that tells the fallback: the same hand-off, under a webhook id of its own, later in its sequence."""
    own_id = str(uuid5(_FALLBACKS, send.id))
    return wire.replace(send, id=own_id, endpoint=send.fallback, fallback="", reached_at=now, sequence=send.sequence + 1)
