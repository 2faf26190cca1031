"""Hands hot leads over: a signed POST to the endpoint's address (Standard Webhooks 1.0.0), at most as far as the address check allows.

DNS ──every address asked──► socket ──asked again──► TLS ──► POST, signed with each live secret ──► status ──► outcome
"""

import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook
from yarl import URL

from services.mailer.loader import Endpoint
from services.mailer.names import Names
from services.mailer.networks import is_public
from services.mailer.outcomes import Deferred, Delivered, Gone, Refused
from shared import wire

TIMEOUT_SECONDS = 20
LARGEST_ANSWER = 64 * 1024
LONGEST_PAUSE = timedelta(hours=24)
_THROTTLES = frozenset({429, 502, 503, 504})
_HEADERS = {"Content-Type": "application/json", "User-Agent": "Dripline", "Accept": "*/*", "Accept-Encoding": "identity"}
_ABOUT_LEAD = ("id", "email", "user_id", "readiness", "points", "hot", "traits", "tags", "company", "timezone", "locale", "last_seen_at")
_DIGITS = re.compile(r"\d{1,9}", re.ASCII)
_encode = msgspec.json.Encoder().encode


class Forbidden(Exception):
    """The name leads to an address that webhooks must not reach."""


def webhook_body(send: wire.Send, handoff_id: str, respond_url: str | None) -> bytes:
    """The hand-off's body, made once and then sent byte for byte: the lead as it was decided on, why, and how to answer."""
    lead = send.lead
    about = {field: getattr(lead, field) for field in _ABOUT_LEAD} if lead else {"id": send.lead_id}
    told = {
        "lead": about,
        "readiness": lead.readiness if lead else None,
        "reasons": [{field: getattr(reason, field) for field in reason.__struct_fields__} for reason in (lead.reasons if lead else ())][:5],
        "journey": send.journey,
        "step": send.step,
        "note": send.note,
        "handoff_id": handoff_id,
        "respond_url": respond_url,
        "sequence": send.sequence,
    }
    return _encode({"type": "lead.hot", "timestamp": send.reached_at, "data": told})


class WebhookTransport:
    """Posts to endpoints; a hanging or hostile one costs its own delivery twenty seconds, and nobody else anything."""

    def __init__(self, allow_private: bool, *, resolver: AbstractResolver | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """`allow_private` lets webhooks reach the operator's own network, also over plain http."""
        self._allow_private = allow_private
        self._resolver = resolver
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, endpoint: Endpoint, webhook_id: str, body: bytes, at: datetime) -> Delivered | Deferred | Refused | Gone:
        """Post the stored body once. `at` is real time: receivers turn away what is signed five minutes off."""
        url = URL(endpoint.url)
        if url.scheme != "https" and not self._allow_private:
            return Refused("insecure_address", detail="only https leaves the house; DRIPLINE_ALLOW_PRIVATE_WEBHOOKS allows http")
        headers = _HEADERS | signed_headers(endpoint.secrets, webhook_id, body, at)
        try:
            async with self._opened().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return _outcome(answer.status, answer.headers, at)
        except Forbidden as error:
            return Refused("forbidden_address", detail=str(error))
        except aiohttp.InvalidURL as error:
            return Refused("invalid_address", detail=str(error))
        except TimeoutError:
            return Deferred("timeout", detail=f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Deferred("unreachable", detail=f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made on the loop that uses it."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_CheckedResolver(self._resolver or Names(), self._check),
                socket_factory=self._socket,
                use_dns_cache=False,
                happy_eyeballs_delay=None,
                limit=0,  # whoever calls keeps the number small; waiting for a connection here would count as the endpoint's silence
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                read_bufsize=LARGEST_ANSWER,
            )
        return self._session

    def _check(self, address: str) -> None:
        if not self._allow_private and not is_public(address):
            raise Forbidden(f"{address} is not a public address; DRIPLINE_ALLOW_PRIVATE_WEBHOOKS allows it")

    def _socket(self, place: Any) -> socket.socket:
        """The last door: asked for every connection, also where the URL names an address and nothing was resolved."""
        family, kind, protocol, _, address = place
        self._check(address[0])
        return socket.socket(family, kind, protocol)


class _CheckedResolver(AbstractResolver):
    """Resolves a name and refuses all of it if one of its addresses is forbidden."""

    def __init__(self, resolver: AbstractResolver, check: Any) -> None:
        self._resolver = resolver
        self._check = check

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            self._check(each["host"])
        return found

    async def close(self) -> None:
        await self._resolver.close()


def signed_headers(secrets: tuple[str, ...], webhook_id: str, body: bytes, at: datetime) -> dict[str, str]:
    """Standard Webhooks' three headers; with two live secrets two signatures, the newer first."""
    moment = at.astimezone(UTC)  # the library takes the clock face for UTC, whatever the zone
    signatures = [Webhook(secret).sign(webhook_id, moment, body.decode()) for secret in secrets]
    return {"webhook-id": webhook_id, "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": " ".join(signatures)}


def _outcome(status: int, headers: Mapping[str, str], at: datetime) -> Delivered | Deferred | Gone:
    detail = f"HTTP {status}"
    if 200 <= status < 300:
        return Delivered(detail)
    if status == 410:
        return Gone(detail)
    if status in _THROTTLES:
        return Deferred("endpoint_busy", _pause(headers.get("Retry-After", ""), at), detail)
    return Deferred("endpoint_error", detail=detail)


def _pause(asked: str, at: datetime) -> timedelta | None:
    """How long the endpoint asks us to wait (RFC 9110, section 10.2.3: seconds or a date), a day at most."""
    if _DIGITS.fullmatch(asked.strip()):
        return min(timedelta(seconds=int(asked)), LONGEST_PAUSE)
    try:
        until = parsedate_to_datetime(asked)
    except (ValueError, OverflowError):
        return None
    return min(max(until - at, timedelta(0)), LONGEST_PAUSE) if until.tzinfo else None
