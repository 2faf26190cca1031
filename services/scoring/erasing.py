"""Forgetting a lead: its rows go, its grave stays, `Lead Erased` tells the others; what comes late for it is counted and dropped.

`DELETE /api/leads/{id}` ──► rows deleted, grave kept ──► activities (journeys, mailer obey) and dead-letters (ingest obeys)
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import Table, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.identity import DEVICE, USER, Names
from services.scoring.leads import Roster, Scored
from services.scoring.queries import each_event
from services.scoring.rulebook import Rulebook
from services.scoring.store import IDENTITIES, LEADS, RECORD, fetch_leads
from shared.db import among
from shared.erasing import (
    ERASED,
    Grave,
    Marks,
    bury,
    count_dropped,
    delete_letters,
    delete_of_leads,
    find_erasure,
    find_graves,
    newest_erasure,
)
from shared.names import Name, address_name
from shared.wire import ACTIVITIES, DEAD_LETTERS, OURSELVES, Activity, Erasure, Event, Lead
from shared.work import Outbox, Work

SERVICE = "scoring"
BY_LEAD: Mapping[str, Table] = {"events": RECORD, "identities": IDENTITIES}
"""Tables whose rows belong to one lead each."""


class Arrival(Protocol):
    """An event of a batch with its ids."""

    @property
    def event(self) -> Event: ...

    @property
    def names(self) -> Names | None: ...


A = TypeVar("A", bound=Arrival)


async def erase(outbox: Outbox, rulebook: Rulebook, marks: Marks, lead_id: str) -> dict[str, Any] | None:
    """Forget a lead and all that became part of it; answers what was removed, None where there is no such lead and never was one erased.

    A repeat answers what the first one did.
    """
    definitions = await rulebook.newest()
    async with outbox.work() as work:
        roster = Roster(definitions, work.now)
        await fetch_leads(work.conn, roster, [lead_id])
        living = roster.living(lead_id)
        if living is not None:
            await _forget(work, marks, roster.leads[living])
        return await find_erasure(work.conn, SERVICE, lead_id)


async def erase_address(outbox: Outbox, marks: Marks, address: str) -> dict[str, Any] | None:
    """Forget what is held for an address that no lead has; None where one has it: then it is that lead who is to be forgotten.

    It goes the way of a lead's erasure, under an id of its own. Each call looks anew, for mail may have gone there since.
    """
    async with outbox.work() as work:
        theirs = select(LEADS.c.id).where(LEADS.c.email == address.strip().lower(), LEADS.c.merged_into.is_(None)).limit(1)
        if (await work.conn.execute(theirs)).one_or_none() is not None:
            return None
        erased = f"address-{uuid.uuid4()}"
        erasure = Erasure(erased=erased, at=work.now, lead_ids=[erased], marks=[marks.of(address_name(address))])
        await _tell(work, marks, erasure, {}, sequence=1)
        return await find_erasure(work.conn, SERVICE, erased)


async def last_erasure(connection: AsyncConnection, marks: Marks, address: str) -> dict[str, Any] | None:
    """The newest erasure that this address was part of; None where there was none."""
    graves = await find_graves(connection, SERVICE, {marks.of(address_name(address))})
    return await find_erasure(connection, SERVICE, next(iter(graves.values())).lead_id) if graves else None


async def admitted(work: Work, marks: Marks, roster: Roster, arrivals: Sequence[A]) -> list[A]:
    """Those of the events that belong to nobody who was erased; the others are counted.

    An event that happened before the erasure goes where its user id, its device or its address was erased; not for its device or address
    alone where it names another, living lead. What we ourselves tell of an erased lead goes whenever it happened.
    """
    newest = await newest_erasure(work.conn, SERVICE)
    if newest is None:
        return list(arrivals)
    suspected = {id(arrival): _suspicions(marks, roster, arrival, newest) for arrival in arrivals}
    graves = await find_graves(work.conn, SERVICE, {mark for found in suspected.values() for mark in found})
    held = {id(arrival): _grave_of(suspected[id(arrival)], graves, arrival.event) for arrival in arrivals}
    for lead_id, count in sorted(Counter(grave.lead_id for grave in held.values() if grave).items()):
        await count_dropped(work.conn, SERVICE, lead_id, count)
    return [arrival for arrival in arrivals if held[id(arrival)] is None]


async def _forget(work: Work, marks: Marks, scored: Scored) -> None:
    lead_ids = [scored.lead.id, *await became_part_of(work.conn, scored.lead.id)]
    known = await known_by(work.conn, scored)
    erasure = Erasure(erased=scored.lead.id, at=work.now, lead_ids=lead_ids, marks=sorted(marks.of_all(known)))
    await _tell(work, marks, erasure, await _delete(work.conn, lead_ids), scored.sequence + 1)


async def _tell(work: Work, marks: Marks, erasure: Erasure, removed: dict[str, int], sequence: int) -> None:
    """Keep the grave, and have all the others obey."""
    removed["dead_letters"] = await delete_letters(work.conn, SERVICE, erasure, marks)
    await bury(work.conn, SERVICE, erasure, removed, work.now)
    work.publish(ACTIVITIES, erasure.erased, _activity(erasure, sequence))
    work.publish(DEAD_LETTERS, erasure.erased, erasure)


async def _delete(connection: AsyncConnection, lead_ids: list[str]) -> dict[str, int]:
    removed = {what: await delete_of_leads(connection, [table], lead_ids) for what, table in BY_LEAD.items()}
    gone = await connection.execute(delete(LEADS).where(among(LEADS.c.id, lead_ids)))
    return removed | {"leads": gone.rowcount}


async def became_part_of(connection: AsyncConnection, lead_id: str) -> list[str]:
    """The tombstones that lead here, those of tombstones too."""
    found, ahead = [], [lead_id]
    while ahead:
        ahead = list((await connection.execute(select(LEADS.c.id).where(among(LEADS.c.merged_into, ahead)))).scalars())
        found += ahead
    return sorted(found)


async def known_by(connection: AsyncConnection, scored: Scored) -> set[Name]:
    """The ids that lead here, and every address that was ever named."""
    owned = await connection.execute(select(IDENTITIES.c.identity).where(IDENTITIES.c.lead_id == scored.lead.id))
    names = {_name(identity) for identity in owned.scalars()}
    names |= {Name("user", scored.lead.user_id)} if scored.lead.user_id else set()
    reach = scored.kept.reach
    said: list[Any] = [one.what for one in reach.told] + ([reach.posted.what] if reach.posted else [])
    said += [scored.lead.email, scored.lead.consent.address, reach.given.address, *reach.agreed]
    async for recorded in each_event(connection, scored.lead.id):
        said += [recorded.event.traits.get("email"), recorded.event.properties.get("address")] if _speaks(recorded.event) else []
    return names | {address_name(address) for address in said if isinstance(address, str) and "@" in address}


def _speaks(event: Event) -> bool:
    """Whether an event may name an address of the lead's own."""
    return event.type == "identify" or event.source == OURSELVES


