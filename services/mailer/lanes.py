"""What deliveries leave through: the relay, and each endpoint. A lane in trouble holds its own and nobody else's."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from services.mailer.outcomes import Deferred, Delivered, Gone, Held, InDoubt, Outcome, Refused, Unwritten
from shared import wire

RELAY = "relay"
DOMAIN = RELAY + ":"
"""Mail to a domain with a rate of its own waits in a lane of its own, and leaves through the relay as all mail does."""
RELAY_PLACES = 60
ENDPOINT_PLACES = 64
"""Taken in hand together, in one transaction; how many are posted at once is the transport's to say. Even where each takes the longest
that a post may, the last of them goes well within its claim's lease."""
ENDPOINT_REFILL = ENDPOINT_PLACES // 2
"""A lane that has less room than this waits for more: a claim costs a transaction, whether it takes one or many."""

OUTAGE_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 5, 10, 30, 60))
"""While the relay does not answer."""
REFUSAL_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 300, 900))
"""While the relay refuses us: a person must mend it, and knocking harder harms our name."""
STRIKES = 3
"""One mail that the relay will not have from us, or falls silent over, is that mail's trouble; so many in a row are the relay's or ours."""


def lane_of(send: wire.Send) -> str:
    return endpoint_lane(send.endpoint) if send.kind == "handoff" else RELAY


def domain_lane(domain: str) -> str:
    return DOMAIN + domain.casefold()


def is_mail(lane: str) -> bool:
    """Whether it leads to the relay."""
    return lane == RELAY or lane.startswith(DOMAIN)


def endpoint_lane(name: str) -> str:
    return f"endpoint:{name}"


def endpoint_of(lane: str) -> str:
    """The endpoint of a lane; empty for the relay's."""
    return lane.partition(":")[2]


@dataclass(slots=True)
class Lane:
    """How much may be under way in it now. After trouble one delivery tries it alone; an answer opens it again."""

    places: int
    refill: int = 1  # the least room that is worth a claim
    busy: int = 0
    troubles: int = 0
    strikes: int = 0
    held_until: datetime | None = None

    def room(self, now: datetime) -> int:
        if self.held_until is not None and now < self.held_until:
            return 0
        places = 1 if self.troubles else self.places
        free = places - self.busy
        return free if free >= min(self.refill, places) else 0

    def opens_at(self, now: datetime) -> datetime | None:
        """When there is room again; None where that depends on those under way."""
        if self.held_until is not None and now < self.held_until:
            return self.held_until
        return now if self.room(now) > 0 else None

    def learn(self, outcome: Outcome, now: datetime) -> bool:
        """Take an outcome in; True when the lane closes because of it."""
        match outcome:
            case Delivered():
                self.troubles, self.strikes, self.held_until = 0, 0, None
                return False
            case Held(ours=ours):
                return self._close(REFUSAL_PAUSES if ours else OUTAGE_PAUSES, now)
            case Deferred(ours=True) | Refused(ours=True):
                return self._strike(REFUSAL_PAUSES, now)
            case Deferred(unanswered=True) | InDoubt():
                return self._strike(OUTAGE_PAUSES, now)
            case Deferred() | Refused() | Gone():
                self.troubles, self.held_until = 0, None  # it answers
                return False
            case Unwritten():
                return False
            case never:
                assert_never(never)

    def _strike(self, pauses: tuple[timedelta, ...], now: datetime) -> bool:
        self.strikes += 1
        return self.strikes >= STRIKES and self._close(pauses, now)

    def _close(self, pauses: tuple[timedelta, ...], now: datetime) -> bool:
        """Those under way together fail together: that is one trouble."""
        if self.held_until is not None and now < self.held_until:
            return False
        self.held_until = now + pauses[min(self.troubles, len(pauses) - 1)]
        self.troubles += 1
        return True


class Rooms:
    """How many deliveries may be taken in hand, lane by lane; all mail together as many as the relay's lane has room for."""

    def __init__(self, rooms: Mapping[str, int]) -> None:
        self._rooms = dict(rooms)

    def of(self, lane: str) -> int:
        room = self._rooms.get(lane, 0)
        return min(room, self._rooms.get(RELAY, 0)) if is_mail(lane) else room

    def take(self, lane: str, number: int) -> None:
        for taken in {lane, RELAY} if is_mail(lane) else {lane}:
            self._rooms[taken] -= number


def new_lane(name: str) -> Lane:
    return Lane(RELAY_PLACES) if name == RELAY else Lane(ENDPOINT_PLACES, ENDPOINT_REFILL)
