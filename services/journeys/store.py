"""Loads what a batch needs in a few bulk reads and saves what it changed in a few bulk writes; nothing else speaks SQL that writes.

A save of an enrollment compares its `transition`: a move that was lost to another makes the whole transaction be tried again.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys.catalogue import Control
from services.journeys.dossier import Dossier, Handled
from services.journeys.enrollment import Effect, Enrollment, KnownLead, Remembered, Visit
from services.journeys.tables import CONTROLS, ENROLLMENTS, LEADS, RECENT, VISITS
from shared import wire
from shared.db import WAS, among, compare_and_set, insert_all, insert_new, upsert
from shared.errors import Outage
from shared.wire import Entry
from shared.work import Work

KEPT = timedelta(days=7)
"""How long an event that an exit, a goal or a `wait_for` names is kept, and how late a goal may arrive and still count."""


class State(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What of an enrollment only the engine reads, as one blob."""

    entry: Entry
    entry_sequence: int
    reached_at: datetime
    due_at: datetime | None = None
    message: int | None = None
    awaits: int | None = None
    trigger: int | None = None
    steps: dict[str, Any] | None = None
    depth: int = 0


decode_state = msgspec.json.Decoder(State).decode


class Address(Struct, frozen=True):
    """What of a lead has a column of its own."""

    email: str | None = None


_decode_address = msgspec.json.Decoder(Address).decode


async def load_controls(connection: AsyncConnection) -> dict[str, Control]:
    """The statuses set over the API, by journey."""
    found = await connection.execute(select(CONTROLS.c.journey, CONTROLS.c.status, CONTROLS.c.instead_of))
    return {journey: Control(status, instead_of) for journey, status, instead_of in found}


async def set_control(connection: AsyncConnection, journey: str, control: Control, now: datetime) -> None:
    row = {"journey": journey, "status": control.status, "instead_of": control.instead_of, "at": now}
    await upsert(connection, CONTROLS, [row], ["journey"])


async def load_dossiers(connection: AsyncConnection, lead_ids: Iterable[str], now: datetime) -> dict[str, Dossier]:
    """The dossiers of these leads and of those they were merged into, with their open enrollments. Unknown leads get an empty one."""
    dossiers = await _load_leads(connection, lead_ids)
    counting = and_(ENROLLMENTS.c.goal_until > now - KEPT, ENROLLMENTS.c.converted_at.is_(None))
    await _load_walks(connection, dossiers, among(ENROLLMENTS.c.lead_id, dossiers), or_(ENROLLMENTS.c.status == "active", counting))
    return dossiers


async def load_due(connection: AsyncConnection, due: Collection["Waiting"]) -> dict[str, Dossier]:
    """The dossiers of those whose walks are to be woken, with these walks and no others: time means nothing to the rest."""
    dossiers = await _load_leads(connection, {one.lead_id for one in due})
    await _load_walks(connection, dossiers, among(ENROLLMENTS.c.id, [one.enrollment_id for one in due]))
    return dossiers


async def _load_leads(connection: AsyncConnection, lead_ids: Iterable[str]) -> dict[str, Dossier]:
    dossiers: dict[str, Dossier] = {}
    wanted = set(lead_ids)
    while wanted:
        dossiers |= await _lock(connection, wanted)
        dossiers |= {lead_id: Dossier(lead_id) for lead_id in wanted - dossiers.keys()}
        wanted = {dossier.merged_into for dossier in dossiers.values() if dossier.merged_into} - dossiers.keys()
    return dossiers


async def _lock(connection: AsyncConnection, lead_ids: set[str]) -> dict[str, Dossier]:
    """Lock the leads in the order of their ids. Where several may write, one that is not there is made: nothing else could be locked."""
    if connection.dialect.name != "sqlite":
        empty = [{"lead_id": lead_id, "sequence": 0, "gaps": ""} for lead_id in sorted(lead_ids)]
        await insert_new(connection, LEADS, empty, "lead_id")
    locked = select(*_LEAD_COLUMNS).where(among(LEADS.c.lead_id, lead_ids)).order_by(LEADS.c.lead_id).with_for_update()
    return {row[0]: _dossier(*row) for row in await connection.execute(locked)}


