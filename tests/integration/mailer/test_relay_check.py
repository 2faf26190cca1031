"""Readiness looks whether the mail server answers."""

import asyncio
import socket

import pytest

from services.mailer.relay import Relay
from services.mailer.relay_check import RelayCheck
from shared.errors import Outage


async def test_a_mail_server_that_is_away_is_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Outage, match=rf"the mail server 127\.0\.0\.1:{port} does not answer"):
        await RelayCheck(Relay("127.0.0.1", port))()


async def test_many_who_ask_are_one_connection():
    asked = 0

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    check = RelayCheck(Relay("127.0.0.1", server.sockets[0].getsockname()[1]))
    await asyncio.gather(*(check() for _ in range(20)))
    await asyncio.sleep(0)
    server.close()
    await server.wait_closed()
    assert asked == 1
