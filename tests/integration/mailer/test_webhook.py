"""Webhooks against real sockets: what arrives, what each answer means, and which connections are never opened."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook

from services.mailer.loader import Endpoint
from services.mailer.outcomes import Deferred, Delivered, Gone, Refused
from services.mailer.webhook import WebhookTransport, webhook_body
from shared.clock import real_now
from tests.builders import A_SECRET, a_lead, a_send

AT = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"


class Sink:
    """An endpoint that notes what arrives and answers as told."""

    def __init__(self) -> None:
        self.port = 0
        self.answer = OK
        self.endless = False
        self.silent = False
        self.connections = 0
        self.written = 0
        self.ended = asyncio.Event()
        self.requests: list[tuple[bytes, dict[str, str], bytes]] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Sink"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._take(head, reader)
                writer.write(self.answer)
                await writer.drain()
                while self.endless:
                    writer.write(b"x" * 65536)
                    await writer.drain()
                    self.written += 65536
        except (OSError, asyncio.IncompleteReadError):
            self.ended.set()
        finally:
            writer.close()

    async def _take(self, head: bytes, reader: asyncio.StreamReader) -> None:
        line, *rest = head.decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
        self.requests.append((line.encode(), headers, await reader.readexactly(int(headers.get("content-length", "0")))))
        if self.silent:
            await reader.read()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink().listening() as listening:
        yield listening


@pytest.fixture
async def transport() -> AsyncIterator[WebhookTransport]:
    transport = WebhookTransport(allow_private=True, timeout_seconds=5)
    yield transport
    await transport.close()


@pytest.fixture
async def strict() -> AsyncIterator[WebhookTransport]:
    transport = WebhookTransport(allow_private=False, timeout_seconds=5)
    yield transport
    await transport.close()


def endpoint(sink: Sink, url: str = "http://127.0.0.1:{port}/in") -> Endpoint:
    return Endpoint("sales", url.format(port=sink.port), (A_SECRET,))


async def post(transport: WebhookTransport, to: Endpoint, body: bytes = b"{}") -> Delivered | Deferred | Refused | Gone:
    return await transport.post(to, "msg-1", body, AT)


async def test_the_endpoint_gets_the_very_bytes_and_can_verify_them(sink: Sink, transport: WebhookTransport) -> None:
    body = webhook_body(a_send(kind="handoff", lead=a_lead(traits={"name": "آنا"})), "h1", None)
    assert await transport.post(endpoint(sink), "msg-1", body, real_now()) == Delivered("HTTP 200")
    line, headers, received = sink.requests[0]
    assert line == b"POST /in HTTP/1.1"
    assert received == body
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert Webhook(A_SECRET).verify(received, headers)["data"]["handoff_id"] == "h1"


async def test_a_second_attempt_has_the_same_id_and_a_time_of_its_own(sink: Sink, transport: WebhookTransport) -> None:
    for at in (AT, AT + timedelta(minutes=5)):
        await transport.post(endpoint(sink), "msg-1", b"{}", at)
    first, second = (headers for _, headers, _ in sink.requests)
    assert first["webhook-id"] == second["webhook-id"] == "msg-1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 300
    assert sink.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 caf\xe9 \xff\r\n\r\n",
        b"\xff\xfe\xe9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00\xe9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xe9\r\n\r\n",
        b"HTTP/1.1 500 caf\xe9\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 x\r\nRetry-After: \xe9\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_an_answer_in_odd_bytes_is_kept_as_one_line_of_plain_text(sink: Sink, transport: WebhookTransport, answer: bytes) -> None:
    sink.answer = answer
    outcome = await post(transport, endpoint(sink))
    assert isinstance(outcome, Deferred)
    assert outcome.detail.isprintable()


@pytest.mark.parametrize(
    "asked",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2027 00:00:00 +99999999999999999999",
        "\N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT TWO}",
        "soon",
    ],
)
async def test_a_pause_that_makes_no_sense_is_no_pause(sink: Sink, transport: WebhookTransport, asked: str) -> None:
    sink.answer = f"HTTP/1.1 429 x\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n".encode()
    assert await post(transport, endpoint(sink)) == Deferred("endpoint_busy", None, "HTTP 429")


@pytest.mark.parametrize(
    ("status", "retry_after", "outcome"),
    [
        (200, None, Delivered("HTTP 200")),
        (204, None, Delivered("HTTP 204")),
        (410, None, Gone("HTTP 410")),
        (301, None, Deferred("endpoint_error", detail="HTTP 301")),
        (400, None, Deferred("endpoint_error", detail="HTTP 400")),
        (404, None, Deferred("endpoint_error", detail="HTTP 404")),
        (500, "60", Deferred("endpoint_error", detail="HTTP 500")),
        (429, "60", Deferred("endpoint_busy", timedelta(seconds=60), "HTTP 429")),
        (502, None, Deferred("endpoint_busy", None, "HTTP 502")),
        (503, format_datetime(AT + timedelta(hours=1), usegmt=True), Deferred("endpoint_busy", timedelta(hours=1), "HTTP 503")),
        (503, format_datetime(AT - timedelta(hours=1), usegmt=True), Deferred("endpoint_busy", timedelta(0), "HTTP 503")),
        (504, "99999999", Deferred("endpoint_busy", timedelta(hours=24), "HTTP 504")),
        (429, "soon", Deferred("endpoint_busy", None, "HTTP 429")),
    ],
)
async def test_each_answer_has_its_meaning(
    sink: Sink, transport: WebhookTransport, status: int, retry_after: str | None, outcome: object
) -> None:
    pause = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    sink.answer = f"HTTP/1.1 {status} x\r\n{pause}Location: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n".encode()
    assert await post(transport, endpoint(sink)) == outcome
    await post(transport, endpoint(sink))
    assert [line for line, _, _ in sink.requests] == [b"POST /in HTTP/1.1"] * 2
    assert "cookie" not in sink.requests[1][1]


HIDING_PLACES = [
    "https://127.0.0.1:{port}/",
    "https://localhost:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::ffff:7f00:1]:{port}/",
    "https://[64:ff9b::127.0.0.1]:{port}/",
    "https://2130706433:{port}/",
    "https://0x7f.1:{port}/",
    "https://0x7f000001:{port}/",
    "https://0177.0.0.1:{port}/",
    "https://127.1:{port}/",
    "https://127.0.0.1.:{port}/",
    "https://１２７.0.0.1:{port}/",
    "https://0:{port}/",
    "https://[::]:{port}/",
    "http://127.0.0.1:{port}/",
]


@pytest.mark.parametrize("url", HIDING_PLACES)
async def test_no_connection_to_our_own_network_is_ever_opened(sink: Sink, strict: WebhookTransport, url: str) -> None:
    outcome = await post(strict, endpoint(sink, url))
    assert isinstance(outcome, Refused | Deferred)
    assert not isinstance(outcome, Deferred) or outcome.reason == "unreachable"
    assert sink.connections == 0


class Names(AbstractResolver):
    """A name server that says what it is told to, or that it knows no such name."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        if not self._addresses:
            raise OSError("unknown name")
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET6 if ":" in each else socket.AF_INET, proto=0, flags=0)
            for each in self._addresses
        ]

    async def close(self) -> None: ...


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("192.0.2.7", "127.0.0.1"), ("::1",), ("1.1.1.1", "::ffff:127.0.0.1")])
async def test_a_name_that_leads_inside_is_refused_as_a_whole(sink: Sink, addresses: tuple[str, ...]) -> None:
    strict = WebhookTransport(allow_private=False, resolver=Names(*addresses))
    outcome = await post(strict, endpoint(sink, "https://shop.example:{port}/"))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "forbidden_address"
    assert sink.connections == 0
    await strict.close()