def resolve(dossiers: Mapping[str, Dossier], lead_id: str) -> Dossier:
    """The dossier of a lead; of one that was merged, the survivor's."""
    dossier = dossiers[lead_id]
    while dossier.merged_into is not None:
        dossier = dossiers[dossier.merged_into]
    return dossier


async def load_past(connection: AsyncConnection, dossiers: Collection[Dossier]) -> None:
    """What entering asks for: when each journey and key was last entered, and the events kept for rule 2."""
    if not dossiers:
        return
    by_id = {dossier.lead_id: dossier for dossier in dossiers}
    columns = (ENROLLMENTS.c.lead_id, ENROLLMENTS.c.journey, ENROLLMENTS.c.key)
    last = select(*columns, func.max(ENROLLMENTS.c.entry_at)).where(among(ENROLLMENTS.c.lead_id, by_id)).group_by(*columns)
    for lead_id, journey, key, entered_at in await connection.execute(last):
        by_id[lead_id].entered.setdefault(journey, {})[key] = entered_at
    await load_recent(connection, dossiers)


async def load_recent(connection: AsyncConnection, dossiers: Collection[Dossier]) -> None:
    """The events kept for rule 2, which beginning a `wait_for` asks for too."""
    if not dossiers:
        return
    by_id = {dossier.lead_id: dossier for dossier in dossiers}
    kept = select(RECENT.c.lead_id, RECENT.c.event, RECENT.c.sequence, RECENT.c.late).where(among(RECENT.c.lead_id, by_id))
    for lead_id, event, sequence, late in await connection.execute(kept):
        by_id[lead_id].recent.append(Remembered(wire.decode_event(event), sequence, late))


async def find_lead(connection: AsyncConnection, email: str) -> str | None:
    """The lead with this address; of several, one whom a server named before one that only a browser claims to be, then the last seen."""
    found = await connection.execute(select(LEADS.c.lead).where(LEADS.c.email == email.lower(), LEADS.c.merged_into.is_(None)))
    leads = [wire.decode_lead(lead) for lead in found.scalars() if lead]
    best = max(leads, key=lambda lead: (lead.address_trusted, lead.last_seen_at, lead.id), default=None)
    return None if best is None else best.id


async def find_entered_by(connection: AsyncConnection, lead_id: str, journey: str, event_id: str) -> Enrollment | None:
    """The lead's enrollment that this event began."""
    walks = await connection.execute(select(*_WALK).where(ENROLLMENTS.c.lead_id == lead_id, ENROLLMENTS.c.journey == journey))
    return next((found for found in map(_enrollment, walks) if found.entry.event_id == event_id), None)


class Waiting(NamedTuple):
    """An enrollment that wants to be woken, and when."""

    lead_id: str
    enrollment_id: str
    wake_at: datetime


async def find_waiting(connection: AsyncConnection, until: datetime, passed_over: ColumnElement[bool], limit: int) -> list[Waiting]:
    """The enrollments to be woken until a moment, in their order; locked, without those that others have in hand."""
    columns = (ENROLLMENTS.c.lead_id, ENROLLMENTS.c.id, ENROLLMENTS.c.wake_at)
    waiting = select(*columns).where(ENROLLMENTS.c.wake_at <= until, passed_over).order_by(ENROLLMENTS.c.wake_at)
    return [Waiting(*row) for row in await connection.execute(waiting.limit(limit).with_for_update(skip_locked=True))]


async def lock_free(connection: AsyncConnection, waiting: Sequence[Waiting]) -> list[Waiting]:
    """Those whose leads nobody has in hand, now locked. Who waited for a lead with walks in hand could wait for ever."""
    if connection.dialect.name == "sqlite" or not waiting:
        return list(waiting)
    free = select(LEADS.c.lead_id).where(among(LEADS.c.lead_id, {one.lead_id for one in waiting})).order_by(LEADS.c.lead_id)
    locked = set((await connection.execute(free.with_for_update(skip_locked=True))).scalars())
    return [one for one in waiting if one.lead_id in locked]


