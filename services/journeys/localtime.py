"""Clock times on the lead's own clock: when it is next nine there, when a window opens, what a calendar day earlier is. Pure.

waiting.py asks it; what goes in and comes out are instants.
"""

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from shared.durations import Offset
from shared.local_time import moment_of
from shared.wire import Lead

EVERY_DAY = frozenset(range(7))
"""Monday is 0, as `date.weekday` counts."""

UTC_ZONE = ZoneInfo("UTC")
_DAY = timedelta(days=1)


def zone_of(lead: Lead, otherwise: ZoneInfo) -> ZoneInfo:
    """The lead's zone: its trait `timezone`, else what its newest context said, else the playbook's."""
    return find_zone(lead.traits.get("timezone")) or find_zone(lead.timezone) or otherwise


def find_zone(name: object) -> ZoneInfo | None:
    """The zone of that name; None where there is none."""
    return _zone(name) if isinstance(name, str) and name else None


def next_clock(after: datetime, clock: time, days: frozenset[int], zone: ZoneInfo) -> datetime:
    """The first instant later than `after` when it is this time on one of these days."""
    day = after.astimezone(zone).date()
    while True:
        moment = moment_of(day, clock, zone)
        if moment > after and day.weekday() in days:
            return moment
        day += _DAY


def next_within(since: datetime, opens: time, closes: time, days: frozenset[int], zone: ZoneInfo) -> datetime:
    """The first instant from `since` on that lies in the window: `since` itself inside of it, else its next opening.

    A window that closes at or before the hour it opens at lasts into the next day; `days` are those on which it opens.
    """
    day = since.astimezone(zone).date() - _DAY
    while True:
        begin, end = moment_of(day, opens, zone), moment_of(day if opens < closes else day + _DAY, closes, zone)
        if day.weekday() in days and begin < end and end > since:
            return max(begin, since)
        day += _DAY


def moment_named(value: object, offset: Offset, zone: ZoneInfo) -> datetime | None:
    """The moment that a value names, moved by an offset: its days on the calendar, with the clock as it was; the rest as time that passes.

    ISO text without an offset of its own is a time on the zone's clock. None where the value is no moment, or too far away to be one.
    """
    try:
        named = datetime.fromisoformat(value) if isinstance(value, str) and len(value) >= 8 else value
        if not isinstance(named, datetime):
            return None
        return _shifted(named if named.tzinfo else moment_of(named.date(), named.time(), zone), offset, zone)
    except (ValueError, OverflowError):
        return None


def _shifted(moment: datetime, offset: Offset, zone: ZoneInfo) -> datetime:
    if offset.days:
        local = moment.astimezone(zone)
        moment = moment_of(local.date() + timedelta(days=offset.days), local.time(), zone)
    return moment.astimezone(UTC) + offset.rest


@lru_cache(maxsize=2048)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name of a zone at all; a folder of zones
        return None
