"""What aiokafka 0.14 really does, trap by trap, and that none of it reaches who reads or appends. On a real broker."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer.group_coordinator import GroupCoordinator

from deploy.servers import Kafka
from shared.errors import InvalidMessage, Outage
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_reader import KafkaSubscription
from shared.kafka_topics import make_topics
from shared.telemetry import PARTITION_LAG_RECORDS, PARTITION_LAG_SECONDS
from tests import servers
from tests.integration.shared.kafka_house import ONE_BROKER, Stored, append, append_at_last, drain, hold_and_drain

Answer = Callable[..., Awaitable[Any]]


async def until(true: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


def consumer_of(subscription: KafkaSubscription) -> Any:
    consumer = subscription._member._consumer
    assert consumer is not None
    return consumer


async def never(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


def raising(error: Exception) -> Answer:
    async def answer(*_: object, **__: object) -> None:
        raise error

    return answer


# assignments


async def test_what_goes_wrong_while_partitions_are_assigned_is_not_swallowed(log: KafkaLog):
    """aiokafka logs what a listener raises, and goes on with partitions that were never placed."""
    stored = Stored()
    stored.position = raising(ZeroDivisionError("a bug"))  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await asyncio.wait_for(log.subscribe("scoring", "events", stored).next(1), 30)


async def test_what_goes_wrong_while_partitions_are_revoked_is_not_swallowed(
    cluster: Cluster, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
):
    await append(log, range(8))
    subscription, stored = log.subscribe("scoring", "events", Stored()), Stored()
    await asyncio.wait_for(subscription.next(50), 30)

    def leave(numbers: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(subscription, "leave", leave)
    other = KafkaLog(cluster)
    theirs = asyncio.ensure_future(other.subscribe("scoring", "events", stored).next(1))
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(30):
            while True:
                await subscription.next(50)
    theirs.cancel()
    await other.close()


async def test_a_database_that_is_away_while_partitions_are_assigned_is_waited_for(log: KafkaLog):
    stored, done = Stored(), list[int]()
    answers = stored.position
    stored.position = raising(Outage("the database is away"))  # type: ignore[method-assign]
    await append(log, range(20))
    subscription = log.subscribe("scoring", "events", stored)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(subscription.next(1), 1.5)
    stored.position = answers  # type: ignore[method-assign]
    await drain(subscription, stored, done, 20)
    assert sorted(done) == list(range(20))


async def test_a_full_reader_goes_on_after_its_partitions_were_shared_out_anew(
    cluster: Cluster, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
):
    """aiokafka forgets at a rebalance what was paused; ours asks for no more while it is full, and that is over once all was taken away."""
    monkeypatch.setattr("shared.kafka_member.BUFFERED", 1)
    stored, done = Stored(), list[int]()
    await append(log, range(40))
    subscription = log.subscribe("scoring", "events", stored)
    first = await asyncio.wait_for(subscription.next(1), 30)
    assert stored.move(first)
    done += [int(record.value) for record in first.records]
    await until(lambda: not subscription._member._room.is_set())
    other = KafkaLog(cluster)
    theirs = other.subscribe("scoring", "events", stored)
    both = [asyncio.ensure_future(drain(one, stored, done, 80)) for one in (subscription, theirs)]
    await append(log, range(40, 80))
    await asyncio.wait_for(asyncio.gather(*both), 60)
    await other.close()
    assert sorted(done) == list(range(80))


# a handler that is busy


async def test_a_handler_busy_for_longer_than_the_session_keeps_its_membership(log: KafkaLog):
    """aiokafka's heartbeats share the loop they are on; ours have one that no handler blocks."""
    stored, done = Stored(), list[int]()
    await append(log, range(40))
    subscription = log.subscribe("scoring", "events", stored)
    await drain(subscription, stored, done, 40)
    member = consumer_of(subscription)._coordinator
    before = (member.generation, member.member_id)
    await append(log, range(40, 80))
    batch = await asyncio.wait_for(subscription.next(50), 30)
    time.sleep(8)  # noqa: ASYNC251 - as a handler does that computes: its whole loop stands, for longer than the session of 6 s
    assert stored.move(batch)
    done += [int(record.value) for record in batch.records]
    await drain(subscription, stored, done, 80)
    assert (member.generation, member.member_id) == before
    assert sorted(done) == list(range(80))


