"""How many marketing mails a new sender may send in a day: a ladder of daily caps, climbed by use. Pure.

Receivers mistrust a name that was silent yesterday and sends a hundred thousand mails today. A rung is left for the next when a day used at
least half of it: a name is made by mail that went well, not by days that pass.
"""

from dataclasses import dataclass
from datetime import date

LADDER = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000)


@dataclass(frozen=True, slots=True)
class Climb:
    """Where a sender stands: his rung, and how many of the day's mails went. Past the last rung nothing binds him any more."""

    day: date
    rung: int = 0
    used: int = 0

    @property
    def left(self) -> int | None:
        """How many may go today yet; None: as many as there are."""
        return max(0, LADDER[self.rung] - self.used) if self.rung < len(LADDER) else None


def climb(before: Climb | None, today: date) -> Climb:
    """Where the sender stands today. A day that lies before the last one known is that day still: a zone was changed, or a clock."""
    if before is None:
        return Climb(today)
    if today <= before.day or before.left is None:
        return before
    return Climb(today, before.rung + 1 if before.used * 2 >= LADDER[before.rung] else before.rung)
