"""The mailer's own view of each lead, kept from activities, and who must not be mailed.

A lead that became part of another stays as a tombstone: whatever still names it (a message, a token, a late activity) finds the survivor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.addresses import hold_addresses
from services.mailer.policy import Suppression, address_key
from services.mailer.tables import DELIVERIES, HANDOFFS, LEADS, SUPPRESSIONS
from shared import wire
from shared.db import among, insert_new, upsert

_decode_lead = msgspec.json.Decoder(wire.Lead).decode


@dataclass(frozen=True, slots=True)
class Profile:
    """A lead as one of its activities told, still in the bytes it came in."""

    id: str
    sequence: int
    address: str | None
    lead: bytes


async def unknown(connection: AsyncConnection, lead_ids: Iterable[str]) -> set[str]:
    """Those of the ids that no activity has told of yet."""
    asked = set(lead_ids)
    if not asked:
        return asked
    found = await connection.execute(select(LEADS.c.id).where(among(LEADS.c.id, asked)))
    return asked - set(found.scalars())


async def save_profiles(connection: AsyncConnection, profiles: Mapping[str, Profile]) -> set[str]:
    """Keep the newest of each lead; an older one than is kept, or one of a merged lead, changes nothing. Answers the ids seen first.

    Activities and messages tell of the same lead at once, to two replicas: whose row is inserted first is judged by its sequence like any.
    """
    told = [profiles[lead_id] for lead_id in sorted(profiles)]
    new: set[str] = await insert_new(connection, LEADS, [_row(profile) for profile in told], "id")
    stored = select(LEADS.c.id, LEADS.c.sequence, LEADS.c.merged_into).where(among(LEADS.c.id, profiles.keys() - new)).order_by(LEADS.c.id)
    known = {row.id: row for row in await connection.execute(stored.with_for_update())}
    newer = [profile for profile in told if _is_newer(profile, known.get(profile.id))]
    await upsert(connection, LEADS, [_row(profile) for profile in newer], ["id"])
    return new


def _is_newer(profile: Profile, kept: Any) -> bool:
    return kept is not None and kept.merged_into is None and profile.sequence > kept.sequence


def _row(profile: Profile) -> dict[str, object]:
    """The address stands in it by its key: a lead is found however his address is written."""
    address = None if profile.address is None else address_key(profile.address)
    return {"id": profile.id, "sequence": profile.sequence, "address": address, "lead": profile.lead}


async def merge(connection: AsyncConnection, merges: Mapping[str, str]) -> None:
    """Make each key a tombstone and move its deliveries and hand-offs to the lead that it became part of."""
    now_is = await resolve(connection, merges.values())
    moved = [(gone, now_is[survivor]) for gone, survivor in merges.items() if now_is[survivor] != gone]
    if not moved:
        return
    tombstones = [{"id": gone, "sequence": 0, "address": None, "lead": b"", "merged_into": survivor} for gone, survivor in moved]
    await upsert(connection, LEADS, tombstones, ["id"])
    for table in (DELIVERIES, HANDOFFS):
        move = update(table).where(table.c.lead_id == bindparam("gone")).values(lead_id=bindparam("survivor"))
        await connection.execute(move, [{"gone": gone, "survivor": survivor} for gone, survivor in moved])


async def resolve(connection: AsyncConnection, lead_ids: Iterable[str]) -> dict[str, str]:
    """Each id with the lead that it is now."""
    now_is = {lead_id: lead_id for lead_id in lead_ids}
    while True:
        asked = set(now_is.values())
        found = await connection.execute(
            select(LEADS.c.id, LEADS.c.merged_into).where(among(LEADS.c.id, asked), LEADS.c.merged_into.is_not(None))
        )
        moved = {row.id: row.merged_into for row in found}
        if not moved:
            return now_is
        now_is = {lead_id: moved.get(target, target) for lead_id, target in now_is.items()}


async def load_leads(connection: AsyncConnection, lead_ids: Iterable[str]) -> dict[str, wire.Lead]:
    """The leads that are known, by the id they were asked for."""
    now_is = await resolve(connection, set(lead_ids))
    found = await connection.execute(select(LEADS.c.id, LEADS.c.lead).where(among(LEADS.c.id, set(now_is.values())), LEADS.c.lead != b""))
    leads = {row.id: _decode_lead(row.lead) for row in found}
    return {asked: leads[is_now] for asked, is_now in now_is.items() if is_now in leads}


async def find_by_address(connection: AsyncConnection, address: str) -> str | None:
    """The lead whose address this is; of several the one seen last. One that only a browser says to have it is not."""
    found = await connection.execute(select(LEADS.c.lead).where(LEADS.c.address == address_key(address), LEADS.c.lead != b""))
    leads = [lead for lead in map(_decode_lead, found.scalars()) if lead.address_trusted]
    best = max(leads, key=lambda lead: (lead.last_seen_at, lead.id), default=None)
    return None if best is None else best.id


async def load_suppressions(connection: AsyncConnection, addresses: Iterable[str]) -> dict[str, list[Suppression]]:
    """What stands against each of the addresses, by `address_key`."""
    keys = {address_key(address) for address in addresses}
    if not keys:
        return {}
    rows = await connection.execute(select(SUPPRESSIONS).where(among(SUPPRESSIONS.c.address, keys)))
    found: dict[str, list[Suppression]] = {}
    for row in rows:
        found.setdefault(row.address, []).append(Suppression(row.scope, row.reason, row.at))
    return found


async def save_suppressions(connection: AsyncConnection, rows: Sequence[dict[str, object]]) -> None:
    """Keep the suppressions; one that is there already takes the new reason and time. Whoever marks a mail to such an address waits."""
    kept = [row | {"address": address_key(str(row["address"]))} for row in rows]
    await hold_addresses(connection, {str(row["address"]) for row in kept})
    await upsert(connection, SUPPRESSIONS, kept, ["address", "scope"])
