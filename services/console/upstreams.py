"""How the console reaches the other services: over HTTP under `serve`, in the same process under `run`; the same requests either way."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol

import httpx
from starlette.types import ASGIApp

from shared.errors import Outage

SECONDS = 10.0
"""How long a service may take before it counts as away."""
COUNTING_SECONDS = 60.0
"""And how long where it counts millions of rows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said, whole."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


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

    Each event loop has clients of its own: connections belong to the loop that opened them.
    """

    def __init__(self, makers: Mapping[str, Callable[[], httpx.AsyncClient]]) -> None:
        self._makers = makers
        self._clients: dict[tuple[asyncio.AbstractEventLoop, str], httpx.AsyncClient] = {}

    @classmethod
    def at(cls, urls: Mapping[str, str]) -> "HttpUpstreams":
        return cls({name: partial(_reaching, url) for name, url in urls.items()})

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
        client = self._client(service)
        url = client.base_url.copy_with(raw_path=_target(path, params))
        try:
            answer = await client.request(method, url, headers=headers, content=body, timeout=_patience(path))
        except httpx.HTTPError as error:
            raise Outage(f"{service} does not answer") from error
        return Answer(answer.status_code, tuple(answer.headers.multi_items()), answer.content)

    async def close(self) -> None:
        """Close the clients of the running loop."""
        loop = asyncio.get_running_loop()
        for key in [key for key in self._clients if key[0] is loop]:
            await self._clients.pop(key).aclose()

    def _client(self, service: str) -> httpx.AsyncClient:
        key = (asyncio.get_running_loop(), service)
        if key not in self._clients:
            self._clients[key] = self._makers[service]()
        return self._clients[key]


def _reaching(url: str) -> httpx.AsyncClient:
    return _client(url, httpx.AsyncHTTPTransport())


def _calling(name: str, app: ASGIApp) -> httpx.AsyncClient:
    return _client(f"http://{name}", httpx.ASGITransport(app=app, raise_app_exceptions=False))


def _patience(path: str) -> float:
    return COUNTING_SECONDS if path.startswith("/api/audit") else SECONDS


def _client(url: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    forgetful = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # a cookie set for one caller must never travel with the next
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=SECONDS, trust_env=False, cookies=forgetful)


def _target(path: str, params: Mapping[str, str] | str) -> bytes:
    query = params if isinstance(params, str) else str(httpx.QueryParams(params))
    return (f"{path}?{query}" if query else path).encode("latin-1")
