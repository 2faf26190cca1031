"""What is kept of an address itself: that its reader takes a pause, when its owner was asked (by `mailbox_of`) and when he confirmed.

Whoever decides by it locks its row first: one cap, one pause, one confirmation, whichever replica decides.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.tables import ADDRESSES
from shared.db import among, insert_new, upsert

A = ADDRESSES.c


async def lock_addresses(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, Any]:
    """The rows of these addresses (by `address_key`), made where there were none, held until the transaction ends."""
    ordered = sorted(keys)
    await insert_new(connection, ADDRESSES, [{"address": key} for key in ordered], "address")
    rows = await connection.execute(select(ADDRESSES).where(among(A.address, ordered)).order_by(A.address).with_for_update())
    return {row.address: row for row in rows}


async def hold_addresses(connection: AsyncConnection, keys: Iterable[str]) -> None:
    """Where several may write, who marks a mail and who forbids it take turns: none goes after an unsubscription was committed."""
    if connection.dialect.name != "sqlite" and (held := set(keys)):
        await lock_addresses(connection, held)


async def save_addresses(connection: AsyncConnection, keys: Iterable[str], **values: datetime | None) -> None:
    """Set these columns of these addresses."""
    await upsert(connection, ADDRESSES, [{"address": key, **values} for key in sorted(keys)], ["address"])


async def forget_asked(connection: AsyncConnection, asked: Iterable[tuple[str, datetime]]) -> None:
    """These mailboxes were not asked after all at these moments; one that was asked since stays so."""
    rows = [{"mailbox": mailbox, "at": at} for mailbox, at in sorted(asked)]
    if rows:
        await connection.execute(_FORGET, rows)


_FORGET = update(ADDRESSES).where(A.address == bindparam("mailbox"), A.asked_at == bindparam("at")).values(asked_at=None)


async def load_paused(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, datetime]:
    """Until when the readers of these addresses wish to be left alone."""
    rows = await connection.execute(select(A.address, A.paused_until).where(among(A.address, keys), A.paused_until.is_not(None)))
    return {row.address: row.paused_until for row in rows}


async def was_confirmed(connection: AsyncConnection, key: str) -> bool:
    """Whether the owner of this address once agreed by the link in a mail to it."""
    found = await connection.execute(select(A.address).where(A.address == key, A.confirmed_at.is_not(None)))
    return found.one_or_none() is not None
