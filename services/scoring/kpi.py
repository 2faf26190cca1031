"""Figures about leads: how many there are of what kind, how many came, who bought. Each is one look into an index, whatever the number."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.identity import USER
from services.scoring.readiness import LOWEST
from services.scoring.store import IDENTITIES, LEADS

HIGHEST = 10


async def count_leads(connection: AsyncConnection, since: datetime) -> dict[str, Any]:
    """The leads of today, and those first seen since then."""
    tombstones = await _count(connection, LEADS.c.merged_into.is_not(None))
    total = await _count(connection) - tombstones
    ready = select(LEADS.c.readiness, func.count()).where(LEADS.c.readiness > LOWEST).group_by(LEADS.c.readiness)
    by_readiness = dict.fromkeys(range(LOWEST, HIGHEST + 1), 0) | {value: count for value, count in await connection.execute(ready)}
    by_readiness[LOWEST] = total - sum(by_readiness.values())
    young = LEADS.c.id >= first_id(since)
    merged = await _count(connection, young, LEADS.c.merged_into.is_not(None))
    bought = await connection.execute(select(func.count(), func.coalesce(func.sum(LEADS.c.orders), 0)).where(LEADS.c.orders > 0))
    customers, orders = bought.one()
    return {
        "total": total,
        "by_readiness": {str(value): count for value, count in sorted(by_readiness.items())},
        "known": await _count_known(connection),
        "mailable": await _count(connection, LEADS.c.mailable),
        "hot": await _count(connection, LEADS.c.hot),
        "sleeping": await _count(connection, LEADS.c.sleeping),
        "new": await _count(connection, young) - merged,
        "merged": merged,
        "orders": orders,
        "customers": customers,
        "repeat_customers": await _count(connection, LEADS.c.orders > 1),
    }


def first_id(since: datetime) -> str:
    """What the ids of leads first seen since then are not smaller than: they begin with the time."""
    return f"{int(since.timestamp() * 1000):012x}"


async def _count(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> int:
    return int((await connection.execute(select(func.count()).select_from(LEADS).where(*conditions))).scalar_one())


async def _count_known(connection: AsyncConnection) -> int:
    users = IDENTITIES.c.identity.between(USER, USER + "\U0010ffff")
    return int((await connection.execute(select(func.count(IDENTITIES.c.lead_id.distinct())).where(users))).scalar_one())
