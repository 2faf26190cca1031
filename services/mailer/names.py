"""Names of endpoints, looked up on threads of our own: a name server that hangs keeps one of them, and no other endpoint waiting."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

THREADS = 32
_AS_FOUND = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
Question = tuple[str, int, socket.AddressFamily]


class Names(AbstractResolver):
    """Asks the system. The same question that is still open is asked once, however many wait for its answer; no answer is kept."""

    def __init__(self, look_up: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(THREADS, "names")
        self._open: dict[Question, asyncio.Future[Any]] = {}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Every address of the name. Raises OSError where there is none."""
        found = await asyncio.shield(self._asked((host, port, family)))
        return [
            ResolveResult(hostname=host, host=address[0], port=address[1], family=kind, proto=protocol, flags=_AS_FOUND)
            for kind, _, protocol, _, address in found
        ]

    def _asked(self, question: Question) -> asyncio.Future[Any]:
        if question not in self._open:
            asked = asyncio.get_running_loop().run_in_executor(
                self._threads, self._look_up, *question, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
            )
            asked.add_done_callback(lambda answer: self._answered(question, answer))
            self._open[question] = asked
        return self._open[question]

    def _answered(self, question: Question, answer: asyncio.Future[Any]) -> None:
        del self._open[question]
        if not answer.cancelled():
            answer.exception()  # seen, though all who asked may have given up

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
