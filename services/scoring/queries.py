"""Reads for the API: leads by what is asked for, one lead, its events, and the counts that must agree."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, ScalarSelect, Select, cast, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.identity import device_identity, user_identity
from services.scoring.leads import Scored
from services.scoring.past import is_told_here
from services.scoring.readiness import LOWEST
from services.scoring.store import IDENTITIES, LEADS, RECORD, decode_scored
from shared.auditing import number
from shared.wire import Event, decode_event

PAGE = 500
"""Events read at once where all of a lead's are gone through."""


class LeadFilter(NamedTuple):
    """What a list of leads is narrowed to; None asks for nothing."""

    email: str | None = None
    user_id: str | None = None
    min_readiness: int | None = None
    hot: bool | None = None
    sleeping: bool | None = None
    q: str | None = None
    anonymous_id: str | None = None


class Recorded(NamedTuple):
    """An event of a lead, and the moment it counts at."""

    at: datetime
    event: Event


async def list_leads(connection: AsyncConnection, wanted: LeadFilter, limit: int, before: str | None) -> list[Scored]:
    """Living leads, the newest first, from the one after `before`."""
    page = select(LEADS.c.id).where(LEADS.c.merged_into.is_(None), *_conditions(wanted)).order_by(LEADS.c.id.desc()).limit(limit)
    if before is not None:
        page = page.where(LEADS.c.id < before)
    query = select(LEADS.c.state).where(LEADS.c.id.in_(page)).order_by(LEADS.c.id.desc())
    return [decode_scored(state) for state in (await connection.execute(query)).scalars()]


async def find_lead(connection: AsyncConnection, lead_id: str) -> Scored | None:
    """The lead of this id; for one that was merged, the lead it became part of."""
    seen: str | None = lead_id
    while seen is not None:
        row = (await connection.execute(select(LEADS.c.merged_into, LEADS.c.state).where(LEADS.c.id == seen))).one_or_none()
        if row is None or row.merged_into is None:
            return None if row is None else decode_scored(row.state)
        seen = row.merged_into
    return None


async def list_events(connection: AsyncConnection, lead_id: str, limit: int, before: tuple[datetime, str] | None) -> list[Recorded]:
    """The events of a lead, readiness changes among them, the newest first, from the one after `before`."""
    query = select(RECORD.c.at, RECORD.c.event).where(RECORD.c.lead_id == lead_id)
    if before is not None:
        at, id = before
        query = query.where(or_(RECORD.c.at < at, (RECORD.c.at == at) & (RECORD.c.id < id)))
    found = await connection.execute(query.order_by(RECORD.c.at.desc(), RECORD.c.id.desc()).limit(limit))
    return [Recorded(at, decode_event(event)) for at, event in found]


async def each_event(connection: AsyncConnection, lead_id: str) -> AsyncIterator[Recorded]:
    """Every event of a lead, the newest first, however many there are."""
    before: tuple[datetime, str] | None = None
    while page := await list_events(connection, lead_id, PAGE, before):
        for recorded in page:
            yield recorded
        before = (page[-1].at, page[-1].event.id)


async def events_until(connection: AsyncConnection, lead_id: str, until: datetime | None = None) -> list[Event]:
    """What a lead did, up to a moment or all: whatever can count, nothing that scoring told of it."""
    query = select(RECORD.c.event).where(RECORD.c.lead_id == lead_id)
    found = await connection.execute(query if until is None else query.where(RECORD.c.at <= until))
    events = (decode_event(event) for event in found.scalars())
    return [event for event in events if not is_told_here(event)]


class Counts(NamedTuple):
    """What the audit compares."""

    recorded: int
    told: int


async def count(connection: AsyncConnection) -> Counts:
    """Recorded events, and the sequences that told them."""
    return Counts(
        recorded=await number(connection, select(func.count()).select_from(RECORD)),
        told=await number(connection, select(func.coalesce(func.sum(LEADS.c.sequence), 0))),
    )


def wrongly_told() -> Select[Any]:
    """Living leads whose sequence, with those of all that became part of them, is not the number of their events."""
    tombstones = select(LEADS.c.merged_into.label("living"), LEADS.c.sequence).where(LEADS.c.merged_into.is_not(None))
    way = tombstones.cte("way", recursive=True)
    above = LEADS.alias("above")
    way = way.union_all(
        select(above.c.merged_into, way.c.sequence).join(above, above.c.id == way.c.living).where(above.c.merged_into.is_not(None))
    )
    brought = select(way.c.living, cast(func.sum(way.c.sequence), BigInteger).label("told")).group_by(way.c.living).cte("brought")
    told = LEADS.c.sequence + func.coalesce(brought.c.told, 0)
    recorded = select(func.count()).where(RECORD.c.lead_id == LEADS.c.id).scalar_subquery()
    return (
        select(LEADS.c.id.label("lead"), recorded.label("recorded"), told.label("told"))
        .select_from(LEADS.outerjoin(brought, brought.c.living == LEADS.c.id))
        .where(LEADS.c.merged_into.is_(None), recorded != told)
    )


def strays() -> Select[Any]:
    """Identities that lead to nobody, or to a lead that became part of another."""
    nobody = ~select(LEADS.c.id).where(LEADS.c.id == IDENTITIES.c.lead_id).exists()
    merged = IDENTITIES.c.lead_id.in_(select(LEADS.c.id).where(LEADS.c.merged_into.is_not(None)))
    return select(IDENTITIES.c.lead_id.label("lead")).where(nobody | merged)


async def living_after(connection: AsyncConnection, after: str, limit: int) -> list[Scored]:
    """Living leads in the order of their ids, from the one after that."""
    query = select(LEADS.c.state).where(LEADS.c.merged_into.is_(None), LEADS.c.id > after).order_by(LEADS.c.id).limit(limit)
    return [decode_scored(state) for state in (await connection.execute(query)).scalars()]


async def sample(connection: AsyncConnection, limit: int, longest: int) -> list[Scored]:
    """The newest leads whose record is not longer than that."""
    query = select(LEADS.c.state).where(LEADS.c.merged_into.is_(None), LEADS.c.sequence <= longest)
    return [decode_scored(state) for state in (await connection.execute(query.order_by(LEADS.c.id.desc()).limit(limit))).scalars()]


def _conditions(wanted: LeadFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.email is not None:
        yield LEADS.c.email == wanted.email.strip().lower()
    if wanted.user_id is not None:
        yield LEADS.c.id == _owner(user_identity(wanted.user_id))
    if wanted.anonymous_id is not None:
        yield LEADS.c.id == _owner(device_identity(wanted.anonymous_id))
    if wanted.min_readiness is not None:
        yield LEADS.c.readiness >= wanted.min_readiness
        if wanted.min_readiness > LOWEST:
            yield LEADS.c.readiness > literal_column("1")  # as the partial index says it
    if wanted.hot is not None:
        yield LEADS.c.hot == wanted.hot
    if wanted.sleeping is not None:
        yield LEADS.c.sleeping == wanted.sleeping
    if wanted.q:
        pattern = wanted.q.strip()
        yield or_(
            LEADS.c.email.contains(pattern.lower(), autoescape=True),
            LEADS.c.name.contains(pattern.casefold(), autoescape=True),
            func.lower(LEADS.c.user_id).contains(pattern.lower(), autoescape=True),
        )


def _owner(identity: str) -> ScalarSelect[str]:
    return select(IDENTITIES.c.lead_id).where(IDENTITIES.c.identity == identity).scalar_subquery()
