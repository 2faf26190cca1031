"""Looking names up: a name server that hangs costs its own endpoint only."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from services.mailer.names import THREADS, Names


class NameServer:
    """Knows every name but `unknown.example`, and is silent about `slow.example` until told to speak."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.speak = threading.Event()

    def look_up(self, host: str, port: int, *_: Any) -> list[Any]:
        self.asked[host] += 1
        if host == "slow.example":
            self.speak.wait()
        if host == "unknown.example":
            raise socket.gaierror("unknown name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.speak.set()


async def test_a_name_server_that_hangs_keeps_no_other_name_waiting(server: NameServer) -> None:
    names = Names(server.look_up)
    slow = [asyncio.create_task(names.resolve("slow.example", 443)) for _ in range(2 * THREADS)]
    [quick] = await asyncio.wait_for(names.resolve("quick.example", 443), 5)
    assert (quick["host"], quick["port"]) == ("192.0.2.7", 443)
    server.speak.set()
    assert all(len(found) == 1 for found in await asyncio.gather(*slow))
    assert server.asked == {"slow.example": 1, "quick.example": 1}
    await names.close()


async def test_who_gives_up_leaves_the_others_their_answer(server: NameServer) -> None:
    names = Names(server.look_up)
    patient, impatient = (asyncio.create_task(names.resolve("slow.example", 443)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    server.speak.set()
    assert len(await patient) == 1
    await names.close()


async def test_an_answer_is_not_kept(server: NameServer) -> None:
    names = Names(server.look_up)
    for _ in range(2):
        await names.resolve("quick.example", 443)
    with pytest.raises(OSError, match="unknown name"):
        await names.resolve("unknown.example", 443)
    assert server.asked["quick.example"] == 2
    await names.close()
