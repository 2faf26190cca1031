"""The services on Kafka and PostgreSQL as `dripline serve` runs them, beside Quix Streams, beside a bare loop, and beside twice as many.

What is timed begins when the first events have been handled, so that neither side pays for its start.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer
from uvloop import new_event_loop

from bench import town
from bench.pairs import Row, paired
from bench.scoring import EVENTS, made_event
from bench.servers import free_port, post, serving
from bench.whole_way import PLAYBOOK
from dripline.migrate import migrate
from shared import wire
from shared.clock import SystemClock
from shared.db import Database
from shared.kafka_cluster import Cluster
from shared.playbooks import Playbooks, read_folder

ROOT = Path(__file__).parents[1]
QUIX = Path(__file__).parent / "quix"
KEY = "sk_bench-0123456789abcdef"
PATIENCE = 300
"""Seconds that one measurement may take."""
SETTLE_SECONDS = 6
BATCH = 1000
ROUNDS = 3


def scoring() -> Iterator[Row]:
    """One replica of each, the same events on the same kind of topic."""
    yield paired("scoring on Kafka+PostgreSQL / Quix Streams", _scored, _quix, "events/s", 3.0, pairs=ROUNDS)


def doubled() -> Iterator[Row]:
    """More of everything must not be slower, on a machine with two cores that is busy with one already."""
    yield paired("scoring, 2 replicas / 1", lambda: _live(4, 2), lambda: _live(4, 1), "events/s", 1.0, pairs=ROUNDS)
    yield paired("scoring, 8 partitions / 4", lambda: _live(8, 1), lambda: _live(4, 1), "events/s", 1.0, pairs=ROUNDS)


def whole_way() -> Iterator[Row]:
    """From HTTP to the message that mailer will read, beside a loop that reads the same events from Kafka."""
    yield paired("ingest to message on Kafka+PostgreSQL", _whole_way, _bare_loop, "events/s", 0.5, pairs=ROUNDS)


def _scored() -> float:
    """Events a second that one replica of scoring takes in of those that lie there already."""
    return asyncio.run(_until_scored(_Town(4)))


async def _until_scored(here: "_Town") -> float:
    await here.prepare()
    await town.fill(here.cluster, wire.EVENTS, [made_event(number) for number in range(EVENTS)])
    with here.running({"scoring": 1}):
        return await _rate(here, "scoring", wire.EVENTS, EVENTS)


def _live(partitions: int, replicas: int) -> float:
    """Events a second that scoring takes in while they come, once its replicas have shared the partitions among them."""
    return asyncio.run(_while_they_come(_Town(partitions), replicas))


async def _while_they_come(here: "_Town", replicas: int) -> float:
    await here.prepare()
    with here.running({"scoring": replicas}):
        await asyncio.sleep(SETTLE_SECONDS)
        _, rate = await asyncio.gather(
            town.fill(here.cluster, wire.EVENTS, [made_event(number) for number in range(EVENTS)]),
            _rate(here, "scoring", wire.EVENTS, EVENTS),
        )
    return rate


def _whole_way() -> float:
    """Events a second from the first one posted until journeys has handled what came of the last."""
    here = _Town(4)
    asyncio.run(here.prepare())
    with here.running({"ingest": 1, "scoring": 1, "journeys": 1}) as ports:
        started = time.perf_counter()
        url = f"http://127.0.0.1:{ports['ingest']}"
        done = post(url, "/v1/batch", 4, EVENTS / 4000, batch=100, key=KEY, leads=5003, core=None, rate=40)
        events = done["requests"] * 100
        asyncio.run(_until_walked(here, events))
        return float(events / (time.perf_counter() - started))


async def _until_walked(here: "_Town", events: int) -> None:
    """Until every event is recorded and every activity was handled."""
    async with _asking(here.url) as asked, asyncio.timeout(PATIENCE):
        told = handled = 0
        while handled < max(told, events):
            await asyncio.sleep(0.05)
            told = await asked.fetchval("SELECT coalesce(sum(sequence), 0)::bigint FROM scoring_lead")
            handled = await asked.fetchval(_HANDLED, "journeys", wire.ACTIVITIES)


_HANDLED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM shared_position WHERE consumer_group = $1 AND topic = $2"


async def _rate(here: "_Town", group: str, topic: str, count: int) -> float:
    """Records a second that a group handles, from the first batch it has handled until the last."""
    async with _asking(here.url) as asked, asyncio.timeout(PATIENCE):
        while not (first := await asked.fetchval(_HANDLED, group, topic)):
            await asyncio.sleep(0.002)
        started = time.perf_counter()
        while await asked.fetchval(_HANDLED, group, topic) < count:
            await asyncio.sleep(0.01)
        return float((count - first) / (time.perf_counter() - started))


@asynccontextmanager
async def _asking(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


class _Town:
    """A database and topics of their own, and whoever serves on them."""

    def __init__(self, partitions: int) -> None:
        self.url = town.fresh_database()
        self.cluster: Cluster = town.fresh_cluster(partitions)

    async def prepare(self) -> None:
        """Bring the database up to date and publish the bench's playbook."""
        await asyncio.to_thread(migrate, self.url)
        database = Database(self.url)
        await Playbooks(database, SystemClock()).publish(read_folder(PLAYBOOK))
        await database.close()

    def running(self, replicas: Mapping[str, int]) -> "_Running":
        environment = {
            "DRIPLINE_DATABASE_URL": self.url,
            "DRIPLINE_KAFKA_BOOTSTRAP": self.cluster.bootstrap,
            "DRIPLINE_TOPIC_PREFIX": self.cluster.prefix,
            "DRIPLINE_SECRET_KEY": "the secret of a bench is no secret at all",
            "DRIPLINE_API_KEY": KEY,
        }
        return _Running(environment, replicas)


