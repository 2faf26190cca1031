"""How long, as a marketer writes it: `90s`, `15m`, `2h`, `3d`, `1w`, `1d12h`. A day is 24 hours."""

import re
from datetime import timedelta
from typing import NamedTuple

_UNITS = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
PATTERN = r"^(?=\d)" + "".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS) + "$"
_FORM = re.compile(PATTERN, re.ASCII)
LONGEST = timedelta(days=3660)
_REMEDY = "write numbers with units from large to small, such as 90s, 15m, 2h, 3d, 1w or 1d12h"


def parse_duration(text: str) -> timedelta:
    """Read one duration; ValueError says what is wrong and how to write it. At most ten years."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text[:40]}` is not a duration: {_REMEDY}")
    seconds = sum(int(count) * unit.total_seconds() for count, unit in zip(found.groups(), _UNITS.values(), strict=True) if count)
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"`{text[:40]}` is longer than ten years ({format_duration(LONGEST)})")
    return timedelta(seconds=seconds)


class Offset(NamedTuple):
    """How far from a moment, and to which side: whole days of the calendar, and time that passes."""

    days: int
    rest: timedelta


def parse_offset(text: str) -> Offset:
    """Read an offset, `-1d` or `1d12h`; ValueError as `parse_duration`."""
    size = text.removeprefix("-")
    whole = parse_duration(size)
    weeks, days = (int(found[1]) if (found := re.search(rf"(\d+){unit}", size)) else 0 for unit in "wd")
    days += 7 * weeks
    rest = whole - timedelta(days=days)
    return Offset(-days, -rest) if size != text else Offset(days, rest)


def format_duration(duration: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it, to the second; one below zero with a minus in front."""
    rest, text = abs(duration), "-" if duration < timedelta(0) else ""
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text if text not in ("", "-") else "0s"
