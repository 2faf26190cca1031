"""The request as it arrives: its headers, and its body within its limits while it streams in."""

import asyncio
import binascii
import zlib
from base64 import b64decode
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Message, Receive

from shared.errors import InvalidMessage, Outage
from shared.keys import Key

LARGEST_BODY = 1 << 20
LARGEST_INFLATED = 4 << 20
BODY_SECONDS = 60.0
"""How long a body may take to arrive."""
STRANGERS_SECONDS = 20.0
"""The same for a body that no secret key came before."""
STRANGERS_SHARE, BROWSERS_SHARE = 8, 4
"""The part of all memory for bodies, one in so many, that is for those that no key came before, and for those that a write key did."""
_PLAIN = ("", "identity")
_URL_SAFE = str.maketrans("-_", "+/")


class Busy(Exception):
    """More is arriving than we want to hold in memory: the caller should wait a moment."""


class Gone(Exception):
    """The client hung up; there is nobody to answer."""


@dataclass(slots=True)
class Headers:
    """What ingest wants to know of a request's headers. `token` is that of Basic authentication, empty where it is there but broken."""

    token: str | None
    encoding: str
    retries: bytes
    origin: bytes | None  # of the web page that calls

    @classmethod
    def of(cls, raw: Iterable[tuple[bytes, bytes]]) -> "Headers":
        found = dict(raw)
        authorization = found.get(b"authorization")
        encoding = found.get(b"content-encoding")
        return cls(
            None if authorization is None else _basic_token(authorization),
            "" if encoding is None else encoding.decode("latin-1").strip().lower(),
            found.get(b"x-retry-count", b"").strip(),
            found.get(b"origin"),
        )


def forwarded_for(raw: Iterable[tuple[bytes, bytes]]) -> str:
    """The addresses that proxies wrote down, and before them whatever the caller did."""
    return b",".join(value for name, value in raw if name == b"x-forwarded-for").decode("latin-1")


@lru_cache(4096)
def _basic_token(value: bytes) -> str | None:
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return b64decode(encoded).partition(b":")[0].decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def pixel_text(query: bytes) -> bytes:
    """What `?data=` says in base64, of either alphabet and with or without its end; empty where it says nothing."""
    said = parse_qs(query.decode("latin-1")).get("data", [""])[0].replace(" ", "+").translate(_URL_SAFE).rstrip("=")
    try:
        return b64decode(said + "=" * (-len(said) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


class Room:
    """How many bytes of bodies may be held at once, by all requests that share it, and how long each may take to arrive."""

    def __init__(self, size: int, seconds: float) -> None:
        self._left = size
        self.seconds = seconds

    def take(self, size: int) -> None:
        """Raises Busy where there is no room."""
        if size > self._left:
            raise Busy
        self._left -= size

    def give_back(self, size: int) -> None:
        self._left += size


class Rooms:
    """Rooms apart, so that whoever likes, slowly or in bulk, keeps no server out: write keys are public, and some come only in the body."""

    def __init__(self, size: int) -> None:
        strangers, browsers = size // STRANGERS_SHARE, size // BROWSERS_SHARE
        self._strangers = Room(strangers, STRANGERS_SECONDS)
        self._browsers = Room(browsers, STRANGERS_SECONDS)
        self._servers = Room(size - strangers - browsers, BODY_SECONDS)

    def of(self, key: Key | None) -> Room:
        """The room for a request whose header named this key, or none."""
        if key is None:
            return self._strangers
        return self._servers if key.kind == "secret" else self._browsers


class _First:
    """The first message, taken at once where it is there already: only one that is not has to pay for a time limit."""

    __slots__ = ("_steps", "_waits_for", "message")

    def __init__(self, receive: Receive) -> None:
        self.message: Message | None = None
        self._steps = receive().__await__()
        try:
            self._waits_for = next(self._steps)
        except StopIteration as there:
            self.message = there.value

    def __await__(self) -> Generator[Any, Any, Message]:
        if self.message is None:
            yield self._waits_for
            self.message = yield from self._steps
        return self.message


class Body:
    """One request's body, held in a room until it is let go."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    async def read(self, receive: Receive, encoding: str) -> bytes:
        """The body, inflated where it is gzip.

        Raises InvalidMessage where it is too large or badly packed, Outage where it does not arrive in time, Busy, Gone.
        """
        first = _First(receive)
        if first.message is not None and first.message.get("more_body") is False:
            body = self._hold(first.message["body"])
        else:
            body = await self._in_time(first, receive)
        if len(body) > LARGEST_BODY:
            raise InvalidMessage("too_large", f"a body of more than {LARGEST_BODY} bytes")
        if encoding in _PLAIN:
            return body
        if encoding != "gzip":
            raise InvalidMessage("bad_encoding", f"content-encoding {encoding[:40]!r}; send gzip or none")
        return self._hold(_inflate(body))

    def let_go(self) -> None:
        self._room.give_back(self._held)
        self._held = 0

    def _hold(self, data: bytes) -> bytes:
        self._room.take(len(data))
        self._held += len(data)
        return data

    async def _in_time(self, first: _First, receive: Receive) -> bytes:
        chunks = bytearray()
        try:
            async with asyncio.timeout(self._room.seconds):
                message = await first
                while True:
                    if message["type"] == "http.disconnect":
                        raise Gone
                    chunks += self._hold(message.get("body", b""))
                    if len(chunks) > LARGEST_BODY or not message.get("more_body", False):
                        return bytes(chunks)
                    message = await receive()
        except TimeoutError:
            raise Outage(f"the body did not arrive within {self._room.seconds:.0f} seconds") from None


def _inflate(packed: bytes) -> bytes:
    """One gzip member and nothing behind it."""
    member = zlib.decompressobj(wbits=31)
    try:
        inflated = member.decompress(packed, LARGEST_INFLATED + 1)
    except zlib.error as error:
        raise InvalidMessage("bad_encoding", f"the body is not gzip: {error}") from error
    if len(inflated) > LARGEST_INFLATED:
        raise InvalidMessage("too_large", f"a body of more than {LARGEST_INFLATED} bytes when inflated")
    if not member.eof or member.unused_data:
        raise InvalidMessage("bad_encoding", "the body is not one whole gzip member")
    return inflated
