"""Whether journeys' promises hold by the numbers: `GET /api/audit`, and what it published, for the mailer's count to be compared with."""

from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter
from pydantic import AwareDatetime
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys import store
from services.journeys.catalogue import Catalogue
from services.journeys.tables import ENROLLMENTS, VISITS
from shared.http import allow
from shared.service import Ports

OVERDUE = timedelta(minutes=30)
"""Later than this, no hold explains a wake-up that has not come."""

Check = dict[str, Any]


def audit_routes(ports: Ports, catalogue: Catalogue) -> APIRouter:
    """Routes of the audit."""
    router = APIRouter(dependencies=[allow("marketer", "viewer")])

    @router.get("/api/audit")
    async def audit() -> dict[str, Any]:
        now = ports.clock.now()
        async with ports.database.reading() as connection:
            in_force = await catalogue.in_force(await store.load_controls(connection))
            forgotten = await _forgotten(connection)
            overdue = await _overdue(connection, now, store.not_of(in_force.held(), in_force.unreadable()))
            return {"service": "journeys", "checks": [*await _reached(connection), forgotten, overdue]}

    @router.get("/api/audit/published", include_in_schema=False)
    async def published(before: AwareDatetime) -> dict[str, Any]:
        """The messages whose step was reached before a moment, by journey and step: the mailer counts by the same moments."""
        columns = (VISITS.c.journey, VISITS.c.step, VISITS.c.kind)
        counted = select(*columns, func.count().label("count")).where(VISITS.c.outcome == "published", VISITS.c.at < before)
        async with ports.database.reading() as connection:
            found = await connection.execute(counted.group_by(*columns).order_by(*columns))
            return {"items": [dict(row) for row in found.mappings()], "next": None}

    return router


async def _reached(connection: AsyncConnection) -> list[Check]:
    """Of each step that reaches somebody: every visit asked for a message, was skipped, or was the holdout's."""
    columns = (VISITS.c.journey, VISITS.c.step)
    asked = func.count(VISITS.c.message_id)
    passed = func.count().filter(VISITS.c.outcome.in_(("skipped", "holdout")), VISITS.c.message_id.is_(None))
    query = select(*columns, func.count(), asked, passed).where(VISITS.c.kind.in_(("send", "handoff")))
    found = await connection.execute(query.group_by(*columns).order_by(*columns))
    return [
        _check(
            f"{journey} · {step}: reached = published + skipped", reached, published + skipped, f"{published} published, {skipped} skipped"
        )
        for journey, step, reached, published, skipped in found
    ]


async def _forgotten(connection: AsyncConnection) -> Check:
    """A walk that nothing will wake stands at a mail, or a hand-off that sales has to answer, that was asked for."""
    sleeping = select(func.count()).select_from(ENROLLMENTS).where(ENROLLMENTS.c.status == "active", ENROLLMENTS.c.wake_at.is_(None))
    here = (VISITS.c.enrollment_id == ENROLLMENTS.c.id, VISITS.c.step == ENROLLMENTS.c.step, VISITS.c.message_id.is_not(None))
    return _check(
        "walks without a wake-up stand at a message under way",
        await _count(connection, sleeping),
        await _count(connection, sleeping.where(select(VISITS.c.step).where(*here).exists())),
    )


async def _overdue(connection: AsyncConnection, now: datetime, walking: ColumnElement[bool]) -> Check:
    overdue = select(func.count()).select_from(ENROLLMENTS).where(ENROLLMENTS.c.wake_at < now - OVERDUE, walking)
    return _check("no wake-up is overdue by half an hour", await _count(connection, overdue), 0)


async def _count(connection: AsyncConnection, query: Select[Any]) -> int:
    return int((await connection.execute(query)).scalar_one())


def _check(name: str, left: int, right: int, detail: str = "") -> Check:
    return {"name": name, "ok": left == right, "left": left, "right": right, "detail": detail}