async def test_a_busy_handler_does_not_hold_up_the_rebalance_and_its_batch_is_fenced(cluster: Cluster, log: KafkaLog):
    """`rebalance_timeout` is the session's: who takes longer is thrown out of the group. Ours gives its partitions back at once."""
    stored, done = Stored(), list[int]()
    await append(log, range(40))
    subscription = log.subscribe("scoring", "events", stored)
    in_hand = await asyncio.wait_for(subscription.next(500), 30)
    other, began = KafkaLog(cluster), time.monotonic()
    theirs = other.subscribe("scoring", "events", stored)
    batches = [await asyncio.wait_for(theirs.next(500), 30)]
    assert time.monotonic() - began < 6
    while stored.move(batches[-1]) and in_hand.partition not in {batch.partition for batch in batches}:
        try:
            batches.append(await asyncio.wait_for(theirs.next(500), 2))
        except TimeoutError:
            break
    is_theirs = in_hand.partition in {batch.partition for batch in batches}
    assert stored.move(in_hand) != is_theirs
    done += [int(record.value) for batch in batches for record in batch.records]
    done += [] if is_theirs else [int(record.value) for record in in_hand.records]
    both = [asyncio.ensure_future(drain(one, stored, done, 40)) for one in (subscription, theirs)]
    await asyncio.wait_for(asyncio.gather(*both), 60)
    await other.close()
    assert sorted(done) == list(range(40))


async def test_waits_that_are_given_up_again_and_again_lose_nothing(log: KafkaLog):
    """A cancelled `getmany` may lose what it fetched: only the wait for it is ever cancelled."""
    subscription, seen = log.subscribe("scoring", "events", Stored()), list[int]()
    appends = asyncio.ensure_future(_append_slowly(log, 300))
    async with asyncio.timeout(60):
        while len(seen) < 300:
            try:
                batch = await asyncio.wait_for(subscription.next(7), 0.003)
            except TimeoutError:
                continue
            seen += [int(record.value) for record in batch.records]
    await appends
    assert sorted(seen) == list(range(300))


async def _append_slowly(log: KafkaLog, count: int) -> None:
    for number in range(0, count, 10):
        await append(log, range(number, number + 10))


async def test_a_large_partition_does_not_keep_the_others_waiting(log: KafkaLog):
    """`getmany` hands out the first partition's buffer first: ours asks without a limit, and takes from its shelves in turn."""
    await log.append("events", [("k1", b"x" * 50_000)] * 200)  # 10 MB in one partition
    await append(log, range(100))
    subscription, seen = log.subscribe("scoring", "events", Stored()), list[int]()
    async with asyncio.timeout(30):
        while len(set(seen)) < 4:
            seen.append((await subscription.next(5)).partition)
    assert all(one != other for one, other in pairwise(seen[-3:]))


# commits, rewinds