async def test_plain_http_does_not_leave_the_house(sink: Sink, strict: WebhookTransport) -> None:
    outcome = await post(strict, endpoint(sink, "http://shop.example:{port}/"))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "insecure_address"


async def test_no_proxy_of_the_environment_is_used(sink: Sink, transport: WebhookTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(await post(transport, endpoint(sink)), Delivered)


async def test_a_silent_endpoint_costs_its_own_delivery_only(sink: Sink) -> None:
    impatient = WebhookTransport(allow_private=True, timeout_seconds=0.3)
    sink.silent = True
    slow = [asyncio.create_task(post(impatient, endpoint(sink))) for _ in range(20)]
    async with Sink().listening() as other:
        assert isinstance(await post(impatient, endpoint(other)), Delivered)
    assert [outcome.reason for outcome in await asyncio.gather(*slow) if isinstance(outcome, Deferred)] == ["timeout"] * 20
    await impatient.close()


async def test_an_endless_answer_is_not_read(sink: Sink, transport: WebhookTransport) -> None:
    sink.answer, sink.endless = ENDLESS, True
    assert isinstance(await post(transport, endpoint(sink)), Delivered)
    await asyncio.wait_for(sink.ended.wait(), 5)
    assert sink.written < 20_000_000


async def test_nobody_there_is_tried_again(transport: WebhookTransport) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outcome = await post(transport, Endpoint("sales", f"http://127.0.0.1:{port}/", (A_SECRET,)))
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "unreachable"


async def test_a_name_nobody_knows_is_tried_again() -> None:
    transport = WebhookTransport(allow_private=False, resolver=Names())
    outcome = await post(transport, Endpoint("sales", "https://nowhere.example/", (A_SECRET,)))
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "unreachable"
    await transport.close()


async def test_what_is_no_http_or_no_tls_is_tried_again(sink: Sink, transport: WebhookTransport) -> None:
    sink.answer = b"SSH-2.0-OpenSSH\r\n\r\n"
    assert isinstance(await post(transport, endpoint(sink)), Deferred)
    assert isinstance(await post(transport, endpoint(sink, "https://127.0.0.1:{port}/")), Deferred)
