"""Where a process of ours listens: the socket, taken before anything else is started, and the server that answers on it."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Iterator

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ConfigurationError

FAILED = 70
"""The exit code of a process whose stage died: its supervisor starts it again."""

BACKLOG = 2048
"""Connections that may wait; the first ones while the house is still being built."""


class Farewell:
    """Before a replica stops it says that it is not ready, so that balancers turn away, and each answer ends its connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.begun = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if not self.begun or scope["type"] != "http":
            return self._app(scope, receive, send)
        app = self._app if scope["path"] != "/readyz" else JSONResponse({"code": "stopping", "message": "this replica stops"}, 503)
        return app(scope, receive, _last(send))


def _last(send: Send) -> Send:
    """The sending half of a connection that has no answer after this one (RFC 9112, 9.6)."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return sending


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would raise the signal again before the stages have ended, and with a slower pulse."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopped.set()

    def leave(self, farewell: Farewell, seconds: float) -> None:
        """Say for so long that we go, then stop; asked again, stop at once."""
        if farewell.begun or not self.started:
            self.stop()
            return
        farewell.begun = True
        asyncio.get_running_loop().call_later(seconds, self.stop)

    async def main_loop(self) -> None:
        """Renews the `Date` of answers once a second; uvicorn's own loop wakes ten times as often, on an idle machine too."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def listening(host: str, port: int, another: str) -> Iterator[socket.socket]:
    """A bound socket; taken before anything else is started, so that a port in use costs nothing. `another` is how to take another one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
            door.listen(BACKLOG)
        except OSError as error:
            raise ConfigurationError(_port_trouble(host, port, another, error)) from error
        yield door


def _port_trouble(host: str, port: int, another: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; take another: {another}"
    return f"cannot listen on {host}:{port}: {error.strerror}"


def url_of(door: socket.socket) -> str:
    """Where this machine reaches us."""
    host, port = door.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