async def find_next_due(connection: AsyncConnection, passed_over: ColumnElement[bool]) -> datetime | None:
    """When the next enrollment wants to be woken."""
    waiting = select(ENROLLMENTS.c.wake_at).where(ENROLLMENTS.c.wake_at.is_not(None), passed_over)
    due: datetime | None = (await connection.execute(waiting.order_by(ENROLLMENTS.c.wake_at).limit(1))).scalar_one_or_none()
    return due


def not_of(journeys: Collection[str], versions: Collection[str]) -> ColumnElement[bool]:
    """Passes over the walks of these journeys and of these versions."""
    return and_(ENROLLMENTS.c.journey.not_in(journeys), ENROLLMENTS.c.version.not_in(versions))


async def save(work: Work, dossiers: Iterable[Dossier], effects: Iterable[Effect]) -> None:
    """Save what changed in the dossiers and publish what the moves asked for. Raises Outage where a move was lost to another."""
    dossiers = list(dossiers)
    await _save_merges(work.conn, dossiers)
    await upsert(work.conn, LEADS, [_lead_row(dossier) for dossier in dossiers if dossier.touched], ["lead_id"])
    repeated = await _save_enrollments(work.conn, dossiers)
    await _save_recent(work.conn, dossiers)
    visits = []
    for effect in effects:
        if isinstance(effect, Visit):
            if effect.enrollment_id not in repeated:
                visits.append(effect)
        elif isinstance(effect, wire.Event):
            work.publish(wire.EVENTS, effect.lead_id or "", effect)
        else:
            work.publish(wire.MESSAGES, effect.lead_id, effect)
    await insert_all(work.conn, VISITS, [asdict(visit) for visit in visits])


async def forget_recent(connection: AsyncConnection, now: datetime) -> int:
    """Drop the events that were kept long enough; says how many."""
    return (await connection.execute(delete(RECENT).where(RECENT.c.at < now - KEPT))).rowcount


_LEAD_COLUMNS = (LEADS.c.lead_id, LEADS.c.lead, LEADS.c.sequence, LEADS.c.gaps, LEADS.c.merged_into)


def _dossier(lead_id: str, lead: bytes | None, sequence: int, gaps: str, merged_into: str | None) -> Dossier:
    known = KnownLead(lead, sequence) if lead is not None else None
    return Dossier(lead_id, known, Handled(sequence, [(low, high) for low, high in json.loads(gaps)] if gaps else []), merged_into)


def _lead_row(dossier: Dossier) -> dict[str, Any]:
    known = dossier.known
    address = _decode_address(known.json).email if known else None
    return {
        "lead_id": dossier.lead_id,
        "email": address.lower() if address else None,
        "lead": known.json if known else None,
        "sequence": dossier.handled.highest,
        "gaps": json.dumps(dossier.handled.gaps) if dossier.handled.gaps else "",
        "merged_into": dossier.merged_into,
    }


async def _load_walks(connection: AsyncConnection, dossiers: Mapping[str, Dossier], *which: ColumnElement[bool]) -> None:
    """Of these leads, which are locked: nobody moves a walk who has not locked its lead."""
    for row in await connection.execute(select(*_WALK).where(*which)):
        enrollment = _enrollment(row)
        dossier = dossiers[enrollment.lead_id]
        dossier.open[enrollment.id] = dossier.saved[enrollment.id] = enrollment


_WALK = tuple(column for column in ENROLLMENTS.c if column.name != "entry_at")  # the state has it, too


def _enrollment(row: Row[*tuple[Any, ...]]) -> Enrollment:
    """The walk in a row of `_WALK`, which is unpacked: asking it for each column by name takes as long as all the rest."""
    walk, lead, journey, version, key, status, holdout, step, transition, blob, entered, wake, ended, reason, goal, converted = row
    state = decode_state(blob)
    return Enrollment(
        id=walk,
        lead_id=lead,
        journey=journey,
        version=version,
        key=key,
        holdout=holdout,
        entry=state.entry,
        entry_sequence=state.entry_sequence,
        entered_at=entered,
        reached_at=state.reached_at,
        status=status,
        transition=transition,
        step=step,
        due_at=state.due_at,
        message=state.message,
        awaits=state.awaits,
        trigger=state.trigger,
        wake_at=wake,
        steps=state.steps,
        depth=state.depth,
        ended_at=ended,
        reason=reason,
        goal_until=goal,
        converted_at=converted,
    )


