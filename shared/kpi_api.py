"""`/api/kpi` of a service: its figures of the last days; the front puts them together."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.http import allow
from shared.service import Ports

Days = Annotated[int, Query(ge=1, le=365)]
Count = Callable[[AsyncConnection, datetime], Awaitable[Any]]


def kpi_routes(ports: Ports, counts: dict[str, Count]) -> APIRouter:
    """`counts` are asked in one snapshot, each for what happened since a moment."""
    router = APIRouter()

    @router.get("/api/kpi", dependencies=[allow("viewer", "sales", "marketer")])
    async def kpi(days: Days = 30) -> dict[str, Any]:
        since = ports.clock.now() - timedelta(days=days)
        async with ports.database.reading() as connection:
            return {"days": days, "since": since} | {name: await count(connection, since) for name, count in counts.items()}

    return router
