"""How the pages say things: moments, spans, names and numbers, for people. Pure."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup

UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))
NEARLY = 0.1
"""What is still ahead is called two days until it is well under them: a wait of two days begins as such."""


def moment(value: str | datetime | None) -> datetime | None:
    """An instant from the API's ISO text; None where there is none."""
    if not value:
        return None
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def ago(value: str | datetime | None, now: datetime) -> str:
    """`just now`, `5 minutes ago`, `in 2 days`: coarse, so that a page at rest does not change every second."""
    at = moment(value)
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    if seconds >= 0:
        span = _span(seconds, math.floor)
        return f"{span} ago" if span else "just now"
    span = _span(-seconds, lambda count: math.floor(count + NEARLY))
    return f"in {span}" if span else "in a moment"


def stamp(value: str | datetime | None) -> Markup:
    """A `<time>` element: UTC text, which the page's script turns into the reader's own time."""
    at = moment(value)
    if at is None:
        return Markup("")
    return Markup('<time datetime="{}">{} UTC</time>').format(at.isoformat(), at.strftime("%-d %b %Y, %H:%M"))


def who(lead: Mapping[str, Any]) -> str:
    """What to call a lead: its name, else its address, else its user id, else that it is unknown."""
    traits = lead.get("traits") or {}
    parts = [traits.get(key) for key in ("first_name", "last_name")] if not traits.get("name") else [traits["name"]]
    name = " ".join(str(part) for part in parts if part)
    return name or lead.get("email") or lead.get("user_id") or f"Visitor {str(lead.get('id', ''))[:8]}"


def points(value: float | None) -> str:
    """Signed points with at most two decimals: `+7`, `−0.5`."""
    number = f"{abs(value or 0):.2f}".rstrip("0").rstrip(".")
    return ("−" if (value or 0) < 0 else "+") + number


def count(value: int | None) -> str:
    """A number with its thousands apart."""
    return f"{value or 0:,}".replace(",", "\u202f")


def rate(value: float | None) -> str:
    """A share in percent; a dash where there is nothing to take it of."""
    return "–" if value is None else f"{value:.1%}"


def span(seconds: float | None) -> str:
    """How long something took, coarsely."""
    return "–" if seconds is None else _span(seconds, math.floor) or "less than a minute"


NUMBERS = {"count": count, "rate": rate, "span": span}
"""What the figures' page says numbers with."""


def plain(value: Any) -> str:
    """A JSON value as a person would write it."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(plain(item) for item in value)
        case dict():
            return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
        case _:
            return str(value)


def _span(seconds: float, rounded: Callable[[float], int]) -> str | None:
    for size, unit in UNITS:
        count = rounded(seconds / size)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return None