class _Running(ExitStack):
    """Services as processes; entering it answers the port of the first replica of each."""

    def __init__(self, environment: dict[str, str], replicas: Mapping[str, int]) -> None:
        super().__init__()
        self._environment, self._replicas = environment, replicas

    def __enter__(self) -> dict[str, int]:  # type: ignore[override]
        super().__enter__()
        ports = {}
        for name, count in self._replicas.items():
            for _ in range(count):
                port = free_port()
                command = [sys.executable, "-m", "dripline", "serve", name, "--port", str(port)]
                self.enter_context(serving(command, port, core=None, environment=self._environment))
                ports.setdefault(name, port)
        return ports


# The floors.


def _quix() -> float:
    """Events a second that the same core takes in as a Quix Streams application."""
    cluster = town.fresh_cluster(4)
    asyncio.run(town.fill(cluster, wire.EVENTS, [made_event(number) for number in range(EVENTS)]))
    command = [_quix_python(), "-m", "bench.quix.app", cluster.bootstrap, cluster.topic(wire.EVENTS), str(PLAYBOOK), str(EVENTS)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=PATIENCE)
    return EVENTS / float(done.stdout.split()[-1])


@cache
def _quix_python() -> str:
    """An environment with Quix Streams from its own lock, which wants other versions than ours: made for this run."""
    folder = Path(tempfile.mkdtemp(prefix="dripline-bench-quix-"))
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    lock = str(QUIX / "requirements.txt")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", lock], check=True)
    return python


def _bare_loop() -> float:
    """Events a second that a plain loop reads from Kafka, stores, and upserts a row for."""
    cluster, url = town.fresh_cluster(4), town.fresh_database()
    asyncio.run(town.fill(cluster, wire.EVENTS, [made_event(number) for number in range(EVENTS)]))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_stored(cluster, url))


async def _stored(cluster: Cluster, url: str) -> float:
    consumer = AIOKafkaConsumer(
        cluster.topic(wire.EVENTS),
        bootstrap_servers=cluster.bootstrap,
        group_id=f"{cluster.prefix}.bare",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    async with _asking(url) as database:
        await database.execute("CREATE TABLE event (id text PRIMARY KEY, lead text, name text, at timestamptz, body bytea)")
        await database.execute("CREATE TABLE lead (id text PRIMARY KEY, score float8, at timestamptz)")
        done, started = 0, 0.0
        while done < EVENTS:
            found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            started = started or time.perf_counter()
            values = [record.value for records in found.values() for record in records]
            await _store(database, values)
            done += len(values)
            await consumer.commit()
    seconds = time.perf_counter() - started
    await consumer.stop()
    return done / seconds


async def _store(database: Any, values: list[bytes]) -> None:
    events = [(wire.decode_event(value), value) for value in values]
    rows = [(event.id, event.anonymous_id, event.name, event.at, value) for event, value in events]
    upsert = "INSERT INTO lead VALUES ($1, 1, $2) ON CONFLICT (id) DO UPDATE SET score = lead.score + 1, at = excluded.at"
    async with database.transaction():
        await database.executemany("INSERT INTO event VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", rows)
        await database.executemany(upsert, [(event.anonymous_id, event.at) for event, _ in events])
