"""What becomes of a call whose text has arrived: its key, its limits, its events judged; the good ones to the log, the bad ones aside."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from services.ingest.answers import TAKEN, Answer, answer, refusal
from services.ingest.callers import Callers
from services.ingest.limits import Limits
from services.ingest.routes import Route
from services.ingest.segment import Call, Envelope, Sifted, addresses_in, read, sift, unreadable
from shared.errors import InvalidMessage
from shared.failpoints import passing
from shared.http import Problem
from shared.keys import Key
from shared.service import Ports
from shared.telemetry import EVENTS_ACCEPTED, EVENTS_REJECTED, log
from shared.wire import DEAD_LETTERS, EVENTS, Rejected, encode

LONGEST_WAIT = 300
"""Seconds: no client of Segment's waits longer, whatever `Retry-After` says."""

Caller = Callable[[], str]
"""Asks which network a call comes from; only calls by browsers are asked."""


class Appends(Protocol):
    """What durably takes events: a log, or under `serve` one with a spool before it."""

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None: ...


class TooMuch(Exception):
    """A browser's key brings more than it may: the caller should wait so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = min(LONGEST_WAIT, math.ceil(seconds))


class Tracking:
    """Takes calls. What it answers is durable; where it cannot be it raises Outage."""

    def __init__(self, ports: Ports, log: Appends, callers: Callers, limits: Limits) -> None:
        self._log = log
        self._clock = ports.clock
        self._callers = callers
        self._limits = limits

    async def take(self, route: Route, key: Key | None, text: bytes, caller: Caller) -> Answer:
        """`key` is that of the header, None where it had none."""
        if key is None:
            self._callers.named_in(text)
        sifted = self._sift(route, key, text, caller)
        if sifted.rejected or sifted.undated:
            await self._set_aside([rejected for _, rejected in sifted.rejected], sifted.undated)
        passing("ingest.before_append")
        await self._log.append(EVENTS, sifted.parcels)
        passing("ingest.after_append")
        EVENTS_ACCEPTED.inc(sifted.accepted)
        return _told(route, sifted) if sifted.rejected else TAKEN

    async def take_pixel(self, route: Route, text: bytes, caller: Caller) -> Answer:
        """An event that an image's address tells; nobody reads the answer, so that what cannot be read at all is set aside as well."""
        key = self._callers.named_in(text)
        if key.kind == "secret":
            raise Problem(403, "forbidden", "a secret key must not stand where readers see it; use a write key")
        try:
            envelope = read(text, is_batch=False)
        except InvalidMessage as why:
            self._admit(key, None, caller)
            call = Call(route.type or "track", key.id, False, False, self._clock.now())
            await self._set_aside([unreadable(why, text, call)])
            return TAKEN
        said = getattr(envelope.glances[0], "type", None)
        return await self.take(Route(type=route.type or str(said or "track")), None, text, caller)

    def _sift(self, route: Route, key: Key | None, text: bytes, caller: Caller) -> Sifted:
        """Judges the events. What it takes them apart into is let go before the log is waited for: it would fill the caches."""
        envelope = read(text, is_batch=route.is_batch)
        key = self._callers.agreed(key, envelope.write_key)
        if key.kind == "write":
            self._admit(key, envelope, caller)
        return sift(envelope, Call(route.type, key.id, key.is_trusted, route.historical, self._clock.now()))

    def _admit(self, key: Key, envelope: Envelope | None, caller: Caller) -> None:
        """Raises TooMuch."""
        events, addresses = (1, frozenset[str]()) if envelope is None else (len(envelope.texts), addresses_in(envelope))
        wait = self._limits.admit(key.id, caller(), addresses, events, self._clock.now().timestamp())
        if wait:
            raise TooMuch(wait)

    async def _set_aside(self, rejected: Sequence[Rejected], undated: int = 0) -> None:
        if undated:
            log.warning("ingest.bad_timestamp", events=undated)
        passing("ingest.before_set_aside")
        await self._log.append(DEAD_LETTERS, [(one.id, encode(one)) for one in rejected])
        passing("ingest.after_set_aside")
        for one in rejected:
            EVENTS_REJECTED.labels(one.code).inc()


def _told(route: Route, sifted: Sifted) -> Answer:
    """One bad event in a batch spoils no other; one sent alone is refused."""
    if not route.is_batch:
        _, rejected = sifted.rejected[0]
        return refusal(400, rejected.code, rejected.message)
    reasons = [{"index": index, "code": rejected.code, "message": rejected.message} for index, rejected in sifted.rejected]
    return answer(200, {"success": True, "rejected": reasons})
