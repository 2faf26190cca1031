"""What the log on Kafka promises beyond the contract of every log: groups, outages, and each trap of the client library it stands on."""

import asyncio
import signal
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.servers import Kafka
from shared.errors import ConfigurationError, InvalidMessage, Outage
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_reader import KafkaSubscription
from shared.kafka_topics import make_topics
from tests.integration.shared.kafka_house import ONE_BROKER, Stored, append, drain


async def test_a_topic_that_is_not_there_is_named_with_the_remedy(log: KafkaLog):
    with pytest.raises(Outage, match=r"does not know the topic test-.*\.nothing: make it by `dripline migrate`"):
        await log.append("nothing", [("a", b"1")])
    await append(log, range(1))  # and nothing else suffers


async def test_what_the_topic_is_too_small_for_is_refused(cluster: Cluster, log: KafkaLog):
    with pytest.raises(InvalidMessage):
        await log.append("events", [("a", b"x" * (9 << 20))])
    await log.append("events", [("a", b"x" * (7 << 20))])


async def test_two_consumers_of_one_group_share_the_partitions_and_lose_nothing(cluster: Cluster, log: KafkaLog):
    stored, done = Stored(), list[int]()
    await append(log, range(200))
    first = asyncio.ensure_future(drain(log.subscribe("scoring", "events", stored), stored, done, 400))
    while not done:
        await asyncio.sleep(0.01)
    other = KafkaLog(cluster)
    second = asyncio.ensure_future(drain(other.subscribe("scoring", "events", stored), stored, done, 400))
    await append(log, range(200, 400))
    await asyncio.gather(first, second)
    await other.close()
    assert sorted(done) == list(range(400))


async def test_who_leaves_hands_over_and_nothing_is_handled_twice(cluster: Cluster, log: KafkaLog):
    stored, done = Stored(), list[int]()
    other = KafkaLog(cluster)
    await append(log, range(300))
    theirs = other.subscribe("scoring", "events", stored)
    lost = await asyncio.wait_for(theirs.next(20), 30)  # taken, never handled
    await other.close()
    await drain(log.subscribe("scoring", "events", stored), stored, done, 300)
    assert sorted(done) == list(range(300))
    assert not stored.move(lost)  # had it been handled after all, its transaction would have been fenced


async def test_nothing_is_handed_out_before_the_stored_position_is_known(cluster: Cluster, log: KafkaLog):
    """aiokafka fetches from Kafka's own offset while the listener still waits: those records were handled already."""
    stored, done = Stored(), list[int]()
    await append(log, range(40))
    await drain(log.subscribe("scoring", "events", stored), stored, done, 40)
    await log.close()
    again = KafkaLog(cluster)
    stored.hold = asyncio.Event()
    subscription = again.subscribe("scoring", "events", stored)
    waiting = asyncio.ensure_future(subscription.next(10))
    before = stored.asked
    while stored.asked == before:
        await asyncio.sleep(0.01)
    await append(again, range(40, 44))
    done_early, _ = await asyncio.wait([waiting], timeout=1.0)
    assert not done_early
    stored.hold.set()
    batch = await asyncio.wait_for(waiting, 30)
    assert stored.move(batch)
    done += [int(record.value) for record in batch.records]
    await drain(subscription, stored, done, 44)
    await again.close()
    assert sorted(done) == list(range(44))


async def test_the_database_decides_where_to_read_on_whatever_kafka_remembers(cluster: Cluster, log: KafkaLog):
    stored, done = Stored(), list[int]()
    await append(log, range(40))
    await drain(log.subscribe("scoring", "events", stored), stored, done, 40)
    await log.close()
    stored.stored.clear()  # the database was restored from yesterday
    done.clear()
    again = KafkaLog(cluster)
    await drain(again.subscribe("scoring", "events", stored), stored, done, 40)
    await again.close()
    assert sorted(done) == list(range(40))


async def test_a_position_beyond_the_topic_stops_with_the_remedy(cluster: Cluster, log: KafkaLog):
    stored = Stored()
    await append(log, range(4))
    stored.stored = {("scoring", "events", number): 1000 for number in range(4)}
    subscription = log.subscribe("scoring", "events", stored)
    with pytest.raises(ConfigurationError, match=r"scoring has to go on at 1000, but Kafka holds 0 to .* give-up scoring events`"):
        await asyncio.wait_for(subscription.next(10), 30)


