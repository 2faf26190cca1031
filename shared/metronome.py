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
SHORTEST_SLEEP = 0.005  # seconds: what is due but cannot be done now does not spin


class Metronome:
    """Calls one tick for ever. The simulator calls the same tick itself."""

    def __init__(self, name: str, clock: Clock, tick: Tick) -> None:
        self._name = name
        self._clock = clock
        self._tick = tick
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            seconds = await self._beat()
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def wake(self) -> None:
        """Something may be due now; safe from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def _beat(self) -> float:
        try:
            due = await self._tick(self._clock.now())
        except Outage as outage:
            logger.warning("metronome.held", name=self._name, why=str(outage))
            return LONGEST_SLEEP
        except Exception:  # noqa: BLE001 - one bad beat must not stop the clock
            logger.exception("metronome.beat_failed", name=self._name)
            return LONGEST_SLEEP
        if due is None:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(SHORTEST_SLEEP, self._clock.seconds_until(due)))
