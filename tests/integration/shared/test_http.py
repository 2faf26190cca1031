"""The face every service shares: health, and errors in one shape."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Form, Request
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.clock import FakeClock
from shared.db import Database
from shared.errors import Outage
from shared.http import LARGEST_BODY, Problem, allow, service_app
from shared.keys import Key, KeyRing
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.signing import Signer
from tests.fakes import RecordingLog


class Server:
    """A server that a service needs."""

    away = False

    async def check(self) -> None:
        if self.away:
            raise Outage("the relay is away")


def some_routes() -> APIRouter:
    router = APIRouter()

    @router.get("/problem")
    async def problem() -> None:
        raise Problem(409, "settled", "it is settled already")

    @router.get("/outage")
    async def outage() -> None:
        raise Outage("the database is away")

    @router.get("/bug/{lead_id}")
    async def bug(lead_id: str) -> None:
        raise ZeroDivisionError

    @router.get("/number")
    async def number(n: int) -> int:
        return n

    @router.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @router.post("/form")
    async def form(found: Annotated[str, Form()]) -> int:
        return len(found)

    @router.post("/json", dependencies=[allow("sales")])
    async def as_json(found: dict[str, str]) -> None:
        return None

    @router.get("/sales", dependencies=[allow("sales")])
    async def sales() -> str:
        return "hot"

    return router


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def client(tmp_path: Path, server: Server) -> AsyncIterator[httpx.AsyncClient]:
    clock = FakeClock(datetime(2027, 3, 1, tzinfo=UTC))
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.db")
    fixed = [(f"sk_{role}", Key(role, "secret", role, role)) for role in ("admin", "sales", "viewer")]
    keys = KeyRing(database, clock, [*fixed, ("pk_shop", Key("pk", "write", None, "shop"))])
    ports = Ports(RecordingLog(), database, clock, keys, Playbooks(database, clock), Signer(b"s"))
    app = service_app("test", ports, [some_routes()], [server.check])
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await database.close()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/problem", 409, "settled"),
        ("/outage", 503, "unavailable"),
        ("/number?n=x", 400, "invalid"),
        ("/nowhere", 404, "not_found"),
        ("/bug/l1", 500, "bug"),
    ],
)
async def test_every_error_has_one_shape(client: httpx.AsyncClient, path: str, status: int, code: str):
    with capture_logs():
        answer = await client.get(path)
    assert answer.status_code == status
    assert answer.json()["code"] == code
    assert answer.json().keys() == {"code", "message"}


async def test_a_bug_is_logged_by_its_route_and_tells_the_caller_nothing(client: httpx.AsyncClient):
    with capture_logs() as logs:
        answer = await client.get("/bug/ana@example.com")
    assert "ZeroDivision" not in answer.text
    assert [(entry["event"], entry["route"], entry["why"]) for entry in logs] == [("http.failed", "/bug/{lead_id}", "ZeroDivisionError()")]


async def test_an_outage_says_when_to_come_again(client: httpx.AsyncClient):
    assert int((await client.get("/outage")).headers["Retry-After"]) > 0


async def test_ready_means_that_its_servers_answer(client: httpx.AsyncClient, server: Server):
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    server.away = True
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(("path", "status"), [("/number?n=1", "2xx"), ("/problem", "4xx"), ("/bug/l1", "5xx")])
async def test_the_time_of_each_answer_is_told_by_class_of_status(client: httpx.AsyncClient, path: str, status: str):
    def answers() -> float:
        return REGISTRY.get_sample_value("dripline_http_seconds_count", {"service": "test", "status": status}) or 0

    before = answers()
    with capture_logs():
        await client.get(path)
    assert answers() == before + 1


async def test_metrics_are_told(client: httpx.AsyncClient):
    assert "dripline_events_accepted_total" in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer sk_sales", 200), ("bearer  sk_admin", 200), ("Bearer sk_viewer", 403), ("Bearer pk_shop", 403), ("Basic sk_sales", 401)],
)
async def test_a_secret_key_of_the_role_is_let_in(client: httpx.AsyncClient, authorization: str, status: int):
    assert (await client.get("/sales", headers={"Authorization": authorization})).status_code == status


async def refusal_of(client: httpx.AsyncClient, authorization: str) -> str:
    answer = await client.get("/sales", headers={"Authorization": authorization})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    return str(answer.json()["message"])


async def test_a_secret_key_that_nobody_knows_is_called_unknown_and_no_key_is_asked_for_one(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(KeyRing, "find", lambda _, token: None)
    assert "unknown or was revoked" in await refusal_of(client, "Bearer sk_gone")
    for authorization in ("", "Bearer", "Bearer x", "Basic sk_sales"):
        assert "send `Authorization: Bearer sk_…`" in await refusal_of(client, authorization)


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
async def test_json_that_does_not_say_so_is_asked_to(client: httpx.AsyncClient, kind: str | None):
    headers = {"Authorization": "Bearer sk_sales"} | ({"Content-Type": kind} if kind else {})
    answer = await client.post("/json", content=b'{"a": "b"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert "Content-Type: application/json" in answer.json()["message"]


@pytest.mark.parametrize(("path", "body"), [("/json", b"[]"), ("/json", b"{"), ("/json", b'{"a": 1}'), ("/form", b"")])
async def test_what_is_wrong_with_a_body_that_says_what_it_is_is_named(client: httpx.AsyncClient, path: str, body: bytes):
    kind = "application/x-www-form-urlencoded" if path == "/form" else "application/json; charset=utf-8"
    answer = await client.post(path, content=body, headers={"Authorization": "Bearer sk_sales", "Content-Type": kind})
    assert answer.status_code == 400
    assert "Content-Type" not in answer.json()["message"]


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    yield b"found="
    for _ in range(size // 1024):
        yield b"x" * 1024


@pytest.mark.parametrize(
    ("path", "kind"), [("/raw", "text/plain"), ("/form", "application/x-www-form-urlencoded"), ("/json", "application/json")]
)
async def test_a_body_beyond_the_limit_is_refused_while_it_streams_in(client: httpx.AsyncClient, path: str, kind: str):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        async for chunk in in_chunks(64 * LARGEST_BODY):
            sent += len(chunk)
            yield chunk

    answer = await client.post(path, content=endless(), headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert sent < LARGEST_BODY + 4096


async def test_a_body_of_exactly_the_limit_is_read(client: httpx.AsyncClient):
    assert (await client.post("/raw", content=b"x" * LARGEST_BODY)).json() == LARGEST_BODY
    assert (await client.post("/raw", content=b"x" * (LARGEST_BODY + 1))).status_code == 413
