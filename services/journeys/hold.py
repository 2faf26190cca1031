"""Whether wakes must wait: what waits to be handled may be the purchase that ends a walk.

event ──► topic `events` ──► scoring ──► topic `activities` ──► journeys: a backlog of either keeps wakes back (docs/adr/0010)
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from shared.errors import Outage

BEARABLE = timedelta(seconds=30)
LONGEST_HOLD = timedelta(minutes=15)
UNKNOWN = datetime.min.replace(tzinfo=UTC)

Backlog = Callable[[], datetime | None]
"""When the oldest record came that is not settled; None when caught up. Raises Outage while that is not known."""


class Hold:
    """On while the oldest record in the way of an event has waited longer than 30 s, at most 15 min.

    What scoring makes of an old backlog is young on the next topic: so once on, it stays on until journeys has also handled what was
    there when scoring had caught up. Nobody asks while nothing is to be woken: if all that waits came after the last asking, an earlier
    hold is over. Where it is not known what waits, all may be waiting.
    """

    def __init__(self, events: Backlog, activities: Backlog) -> None:
        self._events = events
        self._activities = activities
        self._asked_at: datetime | None = None
        self._since: datetime | None = None
        self._caught_up_at: datetime | None = None  # when, while on, both backlogs were first seen bearable

    def is_on(self, now: datetime) -> bool:
        """Asked at every beat that has something to wake."""
        try:
            events, activities = self._events(), self._activities()
        except Outage:
            events = activities = UNKNOWN
        oldest = min((moment for moment in (events, activities) if moment is not None), default=None)
        if self._is_forgotten(oldest, now):
            self._since = self._caught_up_at = None
        self._asked_at = now
        if not self._is_behind(oldest, activities, now):
            self._since = self._caught_up_at = None
            return False
        self._since = self._since or now
        return now - self._since < LONGEST_HOLD

    def _is_forgotten(self, oldest: datetime | None, now: datetime) -> bool:
        if self._asked_at is None or now - self._asked_at <= BEARABLE:
            return False
        return oldest is None or oldest is UNKNOWN or oldest > self._asked_at

    def _is_behind(self, oldest: datetime | None, activities: datetime | None, now: datetime) -> bool:
        if oldest is not None and now - oldest > BEARABLE:
            self._caught_up_at = None
            return True
        if self._since is None:
            return False
        self._caught_up_at = self._caught_up_at or now
        return activities is not None and activities <= self._caught_up_at
