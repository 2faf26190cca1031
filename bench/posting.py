"""A load generator in a process of its own: raw HTTP/1.1 over kept connections, as fast as the server answers.

`python -m bench.posting URL PATH CONNECTIONS SECONDS BATCH LEADS TAG KEY RATE` prints one JSON line: requests, seconds, bad answers,
latencies in ms. RATE is in requests a second, 0 for as many as are answered.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import uvloop

EVENT = {
    "type": "track",
    "event": "@E",
    "properties": {
        "path": "/pricing",
        "title": "Pricing",
        "url": "https://shop.example/pricing",
        "referrer": "https://search.example/",
        "search": "",
    },
    "context": {
        "library": {"name": "analytics.js", "version": "2.1.0"},
        "page": {"path": "/pricing", "title": "Pricing", "url": "https://shop.example/pricing"},
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
        "locale": "en-IE",
        "timezone": "Europe/Dublin",
    },
    "timestamp": "2027-03-01T12:00:00.000Z",
    "integrations": {},
}


EBOOK_EVERY = 20
"""One event in so many begins a walk of the bench's playbook; the others only count."""


class Bodies:
    """Request bodies with fresh message ids over a round of leads; built around a template, so that making one costs little."""

    def __init__(self, batch: int, leads: int, tag: str) -> None:
        head, tail = json.dumps({"messageId": "@M", "anonymousId": "@A"} | EVENT).split("@E")
        self._before, rest = head.split("@M")
        self._between, self._middle = rest.split("@A")
        self._after = tail
        self._batch = batch
        self._leads = leads
        self._tag = tag
        self._count = 0

    def next(self) -> bytes:
        if self._batch == 1:
            return self._event().encode()
        return ('{"batch":[' + ",".join(self._event() for _ in range(self._batch)) + '],"sentAt":"2027-03-01T12:00:00.000Z"}').encode()

    def _event(self) -> str:
        self._count += 1
        name = "Ebook Downloaded" if self._count % EBOOK_EVERY == 0 else "Product Viewed"
        return f"{self._before}{self._tag}-{self._count}{self._between}lead-{self._count % self._leads}{self._middle}{name}{self._after}"


class Connection(asyncio.Protocol):
    """Posts, waits for the answer, posts again."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._transport: Any = None
        self._answer = b""
        self._posted_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._post()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
            return
        self._run.answered(head.startswith(b"HTTP/1.1 200"), time.perf_counter() - self._posted_at)
        self._answer = b""
        self._run.at_next_turn(self._post, self._transport.close)

    def connection_lost(self, _: Exception | None) -> None:
        self._run.closed()

    def _post(self) -> None:
        body = self._run.bodies.next()
        self._posted_at = time.perf_counter()
        self._transport.write(self._run.head + str(len(body)).encode() + b"\r\n\r\n" + body)


class Run:
    """One run over some connections."""

    def __init__(self, url: str, path: str, connections: int, seconds: float, bodies: Bodies, key: str, rate: float) -> None:
        self.bodies = bodies
        self._rate = rate
        self._turns = 0
        self._started = time.perf_counter()
        self.until = time.perf_counter() + seconds
        credentials = base64.b64encode(f"{key}:".encode()).decode()
        self.head = (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Authorization: Basic {credentials}\r\nContent-Length: "
        ).encode()
        self._url = urlsplit(url)
        self._connections = connections
        self._open = connections
        self._done = asyncio.Event()
        self._good = 0
        self._bad = 0
        self._latencies: list[float] = []

    def at_next_turn(self, post: Callable[[], None], end: Callable[[], None]) -> None:
        """Let a connection post again: at once, or when the rate allows."""
        if time.perf_counter() >= self.until:
            end()
        elif not self._rate:
            post()
        else:
            self._turns += 1
            wait = self._started + self._turns / self._rate - time.perf_counter()
            asyncio.get_running_loop().call_later(max(0.0, wait), post)

    def answered(self, good: bool, seconds: float) -> None:
        self._good += good
        self._bad += not good
        self._latencies.append(seconds)

    def closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._done.set()

    async def go(self) -> dict[str, Any]:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            await loop.create_connection(lambda: Connection(self), self._url.hostname, self._url.port)
        await self._done.wait()
        seconds = time.perf_counter() - started
        ordered = sorted(self._latencies)
        return {
            "requests": self._good,
            "bad": self._bad,
            "seconds": seconds,
            "p50_ms": ordered[len(ordered) // 2] * 1000,
            "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        }


def main() -> None:
    url, path, connections, seconds, batch, leads, tag, key, rate = sys.argv[1:10]
    run = Run(url, path, int(connections), float(seconds), Bodies(int(batch), int(leads), tag), key, float(rate))
    print(json.dumps(uvloop.run(run.go())))


if __name__ == "__main__":
    main()
