"""Clock times where somebody lives, as instants: when it is nine there on a given day, whatever was done to the clocks that night."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)


def find_zone(name: str) -> ZoneInfo | None:
    """The time zone of that name, or None where there is none. Zones are kept by `zoneinfo` once read."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name of a zone at all; a folder of zones
        return None


def moment_of(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """The instant (UTC) of a local time. One that does not exist is the first that does; one that exists twice is the first."""
    local = datetime.combine(day, clock)
    later, sooner = (_read(local, fold, zone) for fold in (0, 1))
    exists = later.astimezone(zone).replace(tzinfo=None) == local
    return later if exists else _change_between(sooner, later, zone)


def _read(local: datetime, fold: int, zone: ZoneInfo) -> datetime:
    """By the offset before (0) or after (1) a change of the clocks; the same where there is none."""
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant of the new offset, to the second."""
    old = before.astimezone(zone).utcoffset()
    while after - before > SECOND:
        middle = before + (after - before) // SECOND // 2 * SECOND
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