def _new_row(enrollment: Enrollment) -> dict[str, Any]:
    columns = {column: getattr(enrollment, column) for column in _PLAIN}
    return columns | {"state": _state(enrollment), "entry_at": enrollment.entry.at}


_PLAIN = tuple(column.name for column in ENROLLMENTS.c if column.name not in ("state", "entry_at"))


def _moved_row(enrollment: Enrollment, before: Enrollment) -> dict[str, Any]:
    """What a move may have changed; what seldom changes only where it did: a column set to what it was costs its indexes all the same.

    The lead is no part of it: a merge changes it for all walks at once.
    """
    row = {
        "id": enrollment.id,
        WAS: before.transition,
        "transition": enrollment.transition,
        "step": enrollment.step,
        "state": _state(enrollment),
        "wake_at": enrollment.wake_at,
        "goal_until": enrollment.goal_until,
    }
    if enrollment.entry is not before.entry or enrollment.entered_at != before.entered_at:
        row |= {"entry_at": enrollment.entry.at, "entered_at": enrollment.entered_at}
    if enrollment.converted_at != before.converted_at:
        row["converted_at"] = enrollment.converted_at
    if enrollment.status != before.status:
        row |= {"status": enrollment.status, "ended_at": enrollment.ended_at, "reason": enrollment.reason}
    return row


def _state(enrollment: Enrollment) -> bytes:
    state = State(
        entry=enrollment.entry,
        entry_sequence=enrollment.entry_sequence,
        reached_at=enrollment.reached_at,
        due_at=enrollment.due_at,
        message=enrollment.message,
        awaits=enrollment.awaits,
        trigger=enrollment.trigger,
        steps=dict(enrollment.steps) if enrollment.steps else None,
        depth=enrollment.depth,
    )
    return wire.encode(state)


async def _save_enrollments(connection: AsyncConnection, dossiers: Sequence[Dossier]) -> set[str]:
    """Insert the new ones and move the others; answers the ids that were there although they seemed new."""
    changed = [(dossier.open[key], dossier.saved[key]) for dossier in dossiers for key in dossier.changed]
    new = [_new_row(enrollment) for enrollment, before in changed if before is None]
    inserted = await insert_new(connection, ENROLLMENTS, new, "id")
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for enrollment, before in changed:
        if before is not None:
            row = _moved_row(enrollment, before)
            alike.setdefault(tuple(row), []).append(row)
    for rows in alike.values():
        if await compare_and_set(connection, ENROLLMENTS, rows, "id", "transition") != len(rows):
            raise Outage("an enrollment was moved by another replica; trying again")
    return {row["id"] for row in new} - inserted


async def _save_recent(connection: AsyncConnection, dossiers: Sequence[Dossier]) -> None:
    rows = [
        {
            "event_id": remembered.event.id,
            "lead_id": dossier.lead_id,
            "sequence": remembered.sequence,
            "late": remembered.late,
            "event": wire.encode(remembered.event),
            "at": remembered.event.at,
        }
        for dossier in dossiers
        for remembered in dossier.fresh
    ]
    await insert_new(connection, RECENT, rows, "event_id")


async def _save_merges(connection: AsyncConnection, dossiers: Sequence[Dossier]) -> None:
    """Everything of a merged lead becomes the survivor's; of one merged again at once, the last survivor's."""
    by_id = {dossier.lead_id: dossier for dossier in dossiers}
    merged = [{"old": lead_id, "new": resolve(by_id, lead_id).lead_id} for lead_id, dossier in by_id.items() if dossier.newly_merged]
    for table in (ENROLLMENTS, RECENT) if merged else ():
        await connection.execute(update(table).where(table.c.lead_id == bindparam("old")).values(lead_id=bindparam("new")), merged)
