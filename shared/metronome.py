"""The beat of every scheduler: asleep until something is due, at most a second, woken early by a commit."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from shared.clock import Clock
from shared.errors import Outage
from shared.telemetry import log as logger

Tick = Callable[[datetime], Awaitable[datetime | None]]
"""Does what is due at the given moment and answers when it wants to be called next (None: nothing is waiting)."""

LONGEST_SLEEP = 1.0  # seconds: a due time that another process wrote is noticed within this
SHORTEST_SLEEP = 0.002  # seconds: what is due but cannot be done now does not spin


class Metronome:
    """Calls one tick for ever. The simulator calls the same tick itself.

    `changes` is a number that stays while nothing is written (`Database.changes`): while it does and nothing is due, beats are left out.
    """

    def __init__(self, name: str, clock: Clock, tick: Tick, changes: Callable[[], int | None] = lambda: None) -> None:
        self._name = name
        self._clock = clock
        self._tick = tick
        self._changes = changes
        self._seen: int | None = None  # the changes that the last beat knew of; None: beat again in any case
        self._due: datetime | None = None
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            await self._beat()
            while not await self._is_woken() and self._is_quiet():
                continue

    def wake(self) -> None:
        """Something may be due now; safe from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def _is_woken(self) -> bool:
        """Sleep; whether it was somebody who ended it."""
        try:
            async with asyncio.timeout(self._sleep()):
                return await self._woken.wait()
        except TimeoutError:
            return False

    def _sleep(self) -> float:
        if self._due is None:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(SHORTEST_SLEEP, self._clock.seconds_until(self._due)))

    def _is_quiet(self) -> bool:
        if self._seen is None or self._seen != self._changes():
            return False
        return self._due is None or self._clock.seconds_until(self._due) > 0

    async def _beat(self) -> None:
        seen, self._seen, self._due = self._changes(), None, None
        try:
            self._due = await self._tick(self._clock.now())
            self._seen = seen
        except Outage as outage:
            logger.warning("metronome.held", name=self._name, why=str(outage))
        except Exception:  # noqa: BLE001 - one bad beat must not stop the clock
            logger.exception("metronome.beat_failed", name=self._name)
