"""Segment's own clients, unmodified, against the real ingest: every event arrives once, and as it was sent."""

import asyncio
import json
import math
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
import uvicorn
from sqlmodel import SQLModel

from services.ingest.main import build
from services.ingest.settings import IngestSettings
from shared.clock import SystemClock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.errors import Outage
from shared.keys import Key, KeyRing
from shared.log import Positions, Subscription
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.signing import Signer
from shared.wire import EVENTS, Event, decode_event
from tests.clients.prepare import NODE, PYTHONS, TARGET, is_ready

HERE = Path(__file__).parent
CLIENTS = HERE.parent / "clients"
RECORDED = HERE.parent / "data" / "official_clients_requests.jsonl"
KEYS = [("wk_test", Key("wk_1", "write", None, "shop")), ("sk_test", Key("sk_1", "secret", "admin", "server"))]


class Hiccup:
    """The log, away for the first appends of events."""

    def __init__(self, log: EmbeddedLog, failures: int) -> None:
        self._log = log
        self.failures = failures

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        if topic == EVENTS and self.failures:
            self.failures -= 1
            raise Outage("the log is away")
        await self._log.append(topic, records)

    def subscribe(self, group: str, topic: str, positions: Positions) -> Subscription:
        return self._log.subscribe(group, topic, positions)

    def backlog_since(self, group: str, topic: str) -> datetime | None:
        return self._log.backlog_since(group, topic)

    async def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        return await self._log.bounds(topic)

    async def close(self) -> None:
        await self._log.close()


class FromTheBeginning:
    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return None


@dataclass
class Running:
    """Ingest on a port of its own."""

    url: str
    log: Hiccup

    async def events(self) -> list[Event]:
        """All that is on the log, in its order."""
        subscription = self.log.subscribe("test", EVENTS, FromTheBeginning())
        found: list[Event] = []
        while subscription.backlog_since() is not None:
            found += [decode_event(record.value) for record in (await subscription.next(500)).records]
        await subscription.close()
        return found


@asynccontextmanager
async def running(folder: Path, failures: int = 0) -> AsyncIterator[Running]:
    clock = SystemClock()
    database = Database(f"sqlite+aiosqlite:///{folder}/state.db")
    async with database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    log = Hiccup(EmbeddedLog(folder / "log", clock), failures)
    ports = Ports(log, database, clock, KeyRing(database, clock, KEYS), Playbooks(database, clock), Signer(b"secret"))
    await ports.keys.reload()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(build(IngestSettings(), ports).app, log_level="error", lifespan="off", ws="none"))
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", log)
        finally:
            server.should_exit = True
            await serving
            await log.close()
            await database.close()


Require = Callable[[str, str], NoReturn]
Command = Callable[[str, str], list[str]]
"""The command line that makes a client post to a host with a write key what it reads from stdin."""


def environment(name: str, require_service: Require) -> Path:
    if not is_ready(name):
        require_service(f"Segment's client {name}", "tests/clients/prepare.py has not made it; `make test` runs that first")
    return TARGET / name


def command_of(client: str, require_service: Require) -> Command:
    name, _, option = client.partition(" ")
    folder = environment(name, require_service)
    if name == NODE:
        node = shutil.which("node") or require_service("Node", "it is not installed")
        return lambda host, key: [node, str(CLIENTS / "post.cjs"), host, key, str(folder)]
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    return lambda host, key: [str(python), str(CLIENTS / "post.py"), host, key, *([option] if option else [])]


async def post(command: Sequence[str], calls: Sequence[dict[str, Any]]) -> None:
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=direct
    )
    said, _ = await asyncio.wait_for(process.communicate(json.dumps(calls).encode()), 90)
    assert process.returncode == 0, said.decode()


