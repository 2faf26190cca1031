"""Hand-offs in SQL. Whoever changes one locks its webhook's row first, then its own, and writes by compare-and-set on its `moves`."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.handoffs import Handoff
from services.mailer.lanes import endpoint_of
from services.mailer.leads import resolve
from services.mailer.tables import DELIVERIES, HANDOFFS
from shared.db import among, insert_new
from shared.errors import Outage

H = HANDOFFS.c
D = DELIVERIES.c
_COLUMNS = tuple(H[field.name] for field in fields(Handoff))
_KEPT = ("id", "lead_id", "opened_at")
"""What a change leaves alone; the lead is changed by a merge only."""
_SHOWN = (*(column for column in _COLUMNS if column.name != "moves"), D.journey, D.step, D.lane)


async def open_all(connection: AsyncConnection, handoffs: Sequence[Handoff]) -> None:
    await insert_new(connection, HANDOFFS, [asdict(handoff) for handoff in handoffs], "id")


async def find(connection: AsyncConnection, delivery_id: str) -> Handoff | None:
    """The hand-off that this webhook told of: its first, or the one to its fallback."""
    rows = await connection.execute(select(*_COLUMNS).where((H.id == delivery_id) | (H.delivery_id == delivery_id)))
    row = rows.one_or_none()
    return None if row is None else Handoff(**row._mapping)


async def load_due(connection: AsyncConnection, now: datetime, limit: int) -> list[Handoff]:
    """Those whose clock has run out, the earliest first."""
    rows = await connection.execute(select(*_COLUMNS).where(H.due_at <= now).order_by(H.due_at).limit(limit))
    return [Handoff(**row._mapping) for row in rows]


async def next_due(connection: AsyncConnection) -> datetime | None:
    """When the next clock runs out."""
    due: datetime | None = (await connection.execute(select(H.due_at).where(H.due_at.is_not(None)).order_by(H.due_at).limit(1))).scalar()
    return due


async def lock(connection: AsyncConnection, delivery_ids: Iterable[str]) -> list[Handoff]:
    """The hand-offs that these webhooks told of last, held until the transaction ends."""
    rows = await connection.execute(select(*_COLUMNS).where(among(H.delivery_id, delivery_ids)).order_by(H.id).with_for_update())
    return [Handoff(**row._mapping) for row in rows]


async def save(connection: AsyncConnection, before: Handoff, after: Handoff) -> None:
    """Write what became of one. Raises Outage, which asks for another try, where somebody else has moved it since."""
    changed = {name: value for name, value in asdict(after).items() if name not in _KEPT}
    moved = await connection.execute(update(HANDOFFS).where(H.id == before.id, H.moves == before.moves).values(changed))
    if moved.rowcount != 1:
        raise Outage("the hand-off has just been moved by somebody else: try again")


async def save_clocks(connection: AsyncConnection, handoffs: Sequence[Handoff]) -> None:
    """Write when many were told of and when their clocks run out, in one statement; the caller has locked them."""
    if handoffs:
        rows = [{"the_id": one.id, "told": one.told_at, "due": one.due_at, "moved": one.moves} for one in handoffs]
        await connection.execute(_CLOCKS, rows)


_CLOCKS = (
    update(HANDOFFS).where(H.id == bindparam("the_id")).values(told_at=bindparam("told"), due_at=bindparam("due"), moves=bindparam("moved"))
)


async def list_handoffs(connection: AsyncConnection, lead_id: str | None, status: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest first, each with the endpoint that has it."""
    query = select(*_SHOWN).join(DELIVERIES, D.id == H.delivery_id)
    if lead_id is not None:
        query = query.where(H.lead_id == (await resolve(connection, [lead_id]))[lead_id])
    if status is not None:
        query = query.where(H.status == status)
    rows = await connection.execute(query.order_by(H.opened_at.desc(), H.id.desc()).limit(limit))
    return [_shown(dict(row)) for row in rows.mappings()]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    lane = row.pop("lane")
    return row | {"endpoint": endpoint_of(lane)}
