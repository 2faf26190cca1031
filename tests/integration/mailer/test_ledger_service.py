"""The mailer as it runs: its loops on the embedded log, one SQLite file and a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.mailer.main import build
from services.mailer.settings import MailerSettings
from shared import wire
from shared.clock import SystemClock
from shared.db import Database
from shared.dead_letters import list_dead_letters
from shared.embedded_log import EmbeddedLog
from shared.keys import KeyRing
from shared.playbooks import Playbooks, playbook_of
from shared.service import Ports
from shared.signing import Signer
from tests.builders import a_lead, a_send, a_template, an_activity
from tests.databases import database_url, make_tables
from tests.fakes import FakeRelay
from tests.mailer_house import CONSENT, YAML


@pytest.fixture
async def ports(tmp_path: Path, database_kind: str) -> AsyncIterator[Ports]:
    clock = SystemClock()
    database = Database(database_url(tmp_path))
    async with database.transaction() as connection:
        await make_tables(connection)
    log = EmbeddedLog(tmp_path / "log", clock)
    yield Ports(log, database, clock, KeyRing(database, clock), Playbooks(database, clock), Signer(b"s"))
    await log.close()
    await database.close()


class Counting(FakeRelay):
    """Lets a test wait for mails."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    async def before_offer(self, recipient: str) -> None:
        self.came.set()


@asynccontextmanager
async def running(ports: Ports, relay: FakeRelay) -> AsyncIterator[None]:
    settings = MailerSettings(smtp_url=SecretStr("smtp://127.0.0.1:1"))
    service = build(settings, ports, environ={}, mail=relay)
    tasks = [asyncio.ensure_future(loop()) for loop in service.loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def published(ports: Ports) -> str:
    playbook = playbook_of({"playbook.yaml": YAML.encode(), "templates/welcome-1.html": a_template()})
    await ports.playbooks.publish(playbook)
    return playbook.version


async def events(ports: Ports, number: int) -> list[wire.Event]:
    """The first so many events that the mailer told."""
    subscription = ports.log.subscribe("test", wire.EVENTS, _FromTheBeginning())
    found: list[wire.Event] = []
    async with asyncio.timeout(20):
        while len(found) < number:
            found += [wire.decode_event(record.value) for record in (await subscription.next(100)).records]
    await subscription.close()
    return found


class _FromTheBeginning:
    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return None


async def test_what_journeys_publish_is_delivered_and_told(ports: Ports) -> None:
    version = await published(ports)
    relay = Counting()
    sends = [a_send(id=f"m{number}", version=version) for number in range(50)]
    async with running(ports, relay):
        await ports.log.append(wire.ACTIVITIES, [("l1", wire.encode(an_activity(lead=a_lead(consent=CONSENT))))])
        await ports.log.append(wire.MESSAGES, [("l1", wire.encode(send)) for send in sends])
        told = await events(ports, 50)
    assert {event.name for event in told} == {"Email Sent"}
    assert len({event.id for event in told}) == len(relay.taken) == 50


async def test_a_poisonous_message_stops_nobody(ports: Ports) -> None:
    version = await published(ports)
    relay = Counting()
    async with running(ports, relay):
        await ports.log.append(wire.ACTIVITIES, [("l1", b"{broken"), ("l1", wire.encode(an_activity(lead=a_lead(consent=CONSENT))))])
        await ports.log.append(wire.MESSAGES, [("l1", b"\xff"), ("l1", wire.encode(a_send(version=version)))])
        await events(ports, 1)
    assert len(relay.taken) == 1
    async with ports.database.reading() as connection:
        letters = await list_dead_letters(connection, "mailer", 10)
    assert {(letter["topic"], letter["code"]) for letter in letters} == {("activities", "undecodable"), ("messages", "undecodable")}


async def test_told_to_stop_it_first_ends_what_is_under_way(ports: Ports) -> None:
    version = await published(ports)
    gate = asyncio.Event()

    class Slow(Counting):
        async def before_offer(self, recipient: str) -> None:
            self.came.set()
            await gate.wait()

    relay = Slow()
    async with running(ports, relay):
        await ports.log.append(wire.ACTIVITIES, [("l1", wire.encode(an_activity(lead=a_lead(consent=CONSENT))))])
        await ports.log.append(wire.MESSAGES, [("l1", wire.encode(a_send(version=version)))])
        await relay.came.wait()
        asyncio.get_running_loop().call_later(0.05, gate.set)
    assert len(relay.taken) == 1
    assert [event.name for event in await events(ports, 1)] == ["Email Sent"]
