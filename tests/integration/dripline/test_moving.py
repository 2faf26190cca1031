"""`dripline migrate --from`: a folder with all kinds of unfinished business moves to real servers, also when killed, and goes on there."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from dripline.data_folder import DataFolder
from dripline.embedded import House, build_house
from dripline.settings import RunSettings
from services.console.together import Together
from services.console.upstreams import HttpUpstreams
from services.ingest import main as ingest
from services.ingest.settings import IngestSettings
from services.journeys import main as journeys
from services.journeys.settings import JourneysSettings
from services.mailer import main as mailer
from services.mailer.settings import MailerSettings
from services.scoring import main as scoring
from services.scoring.settings import ScoringSettings
from shared.clock import real_now
from shared.database_clock import DatabaseClock
from shared.db import Database
from shared.errors import ConfigurationError
from shared.housekeeping import keep_house
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.keys import KeyRing
from shared.playbooks import Playbooks, read_folder
from shared.service import Loop, Ports, Service
from shared.signing import Signer
from tests import servers
from tests.chaos.sinks import MailSink
from tests.e2e.house import CHECKOUT, DRIPLINE, clean_environment

PLAYBOOK = CHECKOUT / "tests" / "chaos" / "playbook"
SALES = {"SALES_WEBHOOK_URL": "https://sales.example/hot", "SALES_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
EACH = 4
"""Readers in each state that a folder may be left in."""


@pytest.fixture
def mail() -> Iterator[MailSink]:
    sink = MailSink(1)
    sink.start()
    yield sink
    sink.stop()


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


class Servers:
    """An empty database and a prefix of topics of their own, and the command that moves a folder there."""

    def __init__(self, folder: DataFolder) -> None:
        self.name = f"move{uuid4().hex[:12]}"
        servers.postgres().make_database(self.name)
        self.url = servers.postgres().url(self.name)
        self.cluster = Cluster(servers.kafka().bootstrap, prefix=self.name, session_seconds=6)
        self._folder = folder

    def environ(self, **more: str) -> dict[str, str]:
        kept = self._folder.path / "secret"
        ours = {
            "DRIPLINE_DATABASE_URL": self.url,
            "DRIPLINE_KAFKA_BOOTSTRAP": self.cluster.bootstrap,
            "DRIPLINE_TOPIC_PREFIX": self.name,
            "DRIPLINE_KAFKA_PARTITIONS": "2",
            "DRIPLINE_KAFKA_REPLICAS": "1",
            "DRIPLINE_SECRET_KEY": kept.read_text().strip() if kept.exists() else "a secret of thirty-two characters and more",
        }
        return clean_environment(**(ours | more))

    def move(self, **more: str) -> subprocess.CompletedProcess[str]:
        command = [*DRIPLINE, "migrate", "--from", str(self._folder.path), "--format", "json"]
        return subprocess.run(
            command, env=self.environ(**more), cwd=self._folder.path.parent, capture_output=True, text=True, timeout=120, check=False
        )

    async def ask(self, query: str) -> Any:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def forget_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)
        await admin.start()
        await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(self.name)])
        await admin.close()


@pytest.fixture
async def target(folder: DataFolder) -> AsyncIterator[Servers]:
    found = Servers(folder)
    yield found
    await found.forget_topics()


@asynccontextmanager
async def at_work(loops: Sequence[Loop]) -> AsyncIterator[None]:
    """These loops run, and are gone at the end as after a kill."""
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(ask: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await ask():
            await asyncio.sleep(0.05)


async def sign_up(house: House, name: str) -> None:
    """Four readers of this name post what makes the welcome begin."""
    transport = httpx.ASGITransport(app=house.services["ingest"].app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", auth=(house.api_key, "")) as client:
        for number in range(EACH):
            user = f"{name}{number}"
            traits = {"name": user, "email": f"{user}@example.com", "consent": True}
            for path, more in (("identify", {"traits": traits}), ("track", {"event": "Ebook Downloaded"})):
                assert (await client.post(f"/v1/{path}", json={"userId": user, "messageId": f"{user}.{path}", **more})).status_code == 200


async def leave_unfinished(folder: DataFolder, mail: MailSink) -> None:
    """A folder with readers who wait in a journey, mails in the queue, messages, activities and events that nobody has read."""
    with folder.locked():
        house = build_house(folder, RunSettings(smtp_url=mail.url), "http://dripline.test", "open sesame")
        await house.ports.keys.reload()
        await house.ports.playbooks.publish(read_folder(PLAYBOOK))
        stages = {name: service.loops for name, service in house.services.items()}

        async def is_count(query: str, count: int) -> bool:
            async with house.ports.database.reading() as connection:
                return int((await connection.exec_driver_sql(query)).scalar_one()) >= count

        await sign_up(house, "waits")
        async with at_work([*stages["scoring"], *stages["journeys"], *stages["mailer"]]):
            await until(partial(is_count, "SELECT count(*) FROM journeys_enrollment WHERE wake_at IS NOT NULL", EACH))
        await sign_up(house, "queued")
        async with at_work([*stages["scoring"], *stages["journeys"], *stages["mailer"][:2]]):
            await until(partial(is_count, "SELECT count(*) FROM mailer_delivery WHERE status = 'queued'", EACH))
        await sign_up(house, "asked")
        async with at_work([*stages["scoring"], *stages["journeys"]]):
            await until(partial(is_count, "SELECT count(*) FROM journeys_visit WHERE step = 'first'", 3 * EACH))
        await sign_up(house, "scored")
        async with at_work(stages["scoring"]):
            await until(partial(is_count, "SELECT count(*) FROM scoring_lead", 4 * EACH))
        await sign_up(house, "posted")
        await house.close()


def services_on(target: Servers, folder: DataFolder, mail: MailSink, log: KafkaLog) -> tuple[Ports, dict[str, Service]]:
    database = Database(target.url)
    clock = DatabaseClock(database)
    signer = Signer((folder.path / "secret").read_text().strip().encode())
    ports = Ports(log, database, clock, KeyRing(database, clock), Playbooks(database, clock), signer)
    relay = MailerSettings(smtp_url=mail.url, public_url="http://dripline.test")
    return ports, {
        "ingest": ingest.build(IngestSettings(), ports),
        "scoring": scoring.build(ScoringSettings(), ports, SALES),
        "journeys": journeys.build(JourneysSettings(), ports, SALES),
        "mailer": mailer.build(relay, ports, environ=SALES),
    }


async def go_on(target: Servers, folder: DataFolder, mail: MailSink, readers: set[str]) -> dict[str, Any]:
    """The services at work on the servers until every reader has two mails; the audit of then."""
    log = KafkaLog(target.cluster)
    ports, services = services_on(target, folder, mail, log)
    await ports.clock.look()  # type: ignore[attr-defined]
    await ports.keys.reload()
    chores = [chore for service in services.values() for chore in service.chores]
    upstreams = HttpUpstreams.within({name: service.app for name, service in services.items()})
    try:
        async with at_work([*(loop for service in services.values() for loop in service.loops), partial(keep_house, chores)]):

            async def is_done() -> bool:
                return sum(mail.recipients.values()) >= 2 * len(readers)

            await until(is_done, 120)
            caller = {"authorization": f"Bearer {(folder.path / 'api_key').read_text().strip()}"}
            found: dict[str, Any] = await Together(upstreams, ports.clock).audit(caller)
            return found
    finally:
        await upstreams.close()
        await log.close()
        await ports.database.close()


async def test_a_folder_moves_is_killed_on_the_way_and_goes_on_where_it_stood(folder: DataFolder, target: Servers, mail: MailSink):
    await leave_unfinished(folder, mail)
    killed = await asyncio.to_thread(target.move, DRIPLINE_FAILPOINTS="moving.before_commit=kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert await target.ask("SELECT count(*) FROM scoring_lead") == 0
    killed = await asyncio.to_thread(target.move, DRIPLINE_FAILPOINTS="moving.after_commit=kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert await target.ask("SELECT count(*) FROM scoring_lead") == 4 * EACH
    with pytest.raises(ConfigurationError, match="may be done; run the same"), folder.locked():
        pass
    moved = await asyncio.to_thread(target.move)
    assert moved.returncode == 0, moved.stderr
    assert json.loads(moved.stdout)["again"] is True

    run = [*DRIPLINE, "run", "--data", str(folder.path), "--playbook", str(PLAYBOOK), "--port", "0"]
    refused = await asyncio.to_thread(partial(subprocess.run, run, env=target.environ(), capture_output=True, text=True, check=False))
    assert (refused.returncode, "has moved to" in refused.stderr) == (2, True)

    readers = {f"{name}{number}@example.com" for name in ("waits", "queued", "asked", "scored", "posted") for number in range(EACH)}
    audit = await go_on(target, folder, mail, readers)
    assert [check for check in audit["checks"] if not check["ok"]] == []
    assert mail.recipients == dict.fromkeys(readers, 2)
    assert set(mail.accepted.values()) == {1}
    assert await target.ask("SELECT count(DISTINCT lead_id) FROM scoring_event") == 5 * EACH


async def test_what_was_moved_is_counted_and_outbox_blobs_get_numbers_past_the_moved(folder: DataFolder, target: Servers, mail: MailSink):
    await leave_unfinished(folder, mail)
    moved = await asyncio.to_thread(target.move)
    assert moved.returncode == 0, moved.stderr
    said = json.loads(moved.stdout)
    assert said["moved"]["scoring_lead"] == 4 * EACH
    assert said["records"]["events"] == 2 * EACH
    assert said["records"]["activities"] >= EACH
    assert await target.ask("INSERT INTO shared_outbox (service, topic, records, created_at) VALUES ('x', 'x', '', 0) RETURNING id") > (
        await target.ask("SELECT coalesce(max(id), 0) FROM shared_outbox WHERE service <> 'x'")
    )
    assert await target.ask("SELECT count(*) FROM shared_position") == 2 * 5


def test_a_folder_that_somebody_runs_is_refused(folder: DataFolder, target: Servers):
    with folder.locked():
        folder.state.touch()
        refused = target.move()
    assert (refused.returncode, "in use by" in refused.stderr) == (2, True)


def test_a_folder_whose_clock_ran_ahead_is_refused(folder: DataFolder, target: Servers):
    with folder.locked():
        folder.state.touch()
    folder.reserve_time(real_now() + timedelta(days=3))
    refused = target.move()
    assert (refused.returncode, "its clock runs ahead" in refused.stderr) == (2, True)


def test_another_secret_than_the_folders_is_refused(folder: DataFolder, target: Servers):
    with folder.locked():
        folder.state.touch()
        folder.secret_key()
    refused = target.move(DRIPLINE_SECRET_KEY="another secret, of the same length as it")
    assert (refused.returncode, "DRIPLINE_SECRET_KEY is not the folder's" in refused.stderr) == (2, True)


async def test_a_database_or_topics_in_use_are_refused(folder: DataFolder, target: Servers):
    with folder.locked():
        folder.state.touch()
    log = KafkaLog(target.cluster)
    assert (await asyncio.to_thread(target.move)).returncode == 0  # an empty folder moves, too
    (folder.path / folder.MOVED).unlink()
    await target.ask("INSERT INTO journeys_control VALUES ('welcome', 'paused', 'live', 0)")
    refused = await asyncio.to_thread(target.move)
    assert (refused.returncode, "journeys_control" in refused.stderr) == (2, True)
    await target.ask("DELETE FROM journeys_control")
    await target.ask("DELETE FROM shared_position")
    await log.append("events", [("k", b"{}")])
    await log.close()
    refused = await asyncio.to_thread(target.move)
    assert (refused.returncode, "the topics events hold records already" in refused.stderr) == (2, True)
