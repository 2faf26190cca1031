"""A register: what was said last of one thing, by the events' own times. Pure.

Of what was said at the same moment the greater JSON text counts, so the same words in any order leave the same register.
"""

from datetime import datetime
from typing import Any, NamedTuple

from shared.wire import encode


class Said(NamedTuple):
    """What was said, and when."""

    what: Any
    at: datetime


def later(one: Said | None, other: Said | None) -> Said | None:
    """The one that counts."""
    if one is None or other is None:
        return one or other
    return other if is_later(other.at, other.what, one.at, one.what) else one


def is_later(at: datetime | None, value: Any, than_at: datetime | None, than: Any) -> bool:
    """Whether a value said at a moment counts before another; one said at no moment never does."""
    if at is None or than_at is None or at != than_at:
        return at is not None and (than_at is None or at > than_at)
    return encode(value) > encode(than)
