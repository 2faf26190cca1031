"""What `dripline audit` is made of: checks, each of one promise (DESIGN's six), that name what does not agree.

a service's tables ──audit.py──► Check ──`GET /api/audit`──► console, which lays them together ──► `dripline audit`, metrics

Here are those that every service makes alike: what it set aside, what it still owes to the log, where it stands in the log.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from fastapi import APIRouter
from sqlalchemy import ColumnElement, Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import real_now
from shared.errors import Outage
from shared.http import allow
from shared.log import Log
from shared.service import Ports
from shared.tables import DeadLetterRow, OutboxBlob, Position
from shared.wire import ACTIVITIES, DEAD_LETTERS, EVENTS, MESSAGES, Send, decode_message

SHOWN = 10
"""Offenders that a check names; its numbers say how many there are."""
MOST_READ = 10_000
"""Messages set aside that are read to say whose they are."""
OWED_FOR = timedelta(minutes=1)
"""What was committed this long ago should be in the log."""

BEGAN_AT = real_now()
"""When this process began."""

TOPICS = (EVENTS, ACTIVITIES, MESSAGES, DEAD_LETTERS)
OUTBOX: Table = OutboxBlob.__table__  # type: ignore[attr-defined]
LETTERS: Table = DeadLetterRow.__table__  # type: ignore[attr-defined]
POSITIONS: Table = Position.__table__  # type: ignore[attr-defined]

Offender = Mapping[str, Any]
"""What does not agree, by the names people know: lead, journey, step, id."""


@dataclass(frozen=True, slots=True)
class Check:
    """Two numbers that must be the same, and whose they are where they are not. `counts` are shown beside them."""

    promise: int
    name: str
    left: int
    right: int = 0
    detail: str = ""
    offenders: Sequence[Offender] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.left == self.right

    def view(self) -> dict[str, Any]:
        """As the API shows it."""
        shown: dict[str, Any] = {"name": self.name, "promise": self.promise, "ok": self.ok, "left": self.left, "right": self.right}
        return shown | {"detail": self.detail, "offenders": list(self.offenders)} | dict(self.counts)


def answer(service: str, checks: Sequence[Check]) -> dict[str, Any]:
    """What `GET /api/audit` of a service says."""
    return {"service": service, "checks": [check.view() for check in checks]}


async def number(connection: AsyncConnection, query: Select[Any]) -> int:
    return int((await connection.execute(query)).scalar_one())


async def none_of(
    connection: AsyncConnection, promise: int, name: str, shown: Sequence[ColumnElement[Any]], *where: ColumnElement[bool], detail: str = ""
) -> Check:
    """A check that there is no such row; `shown` are the columns that name the first ones there are."""
    count, offenders = await first_of(connection, select(*shown).where(*where))
    return Check(promise, name, count, 0, detail, offenders)


async def first_of(connection: AsyncConnection, query: Select[Any]) -> tuple[int, list[Offender]]:
    """How many rows the query finds, and the first of them."""
    counted = query.add_columns(func.count().over().label("of_all")).limit(SHOWN)
    found = [dict(row) for row in (await connection.execute(counted)).mappings()]
    return (found[0]["of_all"] if found else 0), [{name: row[name] for name in row if name != "of_all"} for row in found]


async def house_checks(ports: Ports, connection: AsyncConnection, service: str) -> list[Check]:
    """What every service promises alike: nothing set aside for good, nothing owed, its place in the log."""
    return [
        *await _set_aside(connection, service),
        await _owed(connection, service),
        await _standing(ports.log, connection, service),
    ]


def house_audit_routes(ports: Ports, service: str, more: Callable[[], Sequence[Check]] = tuple) -> APIRouter:
    """`/api/audit` of a service that has little else to check: `more`, which asks no database."""
    router = APIRouter()

    @router.get("/api/audit", dependencies=[allow("marketer", "viewer")])
    async def audit() -> dict[str, Any]:
        async with ports.database.reading() as connection:
            return answer(service, [*more(), *await house_checks(ports, connection, service)])

    return router


async def _owed(connection: AsyncConnection, service: str) -> Check:
    """Blobs that should have been appended; not judged by a process that has not had the time to do it itself, as a command on a folder."""
    name = "what was committed more than a minute ago is in the log"
    now = real_now()
    if now - BEGAN_AT < OWED_FOR:
        return Check(6, name, 0, 0, "not judged: this process has just begun")
    shown = (OUTBOX.c.id, OUTBOX.c.topic, OUTBOX.c.created_at)
    return await none_of(connection, 6, name, shown, OUTBOX.c.service == service, OUTBOX.c.created_at < now - OWED_FOR)


async def messages_set_aside(connection: AsyncConnection, service: str, before: datetime) -> list[dict[str, Any]]:
    """Messages reached before a moment that the service set aside and nobody replayed, by journey and step: they wait for a person."""
    waiting = select(LETTERS.c.payload).where(LETTERS.c.service == service, LETTERS.c.topic == MESSAGES, LETTERS.c.replayed_at.is_(None))
    counts: Counter[tuple[str, str]] = Counter()
    for payload in (await connection.execute(waiting.limit(MOST_READ))).scalars():
        with suppress(msgspec.MsgspecError):
            message = decode_message(payload)
            if isinstance(message, Send) and message.reached_at < before:
                counts[message.journey, message.step] += 1
    return [{"journey": journey, "step": step, "count": count} for (journey, step), count in sorted(counts.items())]


async def _set_aside(connection: AsyncConnection, service: str) -> list[Check]:
    """What was set aside is shown by its reason; it keeps the promise as long as it can be replayed."""
    here = (LETTERS.c.service == service, LETTERS.c.replayed_at.is_(None))
    reasons = select(LETTERS.c.topic, LETTERS.c.code, func.count().label("n")).where(*here).group_by(LETTERS.c.topic, LETTERS.c.code)
    found = (await connection.execute(reasons.order_by(LETTERS.c.topic, LETTERS.c.code))).all()
    waiting = sum(row.n for row in found)
    lost = [{"topic": row.topic, "reason": row.code, "count": row.n} for row in found if row.topic not in TOPICS]
    said = ", ".join(f"{row.n} {row.code}" for row in found) or "nothing is set aside"
    replayable = waiting - sum(one["count"] for one in lost)
    return [Check(5, "set aside = can be replayed", waiting, replayable, said, lost[:SHOWN])]


async def _standing(log: Log, connection: AsyncConnection, service: str) -> Check:
    """Every stored position lies within what the log holds: before it something was lost, behind it the log was."""
    places = select(POSITIONS.c.topic, POSITIONS.c.partition, POSITIONS.c.next_offset).where(POSITIONS.c.consumer_group == service)
    stored = (await connection.execute(places.order_by(POSITIONS.c.topic, POSITIONS.c.partition))).all()
    name = "positions that lie within the log"
    try:
        held = {topic: await log.bounds(topic) for topic in sorted({row.topic for row in stored})}
    except Outage as outage:
        return Check(6, name, 0, 0, f"not compared: {outage}")
    outside: list[Offender] = []
    unread = 0
    for topic, partition, offset in stored:
        first, end = held[topic].get(partition, (0, 0))
        unread += max(0, end - offset)
        if not first <= offset <= end:
            outside.append({"topic": topic, "partition": partition, "position": offset, "holds": f"{first} to {end}"})
    return Check(6, name, len(stored) - len(outside), len(stored), f"{unread} records still to be read", outside[:SHOWN])
