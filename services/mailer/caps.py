"""How many marketing mails an address gets in a stretch of time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many `messages` in any stretch of this length."""

    messages: int
    per: timedelta
    skips: bool = True  # what meets it is given up, not put off


def free_at(cap: Cap, mailed: Sequence[datetime], moment: datetime) -> datetime | None:
    """The first moment at which one more is within the cap; None where it is so already. `mailed`: when each went, in any order."""
    counted = sorted(sent_at for sent_at in mailed if sent_at > moment - cap.per)
    return counted[-cap.messages] + cap.per if len(counted) >= cap.messages else None
