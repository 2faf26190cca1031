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


LARGEST_STEP = 60.0
"""Seconds by which the wall may step and still be believed at once."""

PROBATION = 60.0
"""Monotonic seconds for which a wall that jumped further ahead must stay there until it is believed (a machine that slept does)."""


class SystemClock:
    """The wall's time, optionally sped up: `--speed 1440` makes a day pass in a minute.

    A wall that jumps is not followed: time goes on by the monotonic clock until the wall is back, or has proved to be ahead.
    `origin` is the virtual instant at construction; it lets a data folder that once ran fast go on where it stopped.
    """

    def __init__(
        self,
        speed: float = 1.0,
        origin: datetime | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._speed = speed
        self._wall = wall
        self._monotonic = monotonic
        self._started = wall()
        self._lead = self._started - monotonic()  # of the wall over the monotonic clock, when it was last believed
        self._jumped = (self._lead, 0.0)  # the lead after the newest jump, and when it was first seen
        self._origin = (origin or datetime.fromtimestamp(self._started, UTC)).timestamp()
        self._latest = self._origin

    def now(self) -> datetime:
        reading = self._origin + (self._real() - self._started) * self._speed
        self._latest = max(self._latest, reading)
        return datetime.fromtimestamp(self._latest, UTC)

    def seconds_until(self, moment: datetime) -> float:
        return max(0.0, (moment - self.now()).total_seconds() / self._speed)

    def _real(self) -> float:
        wall, steady = self._wall(), self._monotonic()
        lead = wall - steady
        if not self._is_credible(lead, steady):
            return steady + self._lead
        self._lead = lead
        self._jumped = (lead, steady)
        return wall

    def _is_credible(self, lead: float, steady: float) -> bool:
        if abs(lead - self._lead) <= LARGEST_STEP:
            return True
        where, since = self._jumped
        if abs(lead - where) > LARGEST_STEP:
            self._jumped = (lead, steady)
            return False
        return lead > self._lead and steady - since >= PROBATION


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