async def test_a_commit_that_kafka_refuses_is_nothing_to_who_reads(log: KafkaLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.kafka_member.COMMIT_EVERY", 0.05)
    stored, done = Stored(), list[int]()
    await append(log, range(40))
    subscription = log.subscribe("scoring", "events", stored)
    await drain(subscription, stored, done, 40)
    refused = list[int]()

    async def commit(_: object) -> None:
        refused.append(1)
        raise kafka.CommitFailedError

    consumer_of(subscription).commit = commit
    waiting = asyncio.ensure_future(subscription.next(50))
    await until(lambda: len(refused) > 3)
    await append(log, range(40, 44))
    batch = await asyncio.wait_for(waiting, 30)
    assert stored.move(batch)
    done += [int(record.value) for record in batch.records]
    await drain(subscription, stored, done, 44)
    assert sorted(done) == list(range(44))


async def test_a_rewind_while_kafka_does_not_answer_is_an_outage(log: KafkaLog):
    await append(log, range(20))
    subscription = log.subscribe("scoring", "events", Stored())
    batch = await asyncio.wait_for(subscription.next(50), 30)
    consumer_of(subscription).beginning_offsets = raising(kafka.KafkaTimeoutError())
    with pytest.raises(Outage, match="cannot be read"):
        await subscription.rewind(batch.partition)


# hanging, and waiting


async def test_a_member_that_is_never_let_into_its_group_is_found(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(GroupCoordinator, "_do_rejoin_group", never)
    said = list[str]()
    log = KafkaLog(replace(cluster, stuck_seconds=1), said.append)
    waiting = asyncio.ensure_future(log.subscribe("scoring", "events", Stored()).next(1))
    await until(lambda: said)
    waiting.cancel()
    await asyncio.wait_for(log.close(), 15)
    assert "not let into the group for 1 s, and Kafka answers" in said[0]


@pytest.fixture
def without_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three brokers two are gone: a broker of the test's own knows where topics lie, and nobody keeps groups."""
    servers.kafka()  # the one of the test run has its own settings
    settings = Kafka._settings
    wanted = ("offsets.topic.replication.factor=1", "offsets.topic.replication.factor=3")
    monkeypatch.setattr(Kafka, "_settings", lambda broker: settings(broker).replace(*wanted))


@pytest.mark.usefixtures("without_groups")
async def test_while_nobody_keeps_groups_that_is_an_outage_and_no_member_hangs(own_broker: Kafka):
    said = list[str]()
    cluster = Cluster(own_broker.bootstrap, session_seconds=6, request_seconds=2, stuck_seconds=1)
    await make_topics(cluster, ONE_BROKER)
    log = KafkaLog(cluster, said.append)
    waiting = asyncio.ensure_future(log.subscribe("scoring", "events", Stored()).next(1))
    await asyncio.sleep(5)
    waiting.cancel()
    await asyncio.wait_for(log.close(), 15)
    assert said == []


async def test_who_has_nothing_to_read_does_not_hang(cluster: Cluster):
    """Of five members on four partitions one has none; and a topic may be quiet for days."""
    said = list[str]()
    logs = [KafkaLog(replace(cluster, stuck_seconds=0.6), said.append) for _ in range(5)]
    readers = [one.subscribe("scoring", "events", Stored()) for one in logs]
    waiting = [asyncio.ensure_future(one.next(1)) for one in readers]
    await until(lambda: sorted(len(one.settled()) for one in readers) == [0, 1, 1, 1, 1], 60)
    said.clear()  # until all were in, some waited for others
    await asyncio.sleep(3)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*(one.close() for one in logs))
    assert said == []


async def test_a_broker_that_stands_still_is_an_outage_and_no_member_hangs(own_broker: Kafka):
    said = list[str]()
    cluster = Cluster(own_broker.bootstrap, session_seconds=6, request_seconds=2, stuck_seconds=1.2)
    await make_topics(cluster, ONE_BROKER)
    log, stored, done = KafkaLog(cluster, said.append), Stored(), list[int]()
    subscription = log.subscribe("scoring", "events", stored)
    await append(log, range(20))
    await drain(subscription, stored, done, 20)
    reading = asyncio.ensure_future(hold_and_drain(subscription, stored, done, 10**9))
    own_broker.tell(signal.SIGSTOP)
    with pytest.raises(Outage):
        await append(log, range(1000, 1001))
    await asyncio.sleep(4)
    own_broker.tell(signal.SIGCONT)
    await append_at_last(log, range(20, 40))
    await until(lambda: set(done) >= set(range(40)), 60)
    reading.cancel()
    await log.close()
    assert said == []
    assert set(done) - {1000} == set(range(40))


async def test_closing_takes_less_than_fifteen_seconds_though_kafka_stands_still(own_broker: Kafka):
    cluster = Cluster(own_broker.bootstrap, session_seconds=6)
    await make_topics(cluster, ONE_BROKER)
    log = KafkaLog(cluster)
    await append(log, range(20))
    waiting = list[asyncio.Task[Any]]()
    for name in ("scoring", "journeys", "mailer"):
        subscription = log.subscribe(name, "events", Stored())
        await asyncio.wait_for(subscription.next(1), 30)
    own_broker.tell(signal.SIGSTOP)
    waiting.append(asyncio.ensure_future(append(log, range(5))))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await log.close()
    seconds = time.monotonic() - began
    own_broker.tell(signal.SIGCONT)
    with pytest.raises(Outage):
        await waiting[0]
    assert seconds < 15


async def test_a_topic_that_is_made_later_is_read_then(cluster: Cluster):
    later = replace(cluster, prefix=f"{cluster.prefix}-later")
    log, stored, done = KafkaLog(later), Stored(), list[int]()
    subscription = log.subscribe("scoring", "events", stored)
    with pytest.raises(Outage, match=r"does not know the topic .*-later\.events: make it by `dripline migrate`"):
        await asyncio.wait_for(subscription.next(1), 30)
    await make_topics(later, ONE_BROKER)
    await append(log, range(8))
    await asyncio.wait_for(hold_and_drain(subscription, stored, done, 8), 30)
    await log.close()
    assert sorted(done) == list(range(8))


# appends


async def test_a_producer_that_lost_its_sequence_is_made_anew(log: KafkaLog):
    """An idempotent producer of aiokafka refuses for ever after one number out of order (#1017)."""
    await log.append("events", [("k", b"1")])
    assert log._writer is not None
    first = log._writer._producer
    for place in list(first._txn_manager._sequence_numbers):
        first._txn_manager._sequence_numbers[place] += 7
    with pytest.raises(Outage, match="OutOfOrderSequenceNumber"):
        await asyncio.wait_for(log.append("events", [("k", b"2")]), 30)
    await asyncio.wait_for(log.append("events", [("k", b"3")]), 30)
    assert log._writer._producer is not first
    values = [record.value for record in (await asyncio.wait_for(log.subscribe("scoring", "events", Stored()).next(9), 30)).records]
    assert values == [b"1", b"3"]


async def test_a_record_that_the_topic_refuses_spoils_no_other(cluster: Cluster, log: KafkaLog):
    """Kafka refuses whole batches: who lay beside it is sent again, alone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(cluster.topic("narrow"), 1, 1, topic_configs={"max.message.bytes": "20000"})])
    await admin.close()
    small = [log.append("narrow", [(f"k{number}", str(number).encode())]) for number in range(50)]
    answers = await asyncio.gather(*small, log.append("narrow", [("k", b"x" * 50_000)]), return_exceptions=True)
    assert answers[:50] == [None] * 50
    assert isinstance(answers[50], InvalidMessage)
    subscription, seen = log.subscribe("scoring", "narrow", Stored()), set[int]()
    async with asyncio.timeout(30):
        while len(seen) < 50:
            seen |= {int(record.value) for record in (await subscription.next(100)).records}
    assert seen == set(range(50))


# lag


def lag_of(gauge: Any, service: str) -> dict[int, float]:
    (metric,) = gauge.collect()
    return {int(one.labels["partition"]): one.value for one in metric.samples if one.labels["service"] == service}


async def test_lag_is_measured_while_nothing_is_taken_and_gone_with_the_partition(
    cluster: Cluster, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.kafka_watch.MEASURE_EVERY", 0.1)
    monkeypatch.setattr("shared.kafka_member.BUFFERED", 1)
    stored, group = Stored(group="lagging"), "lagging"
    await append(log, range(40))
    subscription = log.subscribe(group, "events", stored)
    in_hand = await asyncio.wait_for(subscription.next(5), 30)
    await append(log, range(40, 100))  # the reader is full: nothing of this is fetched
    await until(lambda: sum(lag_of(PARTITION_LAG_RECORDS, group).values()) == 100)
    assert set(lag_of(PARTITION_LAG_RECORDS, group)) == {0, 1, 2, 3}
    await until(lambda: lag_of(PARTITION_LAG_SECONDS, group)[in_hand.partition] > 0.5)
    assert stored.move(in_hand)
    done = [int(record.value) for record in in_hand.records]
    await drain(subscription, stored, done, 100)
    waiting = asyncio.ensure_future(subscription.next(1))
    await until(lambda: set(lag_of(PARTITION_LAG_RECORDS, group).values()) == {0})
    assert set(lag_of(PARTITION_LAG_SECONDS, group).values()) == {0}
    other = KafkaLog(cluster)
    theirs = asyncio.ensure_future(other.subscribe(group, "events", stored).next(1))
    await until(lambda: len(subscription.settled()) == 2)
    waiting.cancel()
    await log.close()
    theirs.cancel()
    await other.close()
    assert lag_of(PARTITION_LAG_RECORDS, group) == lag_of(PARTITION_LAG_SECONDS, group) == {}
