"""A topic that lost what a service has to read next: it refuses to go on, and `dripline positions` shows and mends it. Real servers."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from dripline.cli.main import app
from dripline.migrate import migrate
from shared.db import Database
from shared.errors import ConfigurationError
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_topics import Layout, make_topics
from shared.positions import StoredPositions, move_position
from tests import servers

EVENTS = "events"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def name() -> str:
    return f"positions{uuid4().hex[:12]}"


@pytest.fixture
def url(name: str) -> str:
    servers.postgres().make_database(name)
    migrate(servers.postgres().url(name))
    return servers.postgres().url(name)


@pytest.fixture
def cluster(name: str) -> Cluster:
    cluster = Cluster(servers.kafka().bootstrap, prefix=name, session_seconds=6)
    asyncio.run(make_topics(cluster, Layout(partitions=2, replicas=1, in_sync=1)))
    return cluster


@pytest.fixture
def command(url: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("DRIPLINE_DATABASE_URL", url)
    monkeypatch.setenv("DRIPLINE_KAFKA_BOOTSTRAP", cluster.bootstrap)
    monkeypatch.setenv("DRIPLINE_TOPIC_PREFIX", cluster.prefix)
    monkeypatch.setenv("DRIPLINE_SECRET_KEY", "the secret of this test, and of no other")

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(words))
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def listed(command: Command) -> tuple[int, list[dict[str, Any]]]:
    code, out, _ = command("positions", "list", "--format", "json")
    return code, json.loads(out)["items"]


async def append(cluster: Cluster, count: int) -> None:
    log = KafkaLog(cluster)
    await log.append(EVENTS, [(f"k{number}", str(number).encode()) for number in range(count)])
    await log.close()


async def read(cluster: Cluster, url: str, count: int) -> list[int]:
    """Handle as scoring would, each batch with its position in one transaction; raises what its subscription raises."""
    log, database, values = KafkaLog(cluster), Database(url), list[int]()
    subscription = log.subscribe("scoring", EVENTS, StoredPositions(database))
    try:
        while len(values) < count:
            batch = await asyncio.wait_for(subscription.next(500), 30)
            async with database.transaction() as connection:
                moved = {"expected": batch.position, "to": batch.next_offset, "first": batch.first}
                await move_position(connection, "scoring", EVENTS, batch.partition, **moved)
            values += [int(record.value) for record in batch.records]
    finally:
        await log.close()
        await database.close()
    return values


async def keep_only_the_newest(cluster: Cluster) -> None:
    """As retention does, at once: everything before the end is deleted."""
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(cluster.topic(EVENTS), number): RecordsToDelete(-1) for number in range(2)})
    await admin.close()


async def make_anew(cluster: Cluster) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    await admin.delete_topics([cluster.topic(EVENTS)])
    async with asyncio.timeout(30):
        while cluster.topic(EVENTS) in await admin.list_topics():
            await asyncio.sleep(0.1)
    await admin.close()
    await make_topics(cluster, Layout(partitions=2, replicas=1, in_sync=1))


def test_positions_are_shown_beside_what_kafka_holds(command: Command, cluster: Cluster, url: str):
    asyncio.run(append(cluster, 40))
    asyncio.run(read(cluster, url, 40))
    asyncio.run(append(cluster, 10))
    code, items = listed(command)
    assert code == 0
    assert [(item["service"], item["topic"], item["partition"]) for item in items] == [("scoring", EVENTS, 0), ("scoring", EVENTS, 1)]
    assert sum(item["behind"] for item in items) == 10
    assert command("positions", "give-up", "scoring", EVENTS, "--yes")[0] == 1  # nothing is lost
    assert listed(command) == (code, items)


def test_records_deleted_before_they_were_read_stop_the_service_until_they_are_given_up(command: Command, cluster: Cluster, url: str):
    asyncio.run(append(cluster, 40))
    asyncio.run(read(cluster, url, 40))
    asyncio.run(append(cluster, 20))
    asyncio.run(keep_only_the_newest(cluster))
    with pytest.raises(ConfigurationError, match=r"scoring has to go on at \d+, but Kafka holds .* give-up scoring events`"):
        asyncio.run(read(cluster, url, 1))
    code, items = listed(command)
    assert (code, {item["lost"] for item in items}) == (1, {True})
    code, out, err = command("positions", "give-up", "scoring", EVENTS, "--yes")
    assert (code, err) == (0, "")
    lost = [int(line.split(", ")[1].split()[0]) for line in out.splitlines()]
    assert sum(lost) == 20
    asyncio.run(append(cluster, 5))
    assert sorted(asyncio.run(read(cluster, url, 5))) == list(range(5))
    assert listed(command)[0] == 0


def test_a_topic_made_anew_stops_the_service_until_its_position_is_given_up(command: Command, cluster: Cluster, url: str):
    asyncio.run(append(cluster, 40))
    asyncio.run(read(cluster, url, 40))
    asyncio.run(make_anew(cluster))
    asyncio.run(append(cluster, 6))
    with pytest.raises(ConfigurationError, match="The topic was made anew, or kept its records for less time"):
        asyncio.run(read(cluster, url, 1))
    code, out, _ = command("positions", "give-up", "scoring", EVENTS, "--yes")
    assert code == 0
    assert all(line.endswith("→ 0, the topic was made anew") for line in out.splitlines())
    assert sorted(asyncio.run(read(cluster, url, 6))) == list(range(6))


def test_a_topic_that_is_gone_is_shown_as_lost(command: Command, cluster: Cluster, url: str):
    asyncio.run(append(cluster, 4))
    asyncio.run(read(cluster, url, 4))

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        await admin.start()
        await admin.delete_topics([cluster.topic(EVENTS)])
        await admin.close()

    asyncio.run(delete())
    code, items = listed(command)
    assert (code, {(item["begins"], item["lost"]) for item in items}) == (1, {(None, True)})
