"""The two ways to reach the services: the same requests, the same answers."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.responses import RedirectResponse

from services.console.upstreams import HttpUpstreams
from shared.errors import Outage


def a_service() -> FastAPI:
    app = FastAPI()

    @app.api_route("/echo/{rest:path}", methods=["GET", "POST"])
    async def echo(request: Request, response: Response) -> dict[str, object]:
        response.set_cookie("who", "first")
        path = request.scope["raw_path"].decode()
        return {"path": path, "query": request.url.query, "cookies": request.cookies, "body": (await request.body()).decode()}

    @app.get("/moved")
    async def moved() -> Response:
        return RedirectResponse("https://acme.example/", 302)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a bug")

    return app


async def serving() -> AsyncIterator[str]:
    """Where a service listens."""
    door = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(a_service(), lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve(sockets=[door]))
    yield f"http://127.0.0.1:{door.getsockname()[1]}"
    server.should_exit = True
    await task


async def over_a_socket() -> AsyncIterator[HttpUpstreams]:
    async for url in serving():
        upstreams = HttpUpstreams.at({"scoring": url})
        yield upstreams
        await upstreams.close()


async def in_the_process() -> AsyncIterator[HttpUpstreams]:
    upstreams = HttpUpstreams.within({"scoring": a_service()})
    yield upstreams
    await upstreams.close()


@pytest.fixture(params=[over_a_socket, in_the_process])
async def upstreams(request: pytest.FixtureRequest) -> AsyncIterator[HttpUpstreams]:
    async for made in request.param():
        yield made


async def test_path_query_and_body_arrive_as_they_were(upstreams: HttpUpstreams):
    answer = await upstreams.request("scoring", "POST", "/echo/a%2Fb", params="x=1&x=%20", body=b"said")
    assert answer.status == 200
    for said in (b'"/echo/a%2Fb"', b'"x=1&x=%20"', b'"said"'):
        assert said in answer.body


async def test_parameters_are_encoded(upstreams: HttpUpstreams):
    answer = await upstreams.request("scoring", "GET", "/echo/", params={"message_id": "<a+b@c>"})
    assert b'"message_id=%3Ca%2Bb%40c%3E"' in answer.body


async def test_a_cookie_set_for_one_caller_never_travels_with_the_next(upstreams: HttpUpstreams):
    first = await upstreams.request("scoring", "GET", "/echo/")
    assert any(name == "set-cookie" for name, _ in first.headers)
    assert b'"cookies":{}' in (await upstreams.request("scoring", "GET", "/echo/")).body


async def test_a_redirect_is_an_answer(upstreams: HttpUpstreams):
    answer = await upstreams.request("scoring", "GET", "/moved")
    assert (answer.status, dict(answer.headers)["location"]) == (302, "https://acme.example/")


async def test_a_bug_of_a_service_is_its_500(upstreams: HttpUpstreams):
    assert (await upstreams.request("scoring", "GET", "/broken")).status == 500


async def test_a_service_that_does_not_answer_is_an_outage():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    upstreams = HttpUpstreams.at({"scoring": f"http://127.0.0.1:{port}"})
    with pytest.raises(Outage):
        await upstreams.request("scoring", "GET", "/")
    await upstreams.close()


@pytest.fixture
def nobody() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_of_several_replicas_any_may_answer(nobody: str):
    async for there in serving():
        upstreams = HttpUpstreams.at({"scoring": f"{nobody}, {there}"})
        for method in ("POST", "GET"):
            assert (await upstreams.request("scoring", method, "/echo/", body=b"said")).status == 200
        assert [str(client.base_url) for client in upstreams._replicas("scoring")] == [there, nobody]
        await upstreams.close()


async def taking_leave() -> AsyncIterator[str]:
    """A server that says with its answer that there is none after it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_a_replica_that_takes_its_leave_is_asked_last_from_then_on():
    async for going in taking_leave():
        async for staying in serving():
            upstreams = HttpUpstreams.at({"scoring": f"{going},{staying}"})
            first = await upstreams.request("scoring", "POST", "/echo/", body=b"said")
            second = await upstreams.request("scoring", "POST", "/echo/", body=b"said")
            assert (first.body, b'"body":"said"' in second.body) == (b"", True)
            await upstreams.close()


async def breaking_off(times: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that so many times reads a request and closes; then it answers 200."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) > times:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    server.close()
    await server.wait_closed()


async def test_a_replica_that_broke_off_is_asked_again_only_where_that_does_no_harm():
    async for url, asked in breaking_off(1):
        upstreams = HttpUpstreams.at({"scoring": url})
        assert (await upstreams.request("scoring", "GET", "/")).status == 200
        assert len(asked) == 2
        await upstreams.close()
    for method, path in (("POST", "/"), ("GET", "/v1/pixel")):  # a pixel is a GET, and an event
        async for url, asked in breaking_off(1):
            upstreams = HttpUpstreams.at({"scoring": url})
            with pytest.raises(Outage):
                await upstreams.request("scoring", method, path)
            assert len(asked) == 1
            await upstreams.close()


async def test_proxies_of_the_environment_are_left_aside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async for upstreams in over_a_socket():
        assert (await upstreams.request("scoring", "GET", "/echo/")).status == 200
