"""How fast mail may go: the generic cell rate algorithm (ITU-T I.371), handing out its cells a second ahead. Pure.

A rate is a row of slots, evenly apart, each for one mail. All that is kept of it is where the next free slot lies; whoever wants to send
takes some, up to a second ahead: no slot is handed out twice, whichever replica takes it. A slot that nobody used is lost soon after its
moment, so that what was missed is not made up for in one burst.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

SECOND = timedelta(seconds=1)
LEEWAY = timedelta(milliseconds=250)
"""How long a slot is good after its moment: in any stretch `t` there go at most rate × (t + leeway) + 1."""
BEAT = timedelta(milliseconds=100)
"""Slots this near each other are used together: a claim costs a transaction, whether it takes one or many."""


@dataclass(frozen=True, slots=True)
class Share:
    """Slots that are ours: `count` of them, `every` so long, from `first` on; each is good until `leeway` after its moment."""

    first: datetime
    every: timedelta
    count: int
    leeway: timedelta = LEEWAY

    def fresh(self, now: datetime) -> "Share":
        """What is left of it: without the slots that nobody used in time."""
        late = now - self.leeway - self.first
        return self.spent(math.ceil(late / self.every)) if late > timedelta(0) else self

    def spent(self, number: int) -> "Share":
        """Without its first so many slots."""
        number = min(number, self.count)
        return Share(self.first + number * self.every, self.every, self.count - number, self.leeway)

    def open(self, now: datetime) -> int:
        """How many of its slots can be used now; none while only so few have come that waiting for more is better."""
        left = self.fresh(now)
        come = min(left.count, (now - left.first) // left.every + 1)
        return come if come >= left.worth else 0

    def opens_at(self, now: datetime) -> datetime | None:
        """When slots of it can be used; None where none is left."""
        left = self.fresh(now)
        return max(now, left.first + (left.worth - 1) * left.every) if left.count else None

    @property
    def end(self) -> datetime:
        """Where the next slot lies that is free once this share is taken."""
        return self.first + self.count * self.every

    @property
    def last(self) -> datetime:
        """Where its last slot lies."""
        return self.end - self.every

    @property
    def worth(self) -> int:
        return max(1, min(self.count, BEAT // self.every))


def lease(
    per_second: float, free_from: datetime | None, now: datetime, most: int, ahead: timedelta = SECOND, leeway: timedelta = LEEWAY
) -> Share:
    """The slots from the first free one to so far `ahead`, a second at most, and no more than `most`; what comes after them is free.

    A `free_from` too far ahead was written under a slower rate, or before the clock was set right.
    """
    every = SECOND / per_second
    first = now if free_from is None else min(max(free_from, now - leeway), now + SECOND + every)
    return Share(first, every, max(0, min(math.ceil((now + ahead - first) / every), most)), leeway)
