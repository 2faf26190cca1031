"""What journeys can be asked: reads for api.py, as JSON-ready rows. Lists go newest first, with a cursor for the next page."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys.catalogue import InForce
from services.journeys.enrollment import Enrollment
from services.journeys.graph import node
from services.journeys.store import decode_state
from services.journeys.tables import ENROLLMENTS, LEADS, VISITS
from shared.instant import EPOCH, MICROSECOND

Item = dict[str, Any]
Page = dict[str, Any]

SHOWN = [column for column in ENROLLMENTS.c if column.name not in ("state", "transition", "entry_at", "goal_until")]


class BadCursor(ValueError):
    """The cursor is none that a list of ours gave."""


async def find_survivor(connection: AsyncConnection, lead_id: str) -> str:
    """The lead itself, or the one it was merged into."""
    while True:
        merged_into = (await connection.execute(select(LEADS.c.merged_into).where(LEADS.c.lead_id == lead_id))).scalar_one_or_none()
        if merged_into is None:
            return lead_id
        lead_id = merged_into


async def list_journeys(connection: AsyncConnection, in_force: InForce) -> list[Item]:
    """Every journey of the newest playbook and every one that still has enrollments, with its counts; the holdout is counted apart."""
    columns = (ENROLLMENTS.c.journey, ENROLLMENTS.c.holdout, ENROLLMENTS.c.status)
    counted = await connection.execute(select(*columns, func.count(), func.count(ENROLLMENTS.c.converted_at)).group_by(*columns))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for journey, holdout, status, enrollments, converted in counted:
        count = counts[journey]
        if holdout:
            count["holdout"] += enrollments
            count["holdout_converted"] += converted
        else:
            count["entered"] += enrollments
            count[status] += enrollments
            count["converted"] += converted
    return [_journey(in_force, name, counts[name]) for name in sorted({*in_force.newest.by_name, *counts})]


def _journey(in_force: InForce, name: str, count: Mapping[str, int]) -> Item:
    newest = in_force.newest.by_name.get(name)
    return {
        "journey": name,
        "version": in_force.version if newest else None,
        "status": in_force.status_of(name) if newest else "removed",
        "description": newest.description if newest else "",
        "category": newest.category if newest else None,
        "entered": count["entered"],
        "waiting": count["active"],
        "completed": count["completed"],
        "converted": count["converted"],
        "exited": count["exited"],
        "holdout": count["holdout"],
        "holdout_converted": count["holdout_converted"],
    }


async def count_steps(connection: AsyncConnection, in_force: InForce, name: str) -> list[Item]:
    """The steps of a journey as a graph, each with how many came to it, what became of them, and how many stand there now.

    Steps that only older versions have come last, with their counts alone.
    """
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    visited = select(VISITS.c.step, VISITS.c.outcome, func.count()).where(VISITS.c.journey == name)
    for step, outcome, visits in await connection.execute(visited.group_by(VISITS.c.step, VISITS.c.outcome)):
        outcomes[step][outcome] += visits
    standing = select(ENROLLMENTS.c.step, func.count()).where(ENROLLMENTS.c.journey == name, ENROLLMENTS.c.status == "active")
    waiting = {step: count for step, count in await connection.execute(standing.group_by(ENROLLMENTS.c.step))}
    journey = in_force.newest.by_name.get(name)
    steps = journey.steps if journey else {}
    earlier = sorted((outcomes.keys() | waiting.keys()) - steps.keys())
    nodes: list[Item] = [node(step) for step in steps.values()] + [{"step": step, "kind": None} for step in earlier]
    return [one | _step_counts(outcomes[one["step"]], waiting.get(one["step"], 0)) for one in nodes]


def _step_counts(outcomes: Counter[str], waiting: int) -> Item:
    counts = {outcome: outcomes[outcome] for outcome in ("published", "skipped", "holdout")}
    return {"reached": outcomes.total(), "waiting": waiting} | counts


async def list_enrollments(connection: AsyncConnection, lead_id: str, limit: int, cursor: str | None) -> Page:
    """A lead's enrollments, the newest entry first. Raises BadCursor."""
    query = select(*SHOWN, ENROLLMENTS.c.state).where(ENROLLMENTS.c.lead_id == lead_id)
    page = await _page(connection, query, (ENROLLMENTS.c.entered_at, ENROLLMENTS.c.id), limit, cursor)
    return page | {"items": [item | {"message_under_way": _awaits_message(item.pop("state"), item)} for item in page["items"]]}


def _awaits_message(state: bytes, item: Item) -> bool:
    """Whether a walk stands where its message has not left yet: its `wake_at` is then only when it would be given up."""
    return item["status"] == "active" and decode_state(state).message is not None


async def list_endings(connection: AsyncConnection, lead_id: str, limit: int, cursor: str | None) -> Page:
    """A lead's walks that are over, the one that ended last first. Raises BadCursor."""
    query = select(*SHOWN).where(ENROLLMENTS.c.lead_id == lead_id, ENROLLMENTS.c.ended_at.is_not(None))
    return await _page(connection, query, (ENROLLMENTS.c.ended_at, ENROLLMENTS.c.id), limit, cursor)


def shown(enrollment: Enrollment) -> Item:
    """An enrollment as the lists show it."""
    return {column.name: getattr(enrollment, column.name) for column in SHOWN}


async def list_visits(connection: AsyncConnection, lead_id: str, limit: int, cursor: str | None) -> Page:
    """What a lead's walks did at each step, the newest first. Raises BadCursor."""
    query = select(VISITS).join(ENROLLMENTS, ENROLLMENTS.c.id == VISITS.c.enrollment_id).where(ENROLLMENTS.c.lead_id == lead_id)
    return await _page(connection, query, (VISITS.c.at, VISITS.c.enrollment_id, VISITS.c.transition), limit, cursor)


async def _page(connection: AsyncConnection, query: Select[Any], place: Sequence[Column[Any]], limit: int, cursor: str | None) -> Page:
    """One page of a list in falling order of `place`, whose first column is a moment."""
    if cursor is not None:
        query = query.where(tuple_(*place) < tuple_(*_place(cursor, place)))
    found = await connection.execute(query.order_by(*(column.desc() for column in place)).limit(limit))
    items = [dict(row) for row in found.mappings()]
    return {"items": items, "next": _cursor([items[-1][column.name] for column in place]) if len(items) == limit else None}


def _cursor(place: Sequence[Any]) -> str:
    at, *rest = place
    return ".".join(map(str, ((at - EPOCH) // MICROSECOND, *rest)))


def _place(cursor: str, columns: Sequence[Column[Any]]) -> list[ColumnElement[Any]]:
    at, *rest = cursor.split(".")
    try:
        values = [EPOCH + MICROSECOND * int(at), rest[0], *map(int, rest[1:])]
        return [literal(value, column.type) for value, column in zip(values, columns, strict=True)]
    except (ValueError, IndexError, OverflowError):
        raise BadCursor(cursor) from None
