"""Many small writes as few transactions: while one commits, the next gather. No delay is added; the commit in flight is the gap."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import Outage
from shared.telemetry import log as logger
from shared.work import Outbox, Work

T = TypeVar("T")
R = TypeVar("R")

LARGEST_GROUP = 500
PAUSE = 0.5
"""Seconds between tries while the database is away."""


class GroupCommit(Generic[T, R]):
    """Hands what is put in to `write`, in groups of one transaction each. Belongs to one event loop.

    Holds through an outage. A group that fails is written one by one, so that poison fails alone.
    """

    def __init__(self, outbox: Outbox, write: Callable[[Work, Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._outbox = outbox
        self._write = write
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def put(self, item: T) -> R:
        """Returns when the transaction that holds `item` has committed."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
            await self._answer(group)

    async def _answer(self, group: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            written = await self._commit([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - whoever put it in is told
            if len(group) > 1:
                for each in group:
                    await self._answer([each])
            elif not group[0][1].done():
                group[0][1].set_exception(error)
        else:
            for (_, result), answer in zip(group, written, strict=True):
                if not result.done():
                    result.set_result(answer)

    async def _commit(self, items: Sequence[T]) -> Sequence[R]:
        while True:
            try:
                async with self._outbox.work() as work:
                    return await self._write(work, items)
            except Outage as outage:
                logger.warning("ledger.held", why=str(outage))
                await asyncio.sleep(PAUSE)
