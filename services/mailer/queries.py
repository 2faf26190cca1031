"""What the API shows of the ledger. Only reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.lanes import endpoint_of
from services.mailer.leads import resolve
from services.mailer.policy import address_key
from services.mailer.tables import DELIVERIES, SUPPRESSIONS
from shared import wire
from shared.instant import EPOCH, MICROSECOND, Instant

D = DELIVERIES.c
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


async def list_suppressions(connection: AsyncConnection, address: str | None, limit: int) -> Sequence[dict[str, Any]]:
    """The newest first."""
    query = select(SUPPRESSIONS)
    if address is not None:
        query = query.where(SUPPRESSIONS.c.address == address_key(address))
    rows = await connection.execute(query.order_by(SUPPRESSIONS.c.at.desc(), SUPPRESSIONS.c.address).limit(limit))
    return [dict(row) for row in rows.mappings()]
