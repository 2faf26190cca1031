"""Endpoints that want nothing more: one that answered 410 Gone is asked no more, until its URL changes or somebody opens it again."""

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.lanes import endpoint_lane
from services.mailer.loader import Endpoint
from services.mailer.tables import DELIVERIES, ENDPOINTS, HANDOFFS
from shared.db import upsert
from shared.telemetry import log as logger

D = DELIVERIES.c
E = ENDPOINTS.c
Mark = tuple[str, str]
"""An endpoint by its name and its URL's hash: another URL under the name is another endpoint."""


def mark_of(endpoint: Endpoint) -> Mark:
    """Names an endpoint's URL without keeping it: it may hold a secret."""
    return endpoint.name, hashlib.blake2b(endpoint.url.encode(), digest_size=16).hexdigest()


class Closed:
    """The endpoints that are disabled, as the scheduler last read them: whoever is about to post asks here, and no database."""

    def __init__(self) -> None:
        self._marks: frozenset[Mark] = frozenset()

    def __contains__(self, endpoint: Endpoint) -> bool:
        return mark_of(endpoint) in self._marks

    async def refresh(self, connection: AsyncConnection) -> None:
        self._marks = frozenset((row.name, row.url_hash) for row in await connection.execute(select(E.name, E.url_hash)))


async def disable(connection: AsyncConnection, mark: Mark, reason: str, now: datetime) -> None:
    name, url_hash = mark
    await upsert(connection, ENDPOINTS, [{"name": name, "url_hash": url_hash, "disabled_at": now, "reason": reason}], ["name", "url_hash"])
    logger.warning("endpoint.disabled", endpoint=name, why=reason)


async def load_disabled(connection: AsyncConnection) -> dict[Mark, Any]:
    """Since when, and why."""
    rows = await connection.execute(select(E.name, E.url_hash, E.disabled_at, E.reason))
    return {(row.name, row.url_hash): row for row in rows}


async def enable(connection: AsyncConnection, name: str) -> bool:
    """Ask it again from now on; False where it was not disabled."""
    enabled = await connection.execute(ENDPOINTS.delete().where(E.name == name))
    return enabled.rowcount > 0


async def load_refused(connection: AsyncConnection, name: str) -> list[str]:
    """The webhooks that failed because it was gone or disabled, and whose hand-offs still wait for somebody who takes them."""
    rows = await connection.execute(
        select(D.id)
        .join(HANDOFFS, HANDOFFS.c.delivery_id == D.id)
        .where(
            D.lane == endpoint_lane(name), D.status == "failed", D.reason.in_(("gone", "endpoint_disabled")), HANDOFFS.c.status == "open"
        )
    )
    return list(rows.scalars())
