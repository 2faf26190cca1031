"""How the console reaches the other services: over HTTP under `serve`, in the same process under `run`; the same requests either way."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol

import httpx
import msgspec
from starlette.types import ASGIApp

from shared.errors import Outage

SECONDS = 10.0
"""How long a service may take before it counts as away."""
COUNTING_SECONDS = 60.0
"""And how long where it counts millions of rows."""
CONNECT_SECONDS = 2.0
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=1.0)
"""A connection that was at rest for a second is not used again: a replica that stops takes longer than that to take its leave."""
UNAVAILABLE = 503
SAFE = frozenset({"GET", "HEAD"})
"""What may be asked twice; anything else only where nothing was sent yet."""
PIXEL = "/v1/pixel"
"""Where a GET may be an event, and one without a `messageId` would count twice."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said, whole."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def said(answer: Answer) -> str:
    """The `message` of an answer that says no; its status where it has none."""
    try:
        return str(msgspec.json.decode(answer.body, type=dict)["message"])
    except (msgspec.MsgspecError, KeyError):
        return str(answer.status)


class Upstreams(Protocol):
    """The services by name: ingest, scoring, journeys, mailer."""

    async def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """One request, one answer, whatever its status. Raises Outage where the service does not answer."""
        ...


class HttpUpstreams:
    """Upstreams behind httpx clients; redirects are answers, and proxies of the environment are left aside.

    Each event loop has clients of its own: connections belong to the loop that opened them. A service may have several replicas: any may
    answer, and the one that did last is asked first, unless it took its leave with that answer. One that cannot be reached is passed over
    for the next, one that broke off or is not ready as well, where asking twice does no harm.
    """

    def __init__(self, makers: Mapping[str, Callable[[], list[httpx.AsyncClient]]]) -> None:
        self._makers = makers
        self._clients: dict[tuple[asyncio.AbstractEventLoop, str], list[httpx.AsyncClient]] = {}

    @classmethod
    def at(cls, urls: Mapping[str, str]) -> "HttpUpstreams":
        """Each service's address, or those of its replicas with commas between them."""
        return cls({name: partial(_reaching, given) for name, given in urls.items()})

    @classmethod
    def within(cls, apps: Mapping[str, ASGIApp]) -> "HttpUpstreams":
        """The services' applications of this process, called without a socket."""
        return cls({name: partial(_calling, name, app) for name, app in apps.items()})

    async def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        replicas = self._replicas(service)
        failed: httpx.HTTPError | None = None
        refusal: Answer | None = None
        for client in [*replicas, *replicas[:1]]:  # the first once more: it may only have closed a connection that was at rest
            try:
                found = await _ask(client, method, _target(path, params), headers, body, _patience(path))
            except httpx.HTTPError as error:
                failed = error
                if not _may_ask_again(_is_safe(method, path), error):
                    break
                continue
            if found.status != UNAVAILABLE or not _is_safe(method, path) or len(replicas) == 1:
                replicas.remove(client)
                replicas.insert(len(replicas) if _takes_leave(found) else 0, client)
                return found
            refusal = found
        if refusal is not None:
            return refusal
        raise Outage(f"{service} does not answer") from failed

    async def close(self) -> None:
        """Close the clients of the running loop."""
        loop = asyncio.get_running_loop()
        for key in [key for key in self._clients if key[0] is loop]:
            for client in self._clients.pop(key):
                await client.aclose()

    def _replicas(self, service: str) -> list[httpx.AsyncClient]:
        """The clients of this loop, the one that answered last first."""
        key = (asyncio.get_running_loop(), service)
        if key not in self._clients:
            self._clients[key] = self._makers[service]()
        return self._clients[key]


async def _ask(
    client: httpx.AsyncClient, method: str, target: bytes, headers: Mapping[str, str] | None, body: bytes, patience: httpx.Timeout
) -> Answer:
    url = client.base_url.copy_with(raw_path=target)
    answer = await client.request(method, url, headers=headers, content=body, timeout=patience)
    return Answer(answer.status_code, tuple(answer.headers.multi_items()), answer.content)


def _takes_leave(answer: Answer) -> bool:
    """Whether it was the last one on its connection: so answers who is about to stop."""
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in answer.headers)


def _reaching(urls: str) -> list[httpx.AsyncClient]:
    return [_client(url.strip(), httpx.AsyncHTTPTransport(limits=LIMITS)) for url in urls.split(",")]


def _calling(name: str, app: ASGIApp) -> list[httpx.AsyncClient]:
    return [_client(f"http://{name}", httpx.ASGITransport(app=app, raise_app_exceptions=False))]


def _patience(path: str) -> httpx.Timeout:
    return httpx.Timeout(COUNTING_SECONDS if path.startswith("/api/audit") else SECONDS, connect=CONNECT_SECONDS)


def _is_safe(method: str, path: str) -> bool:
    return method in SAFE and not path.startswith(PIXEL)


def _may_ask_again(safe: bool, error: httpx.HTTPError) -> bool:
    """Whoever is slow is not asked again: the caller has waited long enough."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return True
    return safe and not isinstance(error, httpx.TimeoutException)


def _client(url: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    forgetful = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # a cookie set for one caller must never travel with the next
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=SECONDS, trust_env=False, cookies=forgetful)


def _target(path: str, params: Mapping[str, str] | str) -> bytes:
    query = params if isinstance(params, str) else str(httpx.QueryParams(params))
    return (f"{path}?{query}" if query else path).encode("latin-1")
