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


async def over_a_socket() -> AsyncIterator[HttpUpstreams]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(a_service(), lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    upstreams = HttpUpstreams.at({"scoring": f"http://127.0.0.1:{listening.getsockname()[1]}"})
    yield upstreams
    await upstreams.close()
    server.should_exit = True
    await serving


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


async def test_proxies_of_the_environment_are_left_aside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async for upstreams in over_a_socket():
        assert (await upstreams.request("scoring", "GET", "/echo/")).status == 200
