"""When readers are left alone: by the hours of their own clock, and on whole days. Pure.

quiet hours 21:00 to 08:00, days [fri]        Thu ▁▁▁▁▁▁▁▁▁▁▁▁▁▁█████ Fri ████████████████████ Sat █████▁▁▁▁▁▁▁▁▁▁▁
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shared.local_time import moment_of

DAY = timedelta(days=1)
MIDNIGHT = time(0)
LONGEST = timedelta(days=15)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to `end` of every day, over midnight where `end` is not the later; and the whole of `days` (0 is Monday)."""

    start: time | None
    end: time | None
    days: frozenset[int] = frozenset()
    skips: bool = False  # what meets them is given up, not put off


def quiet_until(quiet: QuietHours, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """When the quiet that holds at this moment ends; None where none holds. Stretches that touch are one."""
    end = moment
    while end - moment < LONGEST and (later := _end(quiet, zone, end)) is not None:
        end = later
    return end if end > moment else None


def _end(quiet: QuietHours, zone: ZoneInfo, moment: datetime) -> datetime | None:
    today = moment.astimezone(zone).date()
    stretches = (stretch for day in (today - DAY, today) for stretch in _stretches(quiet, zone, day))
    return max((end for start, end in stretches if start <= moment < end), default=None)


def _stretches(quiet: QuietHours, zone: ZoneInfo, day: date) -> Iterator[tuple[datetime, datetime]]:
    """Those that begin on this day."""
    if quiet.start is not None and quiet.end is not None:
        ends_on = day if quiet.end > quiet.start else day + DAY
        yield moment_of(day, quiet.start, zone), moment_of(ends_on, quiet.end, zone)
    if day.weekday() in quiet.days:
        yield moment_of(day, MIDNIGHT, zone), moment_of(day + DAY, MIDNIGHT, zone)