async def test_how_far_a_group_is_can_be_seen_from_outside(cluster: Cluster, log: KafkaLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.kafka_member.COMMIT_EVERY", 0.05)
    stored, done = Stored(), list[int]()
    await append(log, range(40))
    subscription = log.subscribe("scoring", "events", stored)
    await drain(subscription, stored, done, 40)
    waiting = asyncio.ensure_future(subscription.next(1))  # who asks for more has handled what it had
    tool = AIOKafkaConsumer(bootstrap_servers=cluster.bootstrap, group_id=cluster.topic("scoring"), enable_auto_commit=False)
    await tool.start()
    try:
        async with asyncio.timeout(30):
            while await _committed(tool, cluster) != 40:
                await asyncio.sleep(0.05)
    finally:
        waiting.cancel()
        await tool.stop()
    assert sum(subscription.lag().values()) == 0


async def _committed(tool: AIOKafkaConsumer, cluster: Cluster) -> int:
    return sum([await tool.committed(TopicPartition(cluster.topic("events"), number)) or 0 for number in range(4)])


async def test_a_consumer_that_hangs_while_records_wait_is_found(cluster: Cluster):
    said = list[str]()
    log = KafkaLog(replace(cluster, stuck_seconds=1), said.append)
    subscription = log.subscribe("scoring", "events", Stored())
    await append(log, range(4))
    for _ in range(2):
        await asyncio.wait_for(subscription.next(50), 30)
    consumer = subscription._member._consumer
    assert consumer is not None

    async def hang(**_: object) -> None:
        await asyncio.Event().wait()

    consumer.getmany = hang
    await asyncio.sleep(0.6)  # the fetch on its way ends
    waiting = asyncio.ensure_future(_wait_for_more(subscription))
    await append(log, range(4, 40))
    async with asyncio.timeout(30):
        while not said:
            await asyncio.sleep(0.05)
    waiting.cancel()
    await log.close()
    assert "records wait, none has come for 1 s, and Kafka answers" in said[0]


async def _wait_for_more(subscription: KafkaSubscription) -> None:
    while True:
        await subscription.next(50)


async def test_a_broker_that_is_killed_and_comes_back_costs_nothing_that_was_acknowledged(own_broker: Kafka):
    cluster = Cluster(own_broker.bootstrap, session_seconds=6, request_seconds=3)
    await make_topics(cluster, ONE_BROKER)
    stuck = list[str]()
    log, stored, done = KafkaLog(replace(cluster, stuck_seconds=2), stuck.append), Stored(), list[int]()
    subscription = log.subscribe("scoring", "events", stored)
    await append(log, range(100))
    await drain(subscription, stored, done, 100)
    await asyncio.to_thread(own_broker.stop, signal.SIGKILL)
    with pytest.raises(Outage):
        await append(log, range(100, 110))
    await asyncio.to_thread(own_broker.start)
    async with asyncio.timeout(60):
        while True:
            try:
                await append(log, range(200, 300))
                break
            except Outage:
                await asyncio.sleep(0.2)
    while not set(done) >= {*range(100), *range(200, 300)}:
        try:
            batch = await asyncio.wait_for(subscription.next(50), 30)
        except Outage:
            continue
        assert stored.move(batch)
        done += [int(record.value) for record in batch.records]
    await log.close()
    assert stuck == []  # an outage is not a stuck consumer
    assert set(done) <= {*range(110), *range(200, 300)}  # those of the outage may have been taken: appends are at least once


async def test_kafka_away_at_the_start_is_waited_for(own_broker: Kafka):
    cluster = Cluster(own_broker.bootstrap, session_seconds=6, request_seconds=2)
    await make_topics(cluster, ONE_BROKER)
    await asyncio.to_thread(own_broker.stop)
    log, stored, done = KafkaLog(cluster), Stored(), list[int]()
    subscription = log.subscribe("scoring", "events", stored)
    with pytest.raises(Outage, match=r"cannot be read|does not answer"):
        await asyncio.wait_for(subscription.next(1), 30)
    with pytest.raises(Outage):
        await append(log, range(1))
    await asyncio.to_thread(own_broker.start)
    async with asyncio.timeout(60):
        while not done:
            try:
                await append(log, range(4))
                batch = await asyncio.wait_for(subscription.next(50), 5)
            except (Outage, TimeoutError):
                continue
            done += [int(record.value) for record in batch.records]
    await log.close()


async def test_closing_takes_less_than_its_fifteen_seconds(cluster: Cluster, log: KafkaLog):
    stored = Stored()
    await append(log, range(10))
    for name in ("scoring", "journeys", "mailer"):
        await asyncio.wait_for(log.subscribe(name, "events", stored).next(1), 30)
    await asyncio.wait_for(log.close(), 15)
