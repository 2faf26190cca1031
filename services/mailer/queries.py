"""What the API shows of the ledger. Only reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.lanes import endpoint_of
from services.mailer.leads import resolve
from services.mailer.policy import address_key
from services.mailer.tables import DELIVERIES, HANDOFFS, RECEIVED, SUPPRESSIONS
from shared import wire
from shared.instant import EPOCH, MICROSECOND, Instant

D = DELIVERIES.c
LATE = timedelta(minutes=1)
"""A lease that ran out this long ago should have been looked at."""

Place = tuple[datetime, str]
"""Where a page ended: when that delivery was queued, and its id."""

_SHOWN = (
    *(D.id, D.kind, D.lead_id, D.journey, D.version, D.step, D.template, D.address, D.lane, D.status, D.reason, D.detail),
    *(D.attempts, D.message_id, D.queued_at, D.due_at, D.sent_at, D.opened_at, D.clicked_at),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries to list; None leaves a column open."""

    lead_id: str | None = None
    journey: str | None = None
    status: str | None = None
    kind: str | None = None
    message_id: str | None = None


async def list_deliveries(
    connection: AsyncConnection, wanted: Wanted, limit: int, after: Place | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """The newest first, and the cursor of what follows."""
    query = select(*_SHOWN)
    for column, value in await _filters(connection, wanted):
        query = query.where(D[column] == value)
    if after is not None:
        query = query.where(tuple_(D.queued_at, D.id) < tuple_(literal(after[0], Instant()), literal(after[1])))
    rows = await connection.execute(query.order_by(D.queued_at.desc(), D.id.desc()).limit(limit))
    items = [_to(dict(row)) for row in rows.mappings()]
    return items, _cursor(items[-1]) if len(items) == limit else None


def _to(row: dict[str, Any]) -> dict[str, Any]:
    """With `to`: the address a mail goes to, the endpoint a webhook goes to."""
    address, lane = row.pop("address"), row.pop("lane")
    return row | {"to": endpoint_of(lane) if row["kind"] == "webhook" else address}


def read_cursor(cursor: str) -> Place:
    """The place that a cursor names. Raises ValueError for one that is none of ours."""
    micros, _, delivery_id = cursor.partition(".")
    try:
        return EPOCH + int(micros) * MICROSECOND, delivery_id
    except OverflowError as error:
        raise ValueError(cursor) from error


def _cursor(item: Mapping[str, Any]) -> str:
    return f"{(item['queued_at'] - EPOCH) // MICROSECOND}.{item['id']}"


async def _filters(connection: AsyncConnection, wanted: Wanted) -> list[tuple[str, str]]:
    lead_id = (await resolve(connection, [wanted.lead_id]))[wanted.lead_id] if wanted.lead_id else None
    filters = {
        "lead_id": lead_id,
        "journey": wanted.journey,
        "status": wanted.status,
        "kind": wanted.kind,
        "message_id": wanted.message_id,
    }
    return [(column, value) for column, value in filters.items() if value is not None]


async def find_delivery(connection: AsyncConnection, delivery_id: str) -> dict[str, Any] | None:
    """One delivery with what its message asked for."""
    row = (await connection.execute(select(*_SHOWN, D.message).where(D.id == delivery_id))).mappings().one_or_none()
    if row is None:
        return None
    send = wire.decode_message(row["message"])
    assert isinstance(send, wire.Send)
    asked = ("category", "topic", "priority", "endpoint", "note", "enrollment_id", "transition", "key", "reached_at", "expires_at")
    shown = _to({name: value for name, value in row.items() if name != "message"})
    return shown | {name: getattr(send, name) for name in asked}


_TO_FALLBACK = select(HANDOFFS.c.id).where(HANDOFFS.c.delivery_id == D.id, HANDOFFS.c.id != D.id).exists()


async def count_by_step(connection: AsyncConnection) -> list[dict[str, Any]]:
    """For each journey and step: how many messages were received, by the counter beside the ledger, and where its rows stand."""
    received = await connection.execute(select(RECEIVED.c.journey, RECEIVED.c.step, RECEIVED.c.count.label("n")))
    counted = {(row.journey, row.step): row.n for row in received}
    rows = await connection.execute(select(D.journey, D.step, D.status, func.count().label("n")).group_by(D.journey, D.step, D.status))
    states: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        states.setdefault((row.journey, row.step), {})[row.status] = row.n
    return [_step_counts(key, counted.get(key, 0), states.get(key, {})) for key in sorted(counted.keys() | states.keys())]


def _step_counts(key: tuple[str, str], received: int, states: Mapping[str, int]) -> dict[str, Any]:
    journey, step = key
    waiting = sum(states.get(status, 0) for status in ("queued", "sending", "deferred"))
    ended = {status: states.get(status, 0) for status in ("sent", "suppressed", "in_doubt", "failed")}
    return {
        "journey": journey,
        "step": step,
        "received": received,
        "waiting": waiting,
        **ended,
        "ok": received == waiting + sum(ended.values()),
    }


async def count_received(connection: AsyncConnection, before: datetime) -> list[dict[str, Any]]:
    """How many of the messages whose step was reached before then are here, by journey and step.

    What told a fallback, and what was asked for over the API, does not count: no journey asked for it.
    """
    rows = await connection.execute(
        select(D.journey, D.step, func.count().label("count"))
        .where(D.reached_at < before, D.journey != "", ~_TO_FALLBACK)
        .group_by(D.journey, D.step)
        .order_by(D.journey, D.step)
    )
    return [dict(row) for row in rows.mappings()]


async def count_oddities(connection: AsyncConnection, now: datetime) -> dict[str, int]:
    """Rows that should not exist, by what is odd about them."""
    odd = {
        "a `sending` that outlived its lease": (D.status == "sending") & (D.due_at < now - LATE),
        "a sent one without its time": (D.status == "sent") & D.sent_at.is_(None),
        "one with a time that was not sent": (D.status != "sent") & D.sent_at.is_not(None),
        "a sent mail without Message-ID": (D.status == "sent") & (D.kind == "email") & D.message_id.is_(None),
        "a settled one that is still due": D.status.in_(("sent", "suppressed", "failed", "in_doubt")) & D.due_at.is_not(None),
        "a queued one that is never due": (D.status == "queued") & D.due_at.is_(None),
    }
    columns = [
        func.coalesce(func.sum(case((condition, 1), else_=0)), 0).label(str(number)) for number, condition in enumerate(odd.values())
    ]
    row = (await connection.execute(select(*columns))).one()
    return dict(zip(odd, (int(n) for n in row), strict=True))


async def list_suppressions(connection: AsyncConnection, address: str | None, limit: int) -> Sequence[dict[str, Any]]:
    """The newest first."""
    query = select(SUPPRESSIONS)
    if address is not None:
        query = query.where(SUPPRESSIONS.c.address == address_key(address))
    rows = await connection.execute(query.order_by(SUPPRESSIONS.c.at.desc(), SUPPRESSIONS.c.address).limit(limit))
    return [dict(row) for row in rows.mappings()]
