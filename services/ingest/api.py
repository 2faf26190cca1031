"""Ingest's HTTP face: Segment's tracking API as a plain ASGI function, in front of the FastAPI app that answers everything else.

POST /v1/… ──intake──► bytes ──segment──► parcels ──append──► the log has them ──► 200

A tracking call costs some tens of microseconds here; as a FastAPI route it would cost three times as much.
"""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from services.ingest.answers import PREFLIGHT, TAKEN, Answer, answer, readable, refusal
from services.ingest.intake import Body, Busy, Gone, Headers, Rooms
from services.ingest.routes import ROUTES, Route
from services.ingest.segment import Call, Sifted, keys_in, read, sift
from shared.errors import InvalidMessage, Outage
from shared.http import Problem
from shared.keys import Key
from shared.service import Ports
from shared.telemetry import EVENTS_ACCEPTED, EVENTS_REJECTED, RETRIED_CALLS, log
from shared.wire import DEAD_LETTERS, EVENTS, encode

RETRY_SECONDS = 5


def _keyless() -> Problem:
    return Problem(401, "unauthorized", "send the write key as user of Basic authentication, or as `writeKey`")


def _unknown() -> Problem:
    return Problem(401, "unauthorized", "this write key is not known here; `dripline keys list` shows those that are")


class TrackingApi:
    """Answers tracking calls: 200 only when the log has their events."""

    def __init__(self, ports: Ports, others: ASGIApp, memory: int) -> None:
        self._ports = ports
        self._others = others
        self._rooms = Rooms(memory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = ROUTES.get(scope["path"]) if scope["type"] == "http" else None
        if route is not None and scope["method"] == "POST":
            headers = Headers.of(scope["headers"])
            try:
                told = await self._respond(route, headers, receive)
            except Gone:
                return
            start, body = readable(told) if headers.from_page else told
        elif route is not None and scope["method"] == "OPTIONS":
            start, body = PREFLIGHT
        else:
            await self._others(scope, receive, send)
            return
        await send(start)
        await send(body)

    async def _respond(self, route: Route, headers: Headers, receive: Receive) -> Answer:
        body: Body | None = None
        try:
            key = None if headers.token is None else self._key(headers.token)
            body = Body(self._rooms.of(key))
            return await self._take(route, key, headers, body, receive)
        except InvalidMessage as refused:
            return refusal(400, refused.code, str(refused))
        except Problem as problem:
            return refusal(problem.status, problem.code, str(problem))
        except Busy:
            return refusal(429, "busy", "too much is arriving at once", (b"retry-after", b"1"))
        except Outage as outage:
            log.warning("ingest.held", why=str(outage))
            return refusal(503, "unavailable", "events cannot be stored now", (b"retry-after", str(RETRY_SECONDS).encode()))
        finally:
            if body is not None:
                body.let_go()

    async def _take(self, route: Route, key: Key | None, headers: Headers, body: Body, receive: Receive) -> Answer:
        if headers.retries not in (b"", b"0"):
            RETRIED_CALLS.inc()
        text = await body.read(receive, headers.encoding)
        if route.is_metrics:
            return TAKEN  # how the browser client itself fares
        if key is None:
            self._expect_key(text)
        sifted = self._sift(route, key, text)
        if sifted.rejected or sifted.undated:
            await self._set_aside(sifted)
        await self._ports.log.append(EVENTS, sifted.parcels)
        EVENTS_ACCEPTED.inc(sifted.accepted)
        return _told(route, sifted) if sifted.rejected else TAKEN

    def _sift(self, route: Route, key: Key | None, body: bytes) -> Sifted:
        """Judges the events. What it takes them apart into is let go before the log is waited for: it would fill the caches."""
        envelope = read(body, is_batch=route.is_batch)
        key = self._same_key(key, envelope.write_key)
        return sift(envelope, Call(route.type, key.id, key.is_trusted, route.historical, self._ports.clock.now()))

    def _expect_key(self, body: bytes) -> None:
        """Sends a stranger away before his body is taken apart: that may cost a second of everybody's time."""
        named = keys_in(body)
        if not named:
            raise _keyless()
        if not any(self._ports.keys.find(token) for token in named):
            raise _unknown()

    def _same_key(self, key: Key | None, write_key: Any) -> Key:
        """The key of the request, named in its header, its body, or alike in both."""
        if write_key is None:
            if key is None:
                raise _keyless()
            return key
        named = self._key(write_key if isinstance(write_key, str) else "")
        if key is not None and key != named:
            raise Problem(401, "unauthorized", "the header and `writeKey` name different keys")
        return named

    def _key(self, token: str) -> Key:
        key = self._ports.keys.find(token)
        if key is None:
            raise _unknown()
        return key

    async def _set_aside(self, sifted: Sifted) -> None:
        if sifted.undated:
            log.warning("ingest.bad_timestamp", events=sifted.undated)
        await self._ports.log.append(DEAD_LETTERS, [(rejected.id, encode(rejected)) for _, rejected in sifted.rejected])
        for _, rejected in sifted.rejected:
            EVENTS_REJECTED.labels(rejected.code).inc()


def _told(route: Route, sifted: Sifted) -> Answer:
    """One bad event in a batch spoils no other; one sent alone is refused."""
    if not route.is_batch:
        _, rejected = sifted.rejected[0]
        return refusal(400, rejected.code, rejected.message)
    reasons = [{"index": index, "code": rejected.code, "message": rejected.message} for index, rejected in sifted.rejected]
    return answer(200, {"success": True, "rejected": reasons})
