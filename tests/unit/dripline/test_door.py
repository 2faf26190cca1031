"""A replica that is told to stop: it says so first, answers what comes, and ends its connections."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from dripline.door import Farewell, Server, listening, url_of
from shared.serving import http_config


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("here")(scope, receive, send)


@pytest.fixture
async def house() -> AsyncIterator[tuple[str, Server, Farewell, "asyncio.Task[None]"]]:
    farewell = Farewell(app)
    server = Server(http_config(farewell))
    with listening("127.0.0.1", 0, "") as door:
        serving = asyncio.ensure_future(server.serve(sockets=[door]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield url_of(door), server, farewell, serving
        server.stop()
        await serving


async def test_who_leaves_is_not_ready_still_answers_and_ends_its_connections(house):
    url, server, farewell, serving = house
    async with httpx.AsyncClient(trust_env=False) as http:
        before = await http.get(f"{url}/readyz")
        assert (before.status_code, before.headers.get("connection")) == (200, None)
        server.leave(farewell, 60)
        ready = await http.get(f"{url}/readyz")
        assert (ready.status_code, ready.json()["code"], ready.headers["connection"]) == (503, "stopping", "close")
        other = await http.get(f"{url}/anything")
        assert (other.status_code, other.text, other.headers["connection"]) == (200, "here", "close")
        server.leave(farewell, 60)  # told twice: at once
        await asyncio.wait_for(serving, 10)
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{url}/anything")


async def test_it_ends_by_itself_when_its_time_is_over(house):
    _, server, farewell, serving = house
    server.leave(farewell, 0.05)
    await asyncio.wait_for(serving, 10)
