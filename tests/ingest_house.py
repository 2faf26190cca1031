"""Ingest built on a recording log, posted to without a socket; what it put on the log is read back as events."""

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.ingest.api import TrackingApi
from services.ingest.limits import Limits, Rate
from services.ingest.website import website_routes
from shared.clock import FakeClock
from shared.errors import Outage
from shared.http import service_app
from shared.keys import Key
from shared.log import Record
from shared.parcel import unpack
from shared.service import Ports
from shared.wire import DEAD_LETTERS, EVENTS, Event, Rejected, decode_event, decode_rejected
from tests.fakes import RecordingLog

_NEVER = b"never"
NOON = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
WRITE_KEY = Key("pk_11111111", "write", None, "shop")
SECRET_KEY = Key("sk_22222222", "secret", "admin", "server")


@dataclass
class Keys:
    """Two known keys; `away` is a key store that cannot be read."""

    away: bool = False

    def find(self, token: str) -> Key | None:
        known = {"pk_test": WRITE_KEY, "sk_test": SECRET_KEY}.get(token)
        if known is None and self.away:
            raise Outage("the keys cannot be read")
        return known


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Ingest:
    """The API over fakes. `post` speaks ASGI, so a test decides how the body arrives."""

    memory: int = 128 << 20
    limits: Limits = field(default_factory=lambda: Limits(Rate(0, 60), Rate(0, 60), Rate(0, 3600)))
    proxies: int = 0
    public_url: str = ""
    log: RecordingLog = field(default_factory=RecordingLog)
    keys: Keys = field(default_factory=Keys)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON))

    def __post_init__(self) -> None:
        ports = Ports(self.log, None, self.clock, self.keys, None, None)  # type: ignore[arg-type]  # the paths under test use only these
        pages = service_app("ingest", ports, [website_routes(self.keys, self.public_url)])  # type: ignore[arg-type]
        self.api = TrackingApi(ports, self.log, pages, self.memory, self.limits, self.proxies)

    async def post(
        self, path: str, body: Any, *, key: str | None = "pk_test", headers: dict[str, str] | None = None, peer: str = "127.0.0.1"
    ) -> Answer:
        """Posts JSON, or bytes as they are; a tuple of bytes arrives piece by piece."""
        data = body if isinstance(body, bytes | tuple) else json.dumps(body).encode()
        given = dict(headers or {})
        if key is not None:
            given.setdefault("authorization", basic(key))
        return await call(self.api, path, data if isinstance(data, tuple) else [data], given, peer=peer)

    async def announce(self, path: str, headers: dict[str, str]) -> Answer:
        """Sends the headers of a call whose body never comes."""
        return await call(self.api, path, [_NEVER], headers)

    async def begin(self, path: str, piece: bytes, headers: dict[str, str]) -> Answer:
        """Posts the first piece of a body whose rest never comes."""
        return await call(self.api, path, [piece, _NEVER], headers)

    @property
    def events(self) -> list[Event]:
        records = (Record(key, value, NOON) for key, value in self.log.topics.get(EVENTS, []))
        return [decode_event(record.value) for packed in records for record in unpack(packed)]

    @property
    def rejected(self) -> list[Rejected]:
        return [decode_rejected(value) for _, value in self.log.topics.get(DEAD_LETTERS, [])]


async def call(
    app: Any, path: str, chunks: Iterable[bytes], headers: dict[str, str], method: str = "POST", query: str = "", peer: str = "127.0.0.1"
) -> Answer:
    pieces = list(chunks)
    arriving = [{"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1} for index, piece in enumerate(pieces)]
    sent: list[Any] = []

    async def receive() -> Any:
        if arriving and arriving[0]["body"] is _NEVER:
            await asyncio.Event().wait()
        return arriving.pop(0) if arriving else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": query.encode(), "client": (peer, 1)}
    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:]))


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def a_track(**overrides: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": "track", "event": "Ebook Downloaded", "userId": "u1", "messageId": "m1"}
    return fields | overrides
