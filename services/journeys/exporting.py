"""What journeys holds about a person: every walk with what began it, what it did at each step, and the events kept for a week."""

from typing import Any

import msgspec
from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys.queries import SHOWN, find_survivor
from services.journeys.store import decode_state
from services.journeys.tables import ENROLLMENTS, RECENT, VISITS
from shared.http import allow
from shared.service import Ports
from shared.wire import decode_event

Rows = list[dict[str, Any]]


def export_routes(ports: Ports) -> APIRouter:
    """The part of journeys; admins only."""
    router = APIRouter(prefix="/api/exports", include_in_schema=False, dependencies=[allow()])

    @router.get("/{lead_id}")
    async def export(lead_id: str) -> dict[str, Rows]:
        async with ports.database.reading() as connection:
            lead = await find_survivor(connection, lead_id)
            return {"enrollments": await _enrollments(connection, lead), "events_kept": await _recent(connection, lead)}

    return router


async def _enrollments(connection: AsyncConnection, lead_id: str) -> Rows:
    rows = await connection.execute(select(*SHOWN, ENROLLMENTS.c.state).where(ENROLLMENTS.c.lead_id == lead_id))
    return [await _enrollment(connection, dict(row)) for row in rows.mappings().all()]


async def _enrollment(connection: AsyncConnection, row: dict[str, Any]) -> dict[str, Any]:
    state = decode_state(row.pop("state"))
    visits = select(VISITS).where(VISITS.c.enrollment_id == row["id"]).order_by(VISITS.c.transition)
    walked = [dict(visit) for visit in (await connection.execute(visits)).mappings()]
    return row | {"entry": msgspec.to_builtins(state.entry), "steps": state.steps, "visits": walked}


async def _recent(connection: AsyncConnection, lead_id: str) -> Rows:
    kept = await connection.execute(select(RECENT.c.event).where(RECENT.c.lead_id == lead_id))
    return [msgspec.to_builtins(decode_event(event)) for event in kept.scalars()]
