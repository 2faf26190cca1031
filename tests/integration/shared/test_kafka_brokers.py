"""Three brokers, two of which must have a record: one may die under load, and two away are an outage that ends by itself."""

import asyncio
import signal
import time
from collections import Counter
from uuid import uuid4

import pytest

from shared.errors import Outage
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_topics import Layout, differences, make_topics
from tests import servers
from tests.integration.shared.kafka_house import Stored, append, append_at_last, hold_and_drain

SAFE = Layout(partitions=6, replicas=3, in_sync=2)


@pytest.fixture
async def cluster() -> Cluster:
    cluster = Cluster(servers.kafka_cluster().bootstrap, prefix=f"three-{uuid4().hex}", session_seconds=6, request_seconds=5)
    await make_topics(cluster, SAFE, ["events"])
    return cluster


class Load:
    """Appends without pause, ten at once, each until the log has taken it; keeps account of what was taken and what had to be repeated."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self.taken: list[int] = []
        self.repeated: set[int] = set()
        self._stopped = False
        self._next = 0
        self._tasks = [asyncio.ensure_future(self._run()) for _ in range(10)]

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), 60)

    async def _run(self) -> None:
        while not self._stopped:
            number, self._next = self._next, self._next + 1
            if await append_at_last(self._log, range(number, number + 1)):
                self.repeated.add(number)
            self.taken.append(number)
            await asyncio.sleep(0.005)


async def test_topics_on_three_brokers_are_made_as_migrate_makes_them(cluster: Cluster):
    assert await differences(cluster, SAFE, ["events"]) == []


@pytest.mark.timeout(240)
async def test_a_broker_killed_under_load_costs_no_acknowledged_record_and_doubles_none(cluster: Cluster):
    stuck = list[str]()
    log, stored, done = KafkaLog(cluster, stuck.append), Stored(), list[int]()
    subscription, load = log.subscribe("scoring", "events", stored), Load(log)
    reading = asyncio.ensure_future(hold_and_drain(subscription, stored, done, 10**9))
    victim = servers.kafka_cluster().brokers[1]
    try:
        await asyncio.sleep(2)
        before = len(load.taken)
        await asyncio.to_thread(victim.stop, signal.SIGKILL)
        async with asyncio.timeout(60):  # the others go on without it
            while len(load.taken) < before + 500:
                await asyncio.sleep(0.1)
    finally:
        await asyncio.to_thread(victim.start)
    await load.stop()
    async with asyncio.timeout(60):
        while set(done) < set(load.taken):
            await asyncio.sleep(0.1)
    reading.cancel()
    await log.close()
    counted = Counter(done)
    assert set(counted) == set(load.taken)
    assert {number for number, times in counted.items() if times > 1} <= load.repeated  # only what was appended again, after no answer
    assert stuck == []


@pytest.mark.timeout(240)
async def test_two_brokers_away_are_an_outage_that_ends_by_itself(cluster: Cluster):
    stuck = list[str]()
    log, stored, done = KafkaLog(cluster, stuck.append), Stored(), list[int]()
    subscription = log.subscribe("scoring", "events", stored)
    await append_at_last(log, range(100))
    victims = servers.kafka_cluster().brokers[1:]
    reading = asyncio.ensure_future(hold_and_drain(subscription, stored, done, 10**9))
    for victim in victims:
        await asyncio.to_thread(victim.stop, signal.SIGKILL)
    try:
        began = time.monotonic()
        with pytest.raises(Outage):
            await append(log, range(1000, 1100))
        assert time.monotonic() - began < 15
    finally:
        for victim in victims:
            victim.start(wait=False)
        for victim in victims:
            await asyncio.to_thread(victim.wait)
    await asyncio.wait_for(append_at_last(log, range(100, 200)), 60)
    async with asyncio.timeout(60):
        while not set(done) >= set(range(200)):
            await asyncio.sleep(0.1)
    reading.cancel()
    await log.close()
    assert set(done) <= {*range(200), *range(1000, 1100)}  # those of the outage may have been taken: appends are at least once
    assert max(Counter(number for number in done if number < 200).values()) == 1
    assert stuck == []
