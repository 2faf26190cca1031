"""Two replicas meet at one row in the order that the test wants: the first stops before its commit until the other has come to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from shared.db import Database
from shared.errors import Outage
from shared.work import Outbox, Work

Does = Callable[[], Awaitable[Any]]
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def meet(outbox: Outbox, first: Does, second: Does, watcher: Database) -> None:
    """`first`, whose works `outbox` opens, has done all but commit when `second` begins; it commits when that waits or is through."""
    here, go = asyncio.Event(), asyncio.Event()
    opened = outbox.work

    @asynccontextmanager
    async def halted() -> AsyncIterator[Work]:
        async with opened() as work:
            yield work
            here.set()
            await go.wait()

    outbox.work = halted  # type: ignore[method-assign]
    ahead = asyncio.create_task(tried(first))
    async with asyncio.timeout(30):
        await here.wait()
        outbox.work = opened  # type: ignore[method-assign]
        behind = asyncio.create_task(tried(second))
        await _comes_as_far_as_it_can(behind, watcher)
        go.set()
        await asyncio.gather(ahead, behind)


async def tried(does: Does) -> None:
    """As consumers and metronomes do: an outage (the other was faster) is tried again."""
    while True:
        try:
            await does()
        except Outage:
            await asyncio.sleep(0)
        else:
            return


async def _comes_as_far_as_it_can(task: asyncio.Task[None], watcher: Database) -> None:
    if watcher.url.startswith("sqlite"):
        return  # one writer at a time: it cannot be through before the first has committed
    while not task.done():
        async with watcher.reading() as connection:
            if (await connection.execute(text(WAITS))).scalar_one():
                return
        await asyncio.sleep(0.005)
