"""`Lead Erased` → journeys: the lead's walks end where they stand, and what is left of them says nothing of the person.

Enrollments and visits stay, for the counts of their journeys are made of them; all else of the lead goes.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys.store import State, decode_state
from services.journeys.tables import ENROLLMENTS, LEADS, RECENT
from shared.db import among
from shared.erasing import ERASED, REASON, Marks, bury, delete_letters, delete_of_leads, find_erased
from shared.errors import InvalidMessage
from shared.log import Record
from shared.wire import Activity, Entry, Erasure, decode_activity, encode
from shared.work import Work

DELETED = (RECENT,)
"""Tables whose rows of an erased lead go altogether."""


class Arrival(Protocol):
    """An activity of a batch, glanced at."""

    @property
    def lead_id(self) -> str: ...

    @property
    def record(self) -> Record: ...

    @property
    def name(self) -> str: ...


A = TypeVar("A", bound=Arrival)


async def without_erased(work: Work, arrivals: Sequence[A], marks: Marks) -> list[A]:
    """Obey the erasures among these activities; answers those of leads that are still there."""
    told = [_erasure(decode_activity(arrival.record.value)) for arrival in arrivals if arrival.name == ERASED]
    for erasure in told:
        await obey(work, erasure, marks)
    gone = await find_erased(work.conn, work.service, {arrival.lead_id for arrival in arrivals})
    return [arrival for arrival in arrivals if arrival.lead_id not in gone]


async def obey(work: Work, erasure: Erasure, marks: Marks) -> None:
    """Forget the lead and those that became part of it. A repeat finds nothing more."""
    connection = work.conn
    lead_ids = {*erasure.lead_ids, *await _merged_into(connection, erasure.lead_ids)}
    removed = {
        "leads": await _empty_leads(connection, lead_ids),
        "enrollments": await _empty_enrollments(work, lead_ids),
        "events": await delete_of_leads(connection, DELETED, lead_ids),
        "dead_letters": await delete_letters(connection, work.service, erasure, marks),
    }
    await bury(connection, work.service, erasure, removed, work.now)


async def _merged_into(connection: AsyncConnection, lead_ids: Sequence[str]) -> list[str]:
    found = await connection.execute(select(LEADS.c.lead_id).where(among(LEADS.c.merged_into, lead_ids)))
    return list(found.scalars())


async def _empty_leads(connection: AsyncConnection, lead_ids: set[str]) -> int:
    known = (among(LEADS.c.lead_id, lead_ids), LEADS.c.lead.is_not(None))
    return (await connection.execute(update(LEADS).where(*known).values(lead=None, email=None))).rowcount


async def _empty_enrollments(work: Work, lead_ids: set[str]) -> int:
    """End the walks under way, and keep of each only what its journey's counts are made of; says how many there were."""
    rows = (await work.conn.execute(select(ENROLLMENTS).where(among(ENROLLMENTS.c.lead_id, lead_ids)).with_for_update())).all()
    if rows:
        emptied = update(ENROLLMENTS).where(ENROLLMENTS.c.id == bindparam("the_id")).values(state=bindparam("emptied"))
        await work.conn.execute(emptied, [{"the_id": row.id, "emptied": _emptied(row.state)} for row in rows])
    theirs = update(ENROLLMENTS).where(among(ENROLLMENTS.c.lead_id, lead_ids))
    await work.conn.execute(theirs.values(key=None, goal_until=None, wake_at=None, transition=ENROLLMENTS.c.transition + 1))
    walking = theirs.where(ENROLLMENTS.c.status == "active")
    await work.conn.execute(walking.values(status="exited", reason=REASON, ended_at=work.now))
    return len(rows)


def _emptied(state: bytes) -> bytes:
    """When it was entered, and nothing of why."""
    before = decode_state(state)
    return encode(State(entry=Entry(at=before.entry.at), entry_sequence=before.entry_sequence, reached_at=before.reached_at))


def _erasure(activity: Activity) -> Erasure:
    try:
        return msgspec.convert(activity.event.properties, Erasure)
    except msgspec.ValidationError as error:
        raise InvalidMessage("bad_activity", str(error)) from error
