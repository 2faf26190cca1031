"""Whether journeys' promises hold by the numbers: `GET /api/audit`, and what it published, for the mailer's count to be compared with."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from sqlalchemy import ColumnElement, Row, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys import store
from services.journeys.catalogue import Catalogue, InForce
from services.journeys.tables import ENROLLMENTS, ODD, VISITS
from shared.auditing import OUTBOX, SHOWN, Check, Offender, answer, first_of, house_checks, messages_set_aside, none_of
from shared.http import allow
from shared.service import Ports
from shared.wire import MESSAGES

OVERDUE = timedelta(minutes=30)
"""Later than this, no hold explains a wake-up that has not come."""
PAGE = 5000

E = ENROLLMENTS.c
V = VISITS.c
_NAMED = (E.lead_id.label("lead"), E.journey, E.step, E.id.label("enrollment"))


def audit_routes(ports: Ports, catalogue: Catalogue) -> APIRouter:
    """Routes of the audit."""
    router = APIRouter(dependencies=[allow("marketer", "viewer")])

    @router.get("/api/audit")
    async def audit() -> dict[str, Any]:
        now = ports.clock.now()
        async with ports.database.reading() as connection:
            in_force = await catalogue.in_force(await store.load_controls(connection))
            stands = await _standing(connection)
            await catalogue.fetch({row.version for row in stands})
            checks = [
                *await _reached(connection),
                await _odd_visits(connection),
                await _forgotten(connection, sum(row.sleeping for row in stands)),
                await _lawful(connection, in_force, stands),
                await _overdue(connection, now, store.not_of(in_force.held(), in_force.unreadable())),
            ]
            return answer("journeys", [*checks, *await house_checks(ports, connection, "journeys")])

    @router.get("/api/audit/published", include_in_schema=False)
    async def published(before: AwareDatetime) -> dict[str, Any]:
        """The messages whose step was reached before a moment, by journey and step: the mailer counts by the same moments.

        `owed`: the first and the last blob of messages that may not be in the log yet. `refused`: those that the log did not take.
        """
        columns = (V.journey, V.step, V.kind)
        counted = select(*columns, func.count().label("count")).where(V.outcome == "published", V.at < before)
        blobs = select(func.min(OUTBOX.c.id), func.max(OUTBOX.c.id)).where(OUTBOX.c.service == "journeys", OUTBOX.c.topic == MESSAGES)
        async with ports.database.reading() as connection:
            found = await connection.execute(counted.group_by(*columns).order_by(*columns))
            owed = (await connection.execute(blobs)).one()
            refused = await messages_set_aside(connection, "journeys", before)
            return {"items": [dict(row) for row in found.mappings()], "next": None, "owed": list(owed), "refused": refused}

    @router.get("/api/audit/published/ids", include_in_schema=False)
    async def published_ids(journey: str, step: str, before: AwareDatetime, after: Annotated[str, Query()] = "") -> dict[str, Any]:
        """The messages of one step, some at a time: to be asked of the mailer one by one where the counts differ."""
        theirs = (V.journey == journey, V.step == step, V.outcome == "published", V.at < before, V.message_id > after)
        page = select(V.message_id, V.enrollment_id).where(*theirs).order_by(V.message_id).limit(PAGE).subquery()
        whose = select(page.c.message_id.label("id"), E.lead_id.label("lead"), E.id.label("enrollment"))
        async with ports.database.reading() as connection:
            found = await connection.execute(whose.join_from(page, ENROLLMENTS, E.id == page.c.enrollment_id).order_by(page.c.message_id))
            items = [dict(row) for row in found.mappings()]
        return {"items": items, "next": items[-1]["id"] if len(items) == PAGE else None}

    return router


async def _reached(connection: AsyncConnection) -> list[Check]:
    """Of each step that reaches somebody: every visit asked for a message, was skipped, or was the holdout's."""
    columns = (V.journey, V.step, V.kind, V.outcome)  # in the order of their index, which then need not be sorted
    query = select(*columns, func.count().label("count")).where(V.kind.in_(("send", "handoff"))).group_by(*columns)
    steps: dict[tuple[str, str], Counter[str]] = {}
    for journey, step, _, outcome, count in await connection.execute(query):
        steps.setdefault((journey, step), Counter())[outcome] += count
    return [_reached_at(journey, step, outcomes) for (journey, step), outcomes in sorted(steps.items())]


def _reached_at(journey: str, step: str, outcomes: Counter[str]) -> Check:
    published, skipped = outcomes["published"], outcomes["skipped"] + outcomes["holdout"]
    return Check(
        3,
        f"{journey} · {step}: reached = published + skipped",
        sum(outcomes.values()),
        published + skipped,
        f"{published} published, {skipped} skipped",
        counts={"journey": journey, "step": step},
    )


async def _odd_visits(connection: AsyncConnection) -> Check:
    named = (E.lead_id.label("lead"), V.journey, V.step, V.enrollment_id.label("enrollment"), V.transition, V.outcome)
    odd = select(*named).select_from(VISITS.outerjoin(ENROLLMENTS, E.id == V.enrollment_id)).where(ODD)
    count, offenders = await first_of(connection, odd)
    return Check(3, "visits whose outcome is none of their step's", count, 0, "published with a message, skipped without", offenders)


async def _standing(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """Where walks under way stand: one look at all of them."""
    columns = (E.journey, E.version, E.step)
    sleeping = func.sum(case((E.wake_at.is_(None), 1), else_=0)).label("sleeping")
    counted = select(*columns, func.count().label("n"), sleeping).where(E.status == "active").group_by(*columns)
    return (await connection.execute(counted)).all()


async def _forgotten(connection: AsyncConnection, sleeping: int) -> Check:
    """A walk that nothing will wake stands at a mail, or a hand-off that sales has to answer, that was asked for."""
    here = (V.enrollment_id == E.id, V.step == E.step, V.message_id.is_not(None))
    forgotten = select(*_NAMED).where(E.status == "active", E.wake_at.is_(None), ~select(V.step).where(*here).exists())
    count, offenders = await first_of(connection, forgotten) if sleeping else (0, [])
    return Check(2, "walks without a wake-up stand at a message under way", sleeping, sleeping - count, "", offenders)


async def _lawful(connection: AsyncConnection, in_force: InForce, stands: Sequence[Row[Any]]) -> Check:
    """Every walk under way stands at a step that its version of its journey has."""
    unreadable = set(in_force.unreadable())
    known = [row for row in stands if row.version not in unreadable]
    lost = [row for row in known if not _has(in_force, row)]
    offenders: list[Offender] = []
    for row in lost[:SHOWN]:
        there = (E.journey == row.journey, E.version == row.version, E.step.is_(None) if row.step is None else E.step == row.step)
        offenders += (await first_of(connection, select(*_NAMED).where(E.status == "active", *there)))[1]
    walking, astray = sum(row.n for row in known), sum(row.n for row in lost)
    passed_over = sum(row.n for row in stands) - walking
    said = f"{passed_over} of a version that cannot be read stand still" if passed_over else ""
    return Check(2, "walks under way stand at a step of their version", walking - astray, walking, said, offenders[:SHOWN])


def _has(in_force: InForce, row: Row[Any]) -> bool:
    journey = in_force.find(row.version, row.journey)
    return journey is not None and row.step in journey.steps


async def _overdue(connection: AsyncConnection, now: datetime, walking: ColumnElement[bool]) -> Check:
    due = (E.wake_at < now - OVERDUE, walking)
    return await none_of(connection, 2, "no wake-up is overdue by half an hour", (*_NAMED, E.wake_at), *due)
