"""Fetches the leads that a transaction works on, and saves what became of them: a few bulk statements a batch, whatever its size.

Rows are locked in the order of their ids, and a row found merged is followed to the living one and locked again. What two replicas
both claim first fails on the identity's key: the loser's transaction is run again, and then finds the winner's lead. A lead that was
folded under other definitions than those in force is renewed from its record before anything else is done with it.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Table, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.leads import Definitions, Issued, Roster, Scored
from services.scoring.past import Past, recall
from services.scoring.readiness import LOWEST, earned_at
from services.scoring.tables import EventRow, IdentityRow, LeadRow
from shared.db import among, insert_all, upsert
from shared.wire import ACTIVITIES, Event, Lead, decode_event, encode
from shared.work import Work

LEADS: Table = LeadRow.__table__  # type: ignore[attr-defined]
IDENTITIES: Table = IdentityRow.__table__  # type: ignore[attr-defined]
RECORD: Table = EventRow.__table__  # type: ignore[attr-defined]

PAGE = 1000
"""Recorded events in hand at a time while a lead is renewed."""

decode_scored = msgspec.json.Decoder(Scored).decode


async def recorded(connection: AsyncConnection, ids: Iterable[str]) -> set[str]:
    """Those of these event ids that were folded already."""
    found = await connection.execute(select(RECORD.c.id).where(among(RECORD.c.id, ids)))
    return set(found.scalars())


async def fetch(connection: AsyncConnection, roster: Roster, identities: set[str], lead_ids: set[str]) -> None:
    """Put the leads that these identities and ids lead to into the roster, locked until the transaction ends."""
    if identities:
        owned = select(IDENTITIES.c.identity, IDENTITIES.c.lead_id).where(among(IDENTITIES.c.identity, identities))
        roster.identities = {identity: lead_id for identity, lead_id in await connection.execute(owned)}
    await fetch_leads(connection, roster, lead_ids | set(roster.identities.values()))


async def fetch_leads(connection: AsyncConnection, roster: Roster, ids: Iterable[str]) -> None:
    """Put these leads into the roster, or for a tombstone the lead that it became part of."""
    wanted = set(ids)
    while wanted:
        rows = await connection.execute(
            select(LEADS.c.id, LEADS.c.merged_into, LEADS.c.state).where(among(LEADS.c.id, wanted)).order_by(LEADS.c.id).with_for_update()
        )
        for lead_id, merged_into, state in rows:
            if merged_into is None:
                roster.leads[lead_id] = decode_scored(state)
            else:
                roster.tombstones[lead_id] = merged_into
        wanted = {target for target in roster.tombstones.values() if target not in roster.leads and target not in roster.tombstones}
    version = roster.definitions.version
    if stale := [lead_id for lead_id, scored in roster.leads.items() if scored.version != version]:
        await renew(connection, roster, stale)


async def renew(connection: AsyncConnection, roster: Roster, lead_ids: Iterable[str]) -> None:
    """Fold the record of these leads anew, page by page: the longest takes little more room than the shortest."""
    definitions = roster.definitions
    for lead_id in lead_ids:
        past = Past()
        async for events in _pages(connection, lead_id):
            past = recall(past, events, definitions.rules, definitions.noted, definitions.sleep)
        roster.renew(lead_id, past)


async def _pages(connection: AsyncConnection, lead_id: str) -> AsyncIterator[Sequence[Event]]:
    """The recorded events of a lead, the oldest first."""
    record = select(RECORD.c.at, RECORD.c.id, RECORD.c.event).where(RECORD.c.lead_id == lead_id).order_by(RECORD.c.at, RECORD.c.id)
    page = record
    while rows := (await connection.execute(page.limit(PAGE))).all():
        yield [decode_event(row.event) for row in rows]
        if len(rows) < PAGE:
            return
        at, id = rows[-1].at, rows[-1].id
        page = record.where(RECORD.c.at >= at, or_(RECORD.c.at > at, RECORD.c.id > id))


async def renewed(connection: AsyncConnection, found: Sequence[Scored], definitions: Definitions, now: datetime) -> list[Scored]:
    """Leads to look at only, each as the definitions in force make it."""
    roster = Roster(definitions, now, {scored.lead.id: scored for scored in found})
    if stale := [scored.lead.id for scored in found if scored.version != definitions.version]:
        await renew(connection, roster, stale)
    return [roster.leads[scored.lead.id] for scored in found]


async def save(work: Work, roster: Roster) -> None:
    """Save what became of the leads, record their events, and publish their activities with the transaction."""
    connection = work.conn
    for issued in roster.issued:
        work.publish(ACTIVITIES, issued.activity.lead.id, issued.activity)
    if roster.merged:
        await _follow(connection, roster)
    await insert_all(connection, IDENTITIES, _sorted_identities(roster, roster.claimed))
    await upsert(connection, IDENTITIES, _sorted_identities(roster, roster.moved), ["identity"])
    rows = [_row(roster, roster.leads[lead_id]) for lead_id in roster.changed]
    rows += [_tombstone(roster, lead_id) for lead_id in roster.merged]
    await upsert(connection, LEADS, sorted(rows, key=lambda row: row["id"]), ["id"])
    await insert_all(connection, RECORD, [_recorded(roster, issued) for issued in roster.issued])


async def _follow(connection: AsyncConnection, roster: Roster) -> None:
    """The events and identities of leads that were merged move to the living one."""
    moves = [{"was": lead_id, "becomes": roster.living(lead_id)} for lead_id in sorted(roster.merged)]
    for table in (RECORD, IDENTITIES):
        await connection.execute(update(table).where(table.c.lead_id == bindparam("was")).values(lead_id=bindparam("becomes")), moves)


def _sorted_identities(roster: Roster, identities: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"identity": identity, "lead_id": roster.living(identities[identity])} for identity in sorted(identities)]


def _row(roster: Roster, scored: Scored) -> dict[str, Any]:
    lead = scored.lead
    return {
        "id": lead.id,
        "user_id": lead.user_id,
        "email": lead.email.lower() if lead.email else None,
        "readiness": lead.readiness,
        "hot": lead.hot,
        "sleeping": lead.sleeping,
        "mailable": lead.consent.marketing and lead.email is not None and lead.address_trusted,
        "orders": lead.orders.count,
        "name": _name(lead) if lead.traits else None,
        "sequence": scored.sequence,
        "next_change_at": roster.due[lead.id],
        "merged_into": None,
        "state": encode(scored),
    }


def _name(lead: Lead) -> str | None:
    """What the traits call a lead, as it is searched for: without case, first name before last."""
    traits = lead.traits
    parts = (traits.get(key) for key in ("name", "firstName", "first_name", "lastName", "last_name"))
    return " ".join(part for part in parts if isinstance(part, str)).casefold() or None


def _tombstone(roster: Roster, lead_id: str) -> dict[str, Any]:
    """What is left of a lead that became part of another: where it went, and how much it had told."""
    return {
        "id": lead_id,
        "user_id": None,
        "email": None,
        "readiness": LOWEST,
        "hot": False,
        "sleeping": False,
        "mailable": False,
        "orders": 0,
        "name": None,
        "sequence": roster.merged[lead_id],
        "next_change_at": None,
        "merged_into": roster.living(lead_id),
        "state": b"",
    }


def _recorded(roster: Roster, issued: Issued) -> dict[str, Any]:
    activity = issued.activity
    return {
        "id": activity.event.id,
        "lead_id": roster.living(activity.lead.id),
        "sequence": activity.sequence,
        "at": earned_at(activity.event),
        "event": issued.event,
    }
