"""A website of somebody's own beside ingest, each on a port of its own, so that to a browser they are two origins."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

from shared.wire import Event
from tests.ingest_house import Ingest


@contextmanager
def serving(ingest: Ingest, asked: list[dict[str, str]] | None = None) -> Iterator[str]:
    """Ingest on a port, in a thread with a loop of its own; gives its address. What is asked of it is added to `asked`, headers and all."""

    async def listened(scope: Any, receive: Any, send: Any) -> None:
        if asked is not None:
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            asked.append({"method": scope["method"], "path": scope["path"]} | headers)
        await ingest.api(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(listened, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def site(pages: Mapping[str, str | bytes], policy: str = "") -> Iterator[str]:
    """A website of these pages by their paths; every path without its query is looked up, with the policy on each."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = pages.get(self.path.partition("?")[0])
            page = found.encode() if isinstance(found, str) else found
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html; charset=utf-8")
            if policy:
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(page or b"")

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def told(ingest: Ingest, count: int, seconds: float = 10.0) -> list[Event]:
    """What ingest has, each event once and in its order, as soon as there are so many."""
    deadline = time.monotonic() + seconds
    while len(events := {event.id: event for event in ingest.events}) < count:
        assert time.monotonic() < deadline, [(event.type, event.name) for event in events.values()]
        time.sleep(0.02)
    return [*events.values()]
