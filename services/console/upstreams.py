"""How the console reaches the other services: over HTTP under `serve`, in the same process under `run`; the same requests either way."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol

import httpx
from starlette.types import ASGIApp

from shared.errors import Outage

SECONDS = 10.0
"""How long a service may take before it counts as away."""


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
    """Upstreams behind httpx clients; redirects are answers, and proxies of the environment are left aside."""

    def __init__(self, clients: Mapping[str, httpx.AsyncClient]) -> None:
        self._clients = clients

    @classmethod
    def at(cls, urls: Mapping[str, str]) -> "HttpUpstreams":
        return cls({name: _client(url, httpx.AsyncHTTPTransport()) for name, url in urls.items()})

    @classmethod
    def within(cls, apps: Mapping[str, ASGIApp]) -> "HttpUpstreams":
        """The services' applications of this process, called without a socket."""
        return cls(
            {name: _client(f"http://{name}", httpx.ASGITransport(app=app, raise_app_exceptions=False)) for name, app in apps.items()}
        )

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
        client = self._clients[service]
        url = client.base_url.copy_with(raw_path=_target(path, params))
        try:
            answer = await client.request(method, url, headers=headers, content=body)
        except httpx.HTTPError as error:
            raise Outage(f"{service} does not answer") from error
        return Answer(answer.status_code, tuple(answer.headers.multi_items()), answer.content)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


def _client(url: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    forgetful = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # a cookie set for one caller must never travel with the next
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=SECONDS, trust_env=False, cookies=forgetful)


def _target(path: str, params: Mapping[str, str] | str) -> bytes:
    query = params if isinstance(params, str) else str(httpx.QueryParams(params))
    return (f"{path}?{query}" if query else path).encode("latin-1")
