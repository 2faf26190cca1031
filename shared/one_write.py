"""HTTP answers in one piece. uvicorn writes an answer's head and its body apart: two system calls and two packets for a few bytes.

For a tracking call, whose answer is 17 bytes long, the second write costs as much as all that ingest does.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWrite(HttpToolsProtocol):
    """uvicorn's HTTP protocol on a transport that waits a moment for what comes next: `uvicorn.Config(http=OneWrite)`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself narrows it
        super().connection_made(Patient(transport, asyncio.get_running_loop()))  # type: ignore[arg-type]  # all of a transport that uvicorn uses


class Patient:
    """A transport that holds a write until the next one, or until the loop's next turn: nothing waits longer."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._held = b""
        self._release: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._release is None:
            self._held = data
            self._release = self._call_soon(self._flush)
        else:
            self._release.cancel()
            self._release = None
            self._transport.write(self._held + data)

    def close(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._flush()
        self._transport.close()

    def _flush(self) -> None:
        self._release = None
        self._transport.write(self._held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
