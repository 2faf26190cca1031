"""How long sales has to answer a hand-off: round the clock, or counted in working hours. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from shared.local_time import moment_of

DAY = timedelta(days=1)
NOTHING = timedelta(0)
LONGEST = timedelta(days=3660)
"""An SLA that would end later ends then: nobody waits longer for an answer."""


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """When somebody works: from `opens` to `closes` by the clocks of `zone`, on `days` (Monday is 0). Midnight as `closes` ends the day."""

    days: frozenset[int]
    opens: time
    closes: time
    zone: ZoneInfo

    def after(self, start: datetime, length: timedelta) -> datetime:
        """The first moment by which that much working time has passed since `start`."""
        for opens, closes in self._shifts(start):
            begins = max(opens, start)
            if begins > start + LONGEST:
                break
            if length <= closes - begins:
                return begins + length
            length -= closes - begins
        return start + LONGEST

    def between(self, start: datetime, end: datetime) -> timedelta:
        """How much of the time between them is working time."""
        passed = NOTHING
        for opens, closes in self._shifts(start):
            if opens >= end:
                break
            passed += min(closes, end) - max(opens, start)
        return passed

    def _shifts(self, since: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Those that end after `since`, in order; a change of the clocks makes one longer or shorter, or leaves nothing of it."""
        day = since.astimezone(self.zone).date()
        while True:
            if day.weekday() in self.days:
                opens = moment_of(day, self.opens, self.zone)
                closes = moment_of(day if self.closes > self.opens else day + DAY, self.closes, self.zone)
                if opens < closes > since:
                    yield opens, closes
            day += DAY


@dataclass(frozen=True, slots=True)
class Sla:
    """The time sales has; with `hours` only working time counts."""

    length: timedelta
    hours: WorkingHours | None = None

    def ends(self, since: datetime) -> datetime:
        return self._after(since, self.length)

    def put_off(self, ends: datetime, since: datetime, until: datetime) -> datetime:
        """The new end of one that would have ended at `ends`, when its clock stands still from `since` to `until`."""
        if self.hours is None:
            return until + max(ends - since, NOTHING)
        return self._after(until, self.hours.between(since, ends))

    def _after(self, start: datetime, length: timedelta) -> datetime:
        return start + min(length, LONGEST) if self.hours is None else self.hours.after(start, length)