def calls_of(client: str) -> list[dict[str, Any]]:
    """One call of every kind and every oddity, each with an id and a time of its own."""
    names = {"naïve": "سلام دنیا 😀", "empty": "", "none": None, "list": [1, 2.5, True, {"deep": ["x"]}], "large": 2**40}
    calls: list[dict[str, Any]] = [
        {"type": "identify", "userId": "u1", "traits": {"email": "ana@example.com", "plan": "pro", **names}},
        {"type": "identify", "anonymousId": "a1", "userId": "u1", "traits": {}},
        {"type": "track", "userId": "u1", "event": "Ebook Downloaded", "properties": names},
        {
            "type": "track",
            "anonymousId": "a1",
            "event": "Vidéo Regardée",
            "properties": {},
            "context": {"ip": "192.0.2.1", "page": {"path": "/"}},
        },
        {"type": "page", "userId": "u1", "category": "Docs", "name": "Pricing", "properties": {"path": "/pricing"}},
        {"type": "screen", "userId": "u1", "name": "Home", "properties": {"variant": 2}},
        {"type": "group", "userId": "u1", "groupId": "g1", "traits": {"employees": 50}},
        {"type": "alias", "previousId": "u0", "userId": "u1"},
        *({"type": "track", "userId": f"u{number}", "event": "Product Viewed", "properties": {"n": number}} for number in range(20)),
    ]
    if client != NODE:
        calls.append({"type": "track", "userId": "u1", "event": "Measured", "properties": {"a": math.nan, "b": [math.inf], "c": 1}})
    for number, call in enumerate(calls):
        call["messageId"] = f"{client}-{number}"
        call["timestamp"] = f"2026-11-22T08:{number:02}:00.250+00:00"
    return calls


def as_sent(call: dict[str, Any]) -> dict[str, Any]:
    """What must be on the log of a call: numbers that JSON does not know are null."""
    beside = {key: call[key] for key in ("name", "category") if call["type"] in ("page", "screen") and key in call}
    own = {"page": "Page Viewed", "screen": "Screen Viewed"}.get(call["type"], call.get("event", ""))
    sent = {"properties": beside | call.get("properties", {}), "traits": call.get("traits", {})}
    return {
        "type": call["type"],
        "name": own,
        "ids": [call.get(key) for key in ("userId", "anonymousId", "previousId", "groupId", "messageId")],
        **json.loads(json.dumps(sent).replace("NaN", "null").replace("Infinity", "null")),
        "context": call.get("context", {}),
    }


def as_found(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "name": event.name,
        "ids": [event.user_id, event.anonymous_id, event.previous_id, event.group_id, event.message_id],
        "properties": event.properties,
        "traits": event.traits,
        "context": {key: value for key, value in event.context.items() if key != "library"},
    }


@pytest.mark.parametrize("client", [*PYTHONS, *(f"{name} gzip" for name in PYTHONS), NODE])
async def test_every_call_arrives_once_and_as_it_was_sent(client: str, tmp_path: Path, require_service: Require) -> None:
    command = command_of(client, require_service)
    calls = calls_of(client)
    async with running(tmp_path) as ingest:
        await post(command(ingest.url, "wk_test"), calls)
        events = await ingest.events()
    assert len(events) == len(calls)
    found = {event.message_id: event for event in events}
    for call in calls:
        event = found[call["messageId"]]
        assert as_found(event) == as_sent(call)
        assert abs(event.at - datetime.fromisoformat(call["timestamp"])) < timedelta(seconds=20)  # corrected by when it was sent
        assert event.context["library"]["name"] in ("analytics-python", "@segment/analytics-node")
        assert (event.source, event.trusted) == ("wk_1", False)


@pytest.mark.parametrize("client", [*PYTHONS, NODE])
async def test_a_client_told_to_come_back_does_and_nothing_is_lost_or_doubled(
    client: str, tmp_path: Path, require_service: Require
) -> None:
    command = command_of(client, require_service)
    calls = calls_of(client)[:3]
    async with running(tmp_path, failures=1) as ingest:
        await post(command(ingest.url, "sk_test"), calls)
        events = await ingest.events()
        assert ingest.log.failures == 0
    assert sorted(event.message_id for event in events) == sorted(call["messageId"] for call in calls)
    assert all(event.trusted for event in events)


async def test_requests_recorded_from_the_clients_are_taken(tmp_path: Path) -> None:
    requests = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    async with running(tmp_path) as ingest, httpx.AsyncClient(base_url=ingest.url, trust_env=False) as browser:
        for request in requests:
            headers = {name: value for name, value in request["h"].items() if name.lower() not in ("host", "connection", "content-length")}
            answer = await browser.post(request["p"], content=request["b"].encode(), headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"success": True}), request["p"]
        events = await ingest.events()
    sent = [json.loads(request["b"]) for request in requests]
    items = [item for body in sent for item in body.get("batch", [body])]
    assert len(items) > len(requests)
    assert [event.message_id for event in events] == [item["messageId"] for item in items]
    assert [event.type for event in events] == [item["type"] for item in items]
    assert [event.user_id for event in events] == [item.get("userId") for item in items]
    assert all(event.context["library"] == item["context"]["library"] for event, item in zip(events, items, strict=True))