def _name(identity: str) -> Name:
    return Name("user", identity.removeprefix(USER)) if identity.startswith(USER) else Name("device", identity.removeprefix(DEVICE))


def _activity(erasure: Erasure, sequence: int) -> Activity:
    """The last activity of a lead: it says nothing but that there is none any more."""
    event = Event(
        id=f"{erasure.erased}.erased",
        type="track",
        name=ERASED,
        at=erasure.at,
        received_at=erasure.at,
        source=OURSELVES,
        lead_id=erasure.erased,
        trusted=True,
        properties=msgspec.to_builtins(erasure),
    )
    return Activity(sequence=sequence, event=event, lead=Lead(id=erasure.erased, created_at=erasure.at, last_seen_at=erasure.at))


def _suspicions(marks: Marks, roster: Roster, arrival: Arrival, newest: datetime) -> set[str]:
    """The marks that would keep this event out, if they stand in a grave."""
    event, names = arrival.event, arrival.names
    if event.lead_id is not None:
        return set() if roster.living(event.lead_id) else marks.of_all([Name("lead", event.lead_id)])
    if names is None or event.at > newest:
        return set()
    return marks.of_all(_told(roster, names, event))


def _told(roster: Roster, names: Names, event: Event) -> Iterable[Name]:
    if names.user is not None:
        yield _name(names.user)
        if names.user in roster.identities:
            return
    yield from (_name(identity) for identity in names.identities if identity != names.user)
    email = event.traits.get("email")
    if isinstance(email, str) and "@" in email:
        yield address_name(email)


def _grave_of(suspicions: set[str], graves: dict[str, Grave], event: Event) -> Grave | None:
    found = (graves[mark] for mark in sorted(suspicions) if mark in graves)
    return next((grave for grave in found if event.lead_id is not None or event.at <= grave.at), None)
