"""Ingest as it is built: its other pages, and what it refused, which people find as dead letters and may replay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import SQLModel

from services.ingest.main import build
from services.ingest.settings import IngestSettings
from shared.clock import FakeClock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.keys import Key, KeyRing
from shared.playbooks import Playbooks
from shared.positions import StoredPositions
from shared.service import Ports, Service
from shared.signing import Signer
from shared.wire import DEAD_LETTERS, EVENTS, Rejected, decode_event, decode_rejected, encode
from tests.databases import database_url
from tests.ingest_house import NOON, a_track, basic

SECRET = ("sk_test", Key("sk_22222222", "secret", "admin", "server"))


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[Ports]:
    clock = FakeClock(NOON)
    database = Database(database_url(tmp_path))
    async with database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    log = EmbeddedLog(tmp_path / "log", clock)
    keys = KeyRing(database, clock, [SECRET])
    await keys.reload()
    yield Ports(log, database, clock, keys, Playbooks(database, clock), Signer(b"secret"))
    await log.close()
    await database.close()


@asynccontextmanager
async def working(service: Service) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(loop()) for loop in service.loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def handled_up_to(ports: Ports, offset: int) -> None:
    positions = StoredPositions(ports.database)
    async with asyncio.timeout(20):
        while (await positions.position("ingest", DEAD_LETTERS, 0) or 0) < offset:
            await asyncio.sleep(0.01)


def client_of(service: Service) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=service.app)
    return httpx.AsyncClient(transport=transport, base_url="http://ingest", headers={"authorization": "Bearer sk_test"})


async def letters_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get("/api/dead-letters")).json()["items"]
    return items


async def test_a_refused_event_is_found_with_its_reason(ports: Ports) -> None:
    service = build(IngestSettings(), ports)
    async with working(service), client_of(service) as client:
        answer = await client.post("/v1/track", json=a_track(event="Email Sent"), headers={"authorization": basic("sk_test")})
        assert answer.status_code == 400
        await handled_up_to(ports, 1)
        (letter,) = await letters_of(client)
        shown = (await client.get(f"/api/dead-letters/{letter['id']}")).json()
    assert letter["code"] == "reserved_name"
    assert "Email Sent" in decode_rejected(shown["payload"].encode()).payload
    assert shown["message"] == answer.json()["message"]


async def test_a_replay_that_is_still_refused_stays_a_dead_letter(ports: Ports) -> None:
    service = build(IngestSettings(), ports)
    async with working(service), client_of(service) as client:
        await client.post("/v1/track", json=a_track(event=""), headers={"authorization": basic("sk_test")})
        await handled_up_to(ports, 1)
        (letter,) = await letters_of(client)
        assert (await client.post(f"/api/dead-letters/{letter['id']}/replay")).status_code == 200
        await handled_up_to(ports, 2)
        (same,) = await letters_of(client)
    assert same["id"] == letter["id"]
    assert same["code"] == "no_event"


async def test_an_event_refused_by_older_rules_goes_its_way_when_replayed(ports: Ports) -> None:
    """What an older version set aside and this one takes."""
    old = Rejected(
        id="r1", code="no_event", message="", payload='{"event":"E","userId":"u"}', source="pk_1", received_at=NOON, type="track"
    )
    await ports.log.append(DEAD_LETTERS, [("r1", encode(old))])
    ports.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
    service = build(IngestSettings(), ports)
    async with working(service), client_of(service) as client:
        await handled_up_to(ports, 1)
        subscription = ports.log.subscribe("test", EVENTS, StoredPositions(ports.database))
        batch = await asyncio.wait_for(subscription.next(10), 20)
        assert await letters_of(client) == []
    event = decode_event(batch.records[0].value)
    assert (event.name, event.user_id, event.received_at, event.source) == ("E", "u", NOON, "pk_1")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/track"), ("POST", "/v1/unknown"), ("PUT", "/v1/batch"), ("OPTIONS", "/v1/x")])
async def test_what_is_not_a_tracking_call_is_answered_in_json_and_never_redirected(ports: Ports, method: str, path: str) -> None:
    async with client_of(build(IngestSettings(), ports)) as client:
        answer = await client.request(method, path)
    assert answer.status_code in (404, 405)
    assert answer.json()["code"] in ("not_found", "method_not_allowed")


async def test_health_and_metrics_are_there(ports: Ports) -> None:
    async with client_of(build(IngestSettings(), ports)) as client:
        await client.post("/v1/track", json=a_track(), headers={"authorization": basic("sk_test")})
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        assert "dripline_events_accepted_total" in (await client.get("/metrics")).text


async def test_an_answer_means_that_the_log_has_it(ports: Ports, tmp_path: Path) -> None:
    async with client_of(build(IngestSettings(), ports)) as client:
        answer = await client.post("/v1/track", json=a_track(), headers={"authorization": basic("sk_test")})
    assert (answer.status_code, answer.content) == (200, b'{"success":true}')
    await ports.log.close()
    reopened = EmbeddedLog(tmp_path / "log", FakeClock(NOON))
    batch = await reopened.subscribe("test", EVENTS, StoredPositions(ports.database)).next(1)
    assert decode_event(batch.records[0].value).name == "Ebook Downloaded"
    await reopened.close()
