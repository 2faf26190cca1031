"""The only place that asks what time it is. Everything else is handed `now`."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Aware UTC instants that never run backwards."""

    def now(self) -> datetime: ...

    def seconds_until(self, moment: datetime) -> float:
        """Real seconds to sleep until `moment` by this clock; 0 when it has passed."""
        ...


class SystemClock:
    """The wall's time, optionally sped up: `--speed 1440` makes a day pass in a minute.

    `origin` is the virtual instant at construction; it lets a data folder that once ran fast go on where it stopped.
    """

    def __init__(self, speed: float = 1.0, origin: datetime | None = None, wall: Callable[[], float] = time.time) -> None:
        self._speed = speed
        self._wall = wall
        self._started = wall()
        self._origin = (origin or datetime.fromtimestamp(self._started, UTC)).timestamp()
        self._latest = self._origin

    def now(self) -> datetime:
        reading = self._origin + (self._wall() - self._started) * self._speed
        self._latest = max(self._latest, reading)
        return datetime.fromtimestamp(self._latest, UTC)

    def seconds_until(self, moment: datetime) -> float:
        return max(0.0, (moment - self.now()).total_seconds() / self._speed)


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def seconds_until(self, moment: datetime) -> float:
        return max(0.0, (moment - self._now).total_seconds())

    def advance(self, by: timedelta) -> None:
        self._now += by


def real_now() -> datetime:
    """The true UTC time, for what leaves the house: mail's `Date`, webhook timestamps, certificates."""
    return datetime.now(UTC)
