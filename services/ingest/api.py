"""Ingest's HTTP face: Segment's tracking API as a plain ASGI function, in front of the FastAPI app that answers everything else.

POST /v1/… ──intake──► bytes ──tracking──► the log has them ──► 200

A tracking call costs some tens of microseconds here; as a FastAPI route it would cost three times as much.
"""

import time

from starlette.types import ASGIApp, Receive, Scope, Send

from services.ingest.answers import PREFLIGHT, TAKEN, Answer, come_back, pixel, readable, refusal
from services.ingest.callers import Callers
from services.ingest.intake import Body, Busy, Gone, Headers, Rooms, forwarded_for, pixel_text
from services.ingest.limits import Limits, caller_of
from services.ingest.routes import PIXELS, ROUTES, Route
from services.ingest.tracking import Appends, TooMuch, Tracking
from shared.errors import InvalidMessage, Outage
from shared.http import Problem, timer
from shared.service import Ports
from shared.telemetry import LIMITED_CALLS, RETRIED_CALLS, log

RETRY_SECONDS = 5


class TrackingApi:
    """Answers tracking calls: 200 only when the log has their events."""

    def __init__(self, ports: Ports, log: Appends, others: ASGIApp, memory: int, limits: Limits, proxies: int = 0) -> None:
        self._others = others
        self._rooms = Rooms(memory)
        self._callers = Callers(ports.keys)
        self._tracking = Tracking(ports, log, self._callers, limits)
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        try:
            told = await self._told(scope, receive) if scope["type"] == "http" else None
        except Gone:
            return
        if told is None:
            await self._others(scope, receive, send)
            return
        await send(told[0])
        await send(told[1])
        timer("ingest", told[0]["status"]).observe(time.perf_counter() - began)

    async def _told(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to a tracking call, None to anything else."""
        method, path = scope["method"], scope["path"]
        if method == "POST" and (route := ROUTES.get(path)) is not None:
            headers = Headers.of(scope["headers"])
            told = await self._take(route, headers, scope, receive)
            return told if headers.origin is None else readable(told, headers.origin)
        if method == "OPTIONS" and path in ROUTES:
            return readable(PREFLIGHT, Headers.of(scope["headers"]).origin or b"*")
        if method == "GET" and (route := PIXELS.get(path)) is not None:
            return pixel(await self._take_pixel(route, scope))
        return None

    async def _take(self, route: Route, headers: Headers, scope: Scope, receive: Receive) -> Answer:
        if headers.retries not in (b"", b"0"):
            RETRIED_CALLS.inc()
        body: Body | None = None
        try:
            key = None if headers.token is None else self._callers.known(headers.token)
            body = Body(self._rooms.of(key))
            text = await body.read(receive, headers.encoding)
            if route.is_metrics:
                return TAKEN  # how the browser client itself fares
            return await self._tracking.take(route, key, text, lambda: self._caller(scope))
        except _NOS as why:
            return _no(why)
        finally:
            if body is not None:
                body.let_go()

    async def _take_pixel(self, route: Route, scope: Scope) -> Answer:
        try:
            return await self._tracking.take_pixel(route, pixel_text(scope["query_string"]), lambda: self._caller(scope))
        except _NOS as why:
            return _no(why)

    def _caller(self, scope: Scope) -> str:
        """The network a call comes from."""
        forwarded = forwarded_for(scope["headers"]) if self._proxies else ""
        return caller_of((scope.get("client") or ("",))[0], forwarded, self._proxies)


_NOS = (InvalidMessage, Problem, Busy, TooMuch, Outage)


def _no(why: Exception) -> Answer:
    """What a call is told that cannot be taken, or not now."""
    match why:
        case InvalidMessage():
            return refusal(400, why.code, str(why))
        case Problem():
            return refusal(why.status, why.code, str(why))
        case Busy():
            return come_back(429, "busy", "too much is arriving at once", 1)
        case TooMuch():
            LIMITED_CALLS.inc()
            return come_back(429, "rate_limited", "more events than this key, address or network may send from browsers", why.seconds)
    log.warning("ingest.held", why=str(why))
    return come_back(503, "unavailable", "events cannot be stored now", RETRY_SECONDS)
