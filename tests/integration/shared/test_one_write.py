"""An answer leaves in one piece, and nothing is held back that somebody waits for."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from shared.one_write import OneWrite, Patient


class RecordingTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed_after = len(self.written)

    def is_closing(self) -> bool:
        return self.closed_after is not None


def patient() -> tuple[Any, RecordingTransport]:
    transport = RecordingTransport()
    return Patient(transport, asyncio.get_running_loop()), transport  # type: ignore[arg-type]


async def test_two_writes_of_one_turn_leave_as_one() -> None:
    transport, recorded = patient()
    for data in (b"head", b"body", b"head2", b"body2"):
        transport.write(data)
    assert recorded.written == [b"headbody", b"head2body2"]


async def test_a_single_write_leaves_with_the_loops_next_turn() -> None:
    transport, recorded = patient()
    transport.write(b"100 Continue")
    assert recorded.written == []
    await asyncio.sleep(0)
    assert recorded.written == [b"100 Continue"]
    transport.write(b"head")
    transport.write(b"body")
    assert recorded.written == [b"100 Continue", b"headbody"]


async def test_closing_sends_first_what_is_held() -> None:
    transport, recorded = patient()
    transport.write(b"bye")
    transport.close()
    await asyncio.sleep(0)
    assert (recorded.written, recorded.closed_after) == ([b"bye"], 1)
    assert transport.is_closing()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=OneWrite, log_level="error", lifespan="off", ws="none"))
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            await task


async def answer(send: Any, *pieces: bytes, more: asyncio.Event | None = None) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for number, piece in enumerate(pieces, 1):
        if more is not None:
            await more.wait()
            more.clear()
        await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})


async def test_answers_are_whole_over_one_kept_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * 100_000, scope["path"].encode())

    async with serving(app) as (host, port), httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
        for number in range(5):
            assert (await client.get(f"/{number}")).text == "x" * 100_000 + f"/{number}"
        assert (await client.head("/")).status_code == 200


async def test_a_stream_s_head_and_pieces_do_not_wait_for_each_other() -> None:
    more = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"one", b"two", more=more)

    async with (
        serving(app) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client,
        client.stream("GET", "/") as streamed,  # the head is here while the body is not
    ):
        pieces = streamed.aiter_raw()
        for expected in (b"one", b"two"):
            more.set()
            assert await anext(pieces) == expected


async def test_a_client_that_asks_whether_to_go_on_is_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        await answer(send, b"thanks")

    async with serving(app) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 100")
        writer.write(b"ok")
        assert b"thanks" in await asyncio.wait_for(reader.readuntil(b"thanks"), 10)
        writer.close()
        await writer.wait_closed()
