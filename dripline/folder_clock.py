"""The clock of a data folder: it never shows less than it once did, whatever speed the folder ran at and however its process ended."""

from datetime import datetime, timedelta

from dripline.data_folder import DataFolder
from shared.clock import SystemClock, real_now

EVERY = timedelta(seconds=4)
"""How often `reserve` is called, in real time."""

AHEAD = timedelta(seconds=12)
"""How much real time a reservation lasts: a process that is killed loses at most this much of its folder's future."""

NOTICED = timedelta(seconds=1)
"""Where the clock is less than this ahead of the wall's, the wall's alone is enough to go on from."""


class FolderClock:
    """The wall's time, or, where the folder once ran ahead of it, a time that goes on from there.

    The folder holds a time that this clock has not reached yet; the next process starts there, so it is never behind a killed one.
    """

    def __init__(self, folder: DataFolder, speed: float = 1.0) -> None:
        self.speed = speed
        self._folder = folder
        self._ahead = AHEAD * speed
        reserved = folder.reserved_time()
        self._clock = SystemClock(speed, max(reserved, real_now()) if reserved else None)
        self.reserve()

    def now(self) -> datetime:
        return self._clock.now()

    def seconds_until(self, moment: datetime) -> float:
        return self._clock.seconds_until(moment)

    def reserve(self) -> None:
        """Reserve the time that this clock will show until well after the next call. Raises Outage where the disk takes nothing."""
        until = self.now() + self._ahead
        if until > real_now() + AHEAD + NOTICED:
            self._folder.reserve_time(until)

    def give_back(self) -> None:
        """At a clean end: the next process may go on from this very moment. Raises Outage as `reserve` does."""
        now = self.now()
        if now > real_now() + NOTICED:
            self._folder.reserve_time(now)
