"""What every adapter of the log promises. A new adapter adds one line to ADAPTERS."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest

from shared.clock import SystemClock
from shared.embedded_log import EmbeddedLog
from shared.errors import InvalidMessage, Outage
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_topics import Layout, make_topics
from shared.log import Batch, Log, Record, Subscription
from shared.wire import decode_event
from tests import servers

PARTITIONS = 3
Open = Callable[[], Awaitable[Log]]


async def embedded(folder: Path) -> Log:
    return EmbeddedLog(folder / "log", SystemClock(), partitions=PARTITIONS)


async def kafka(folder: Path) -> Log:
    """Topics of its own for each test, on the one broker of the test run."""
    cluster = Cluster(servers.kafka().bootstrap, prefix=f"contract-{uuid5(NAMESPACE_URL, str(folder)).hex}")
    await make_topics(cluster, Layout(partitions=PARTITIONS, replicas=1, in_sync=1))
    return KafkaLog(cluster)


ADAPTERS = [pytest.param(embedded, id="embedded"), pytest.param(kafka, id="kafka")]


class StoredInMemory:
    """Positions that a test moves by hand, as a consumer's transaction would."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, int], int] = {}

    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return self.stored.get((group, topic, partition))

    def move(self, group: str, batch: Batch) -> None:
        self.stored[group, batch.topic, batch.partition] = batch.next_offset


@pytest.fixture(params=ADAPTERS)
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the log anew on what is already there; the one before is closed first."""
    opened: list[Log] = []

    async def open_anew() -> Log:
        if opened:
            await opened[-1].close()
        opened.append(await request.param(tmp_path))
        return opened[-1]

    yield open_anew
    await opened[-1].close()


@pytest.fixture
async def log(reopen: Open) -> Log:
    return await reopen()


@pytest.fixture
def positions() -> StoredInMemory:
    return StoredInMemory()


async def read(subscription: Subscription, count: int, limit: int = 500) -> list[Batch]:
    batches: list[Batch] = []
    while sum(len(batch.records) for batch in batches) < count:
        batches.append(await asyncio.wait_for(subscription.next(limit), 30))
    return batches


async def records_of(subscription: Subscription, count: int) -> list[Record]:
    return [record for batch in await read(subscription, count) for record in batch.records]


async def is_waiting(subscription: Subscription) -> bool:
    """True when `next` finds nothing; it is cancelled, which loses nothing."""
    waiting = asyncio.ensure_future(subscription.next(1))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    waiting.cancel()
    return not done


async def is_caught_up(subscription: Subscription) -> bool:
    """True once it is known that nothing waits."""
    while await is_waiting(subscription):
        with suppress(Outage):
            return subscription.backlog_since() is None
    return False


async def test_records_of_a_partition_come_in_the_order_they_were_appended(log: Log, positions: StoredInMemory) -> None:
    for number in range(50):
        await log.append("events", [(f"k{number % 7}", f"{number}".encode())])
    subscription = log.subscribe("scoring", "events", positions)
    by_partition: dict[int, list[int]] = {}
    for batch in await read(subscription, 50):
        by_partition.setdefault(batch.partition, []).extend(int(record.value) for record in batch.records)
    assert sorted(number for numbers in by_partition.values() for number in numbers) == list(range(50))
    assert all(numbers == sorted(numbers) for numbers in by_partition.values())


async def test_one_key_lies_in_one_partition_also_after_reopening(reopen: Open, positions: StoredInMemory) -> None:
    log = await reopen()
    await log.append("events", [(f"k{number}", b"before") for number in range(20)])
    log = await reopen()
    await log.append("events", [(f"k{number}", b"after") for number in range(20)])
    homes: dict[str, set[int]] = {}
    for batch in await read(log.subscribe("scoring", "events", positions), 40):
        for record in batch.records:
            homes.setdefault(record.key, set()).add(batch.partition)
    assert len(homes) == 20
    assert all(len(home) == 1 for home in homes.values())
    assert len(set.union(*homes.values())) > 1


async def test_batches_continue_each_other_and_name_their_offsets(log: Log, positions: StoredInMemory) -> None:
    await log.append("events", [("one", f"{number}".encode()) for number in range(10)])
    batches = await read(log.subscribe("scoring", "events", positions), 10, limit=3)
    assert [len(batch.records) for batch in batches] == [3, 3, 3, 1]
    for before, after in pairwise(batches):
        assert after.position == before.next_offset
    for batch in batches:
        assert len(batch.offsets) == len(batch.records)
        assert batch.position <= batch.offsets[0]
        assert list(batch.offsets) == sorted(set(batch.offsets))
        assert batch.next_offset > batch.offsets[-1]


async def test_a_group_goes_on_at_its_stored_position(reopen: Open, positions: StoredInMemory) -> None:
    log = await reopen()
    await log.append("events", [("one", f"{number}".encode()) for number in range(10)])
    first = await log.subscribe("scoring", "events", positions).next(4)
    positions.move("scoring", first)
    log = await reopen()
    (rest,) = await read(log.subscribe("scoring", "events", positions), 6)
    assert [record.value for record in rest.records] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert rest.position == first.next_offset


async def test_rewinding_goes_back_to_the_stored_position(log: Log, positions: StoredInMemory) -> None:
    subscription = log.subscribe("scoring", "events", positions)
    for number in range(9):
        await log.append("events", [("one", f"{number}".encode())])
    kept = (await read(subscription, 3, limit=3))[0]
    positions.move("scoring", kept)
    lost = await read(subscription, 6, limit=2)
    await subscription.rewind(kept.partition)
    again = await read(subscription, 6, limit=2)
    assert [batch.records for batch in again] == [batch.records for batch in lost]
    assert [batch.position for batch in again] == [batch.position for batch in lost]


async def test_rewinding_without_a_stored_position_begins_anew(log: Log, positions: StoredInMemory) -> None:
    await log.append("events", [("one", b"a"), ("one", b"b")])
    subscription = log.subscribe("scoring", "events", positions)
    first = await subscription.next(10)
    await subscription.rewind(first.partition)
    assert await subscription.next(10) == first


async def test_two_groups_read_independently(log: Log, positions: StoredInMemory) -> None:
    await log.append("events", [("one", b"a"), ("one", b"b")])
    scoring, mailer = log.subscribe("scoring", "events", positions), log.subscribe("mailer", "events", positions)
    positions.move("scoring", await scoring.next(10))
    assert [record.value for record in await records_of(mailer, 2)] == [b"a", b"b"]
    assert await is_waiting(scoring)


async def test_topics_do_not_mix(log: Log, positions: StoredInMemory) -> None:
    await log.append("events", [("one", b"event")])
    await log.append("dead-letters", [("one", b"letter")])
    assert [record.value for record in await records_of(log.subscribe("scoring", "dead-letters", positions), 1)] == [b"letter"]


async def test_many_concurrent_appends_are_all_there_once(log: Log, positions: StoredInMemory) -> None:
    await asyncio.gather(*(log.append("events", [(f"k{number % 50}", f"{number}".encode())]) for number in range(2000)))
    records = await records_of(log.subscribe("scoring", "events", positions), 2000)
    assert sorted(int(record.value) for record in records) == list(range(2000))


@pytest.mark.parametrize("value", [b"", b"\x00", bytes(range(256)) * 40, b"\xff\xfe", b"DLF1" * 100, b"x" * 1_000_000])
async def test_values_of_any_bytes_come_back_as_they_were(log: Log, positions: StoredInMemory, value: bytes) -> None:
    await log.append("events", [("schlüssel سلام \x00", value)])
    (record,) = await records_of(log.subscribe("scoring", "events", positions), 1)
    assert (record.key, record.value) == ("schlüssel سلام \x00", value)


async def test_everything_acknowledged_is_there_after_reopening(reopen: Open, positions: StoredInMemory) -> None:
    log = await reopen()
    await log.append("events", [("one", b"a")])
    log = await reopen()
    await log.append("events", [("one", b"b")])
    log = await reopen()
    assert [record.value for record in await records_of(log.subscribe("scoring", "events", positions), 2)] == [b"a", b"b"]


async def test_a_waiting_reader_wakes_when_another_thread_appends(log: Log, positions: StoredInMemory) -> None:
    subscription = log.subscribe("scoring", "events", positions)
    waiting = asyncio.ensure_future(subscription.next(10))
    await asyncio.sleep(0)
    other = threading.Thread(target=lambda: asyncio.run(_append(log)))
    other.start()
    batch = await asyncio.wait_for(waiting, 30)
    other.join()
    assert [record.value for record in batch.records] == [b"hello"]


async def _append(log: Log) -> None:
    await log.append("events", [("one", b"hello")])


async def test_a_cancelled_wait_loses_nothing(log: Log, positions: StoredInMemory) -> None:
    subscription = log.subscribe("scoring", "events", positions)
    assert await is_waiting(subscription)
    await log.append("events", [("one", b"a")])
    assert [record.value for record in await records_of(subscription, 1)] == [b"a"]


async def test_the_backlog_is_as_old_as_its_oldest_record_not_handed_out(log: Log, positions: StoredInMemory) -> None:
    subscription = log.subscribe("scoring", "events", positions)
    assert await is_caught_up(subscription)
    before = datetime.fromtimestamp(SystemClock().now().timestamp() - 1, UTC)
    await log.append("events", [("one", b"a"), ("one", b"b")])
    first = await subscription.next(1)
    oldest = subscription.backlog_since()
    assert oldest is not None
    assert before < oldest
    assert oldest >= first.records[0].at
    await subscription.next(1)
    assert subscription.backlog_since() is None


async def test_a_groups_backlog_counts_a_batch_until_the_next_is_asked_for(log: Log, positions: StoredInMemory) -> None:
    assert log.backlog_since("scoring", "events") is None
    subscription = log.subscribe("scoring", "events", positions)
    await log.append("events", [("one", b"a"), ("one", b"b")])
    (first,) = (await subscription.next(1)).records
    (second,) = (await subscription.next(1)).records
    assert log.backlog_since("scoring", "events") == second.at >= first.at
    assert log.backlog_since("mailer", "events") is None
    assert await is_waiting(subscription)
    assert log.backlog_since("scoring", "events") is None


async def test_only_the_batch_that_begins_where_the_log_begins_is_the_first(log: Log, positions: StoredInMemory) -> None:
    await log.append("events", [("one", b"a"), ("one", b"b")])
    subscription = log.subscribe("scoring", "events", positions)
    begins = await subscription.next(1)
    assert (begins.first, (await subscription.next(1)).first) == (True, False)
    positions.move("scoring", begins)
    await subscription.rewind(begins.partition)
    assert not (await subscription.next(1)).first


async def test_no_partition_waits_for_another_to_be_empty(log: Log, positions: StoredInMemory) -> None:
    await log.append("events", [(f"k{number}", b"x") for number in range(300)])
    subscription = log.subscribe("scoring", "events", positions)
    seen: set[int] = set()
    for _ in range(200):
        batch = await asyncio.wait_for(subscription.next(10), 30)
        seen.add(batch.partition)
        await log.append("events", [(record.key, b"more") for record in batch.records])  # it never runs dry
    assert len(seen) == PARTITIONS


async def test_closing_a_subscription_ends_its_wait(log: Log, positions: StoredInMemory) -> None:
    subscription = log.subscribe("scoring", "events", positions)
    waiting = asyncio.ensure_future(subscription.next(1))
    await asyncio.sleep(0)
    await subscription.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_closed_log_takes_nothing(reopen: Open) -> None:
    log = await reopen()
    await log.close()
    with pytest.raises(Outage):
        await log.append("events", [("one", b"a")])


async def test_a_record_no_log_can_hold_is_refused_alone(log: Log, positions: StoredInMemory) -> None:
    with pytest.raises(InvalidMessage):
        await log.append("events", [("one", b"x" * 20_000_000)])
    with pytest.raises(InvalidMessage):
        await log.append("events", [("\ud83d", b"a")])
    await log.append("events", [("one", b"b")])
    assert [record.value for record in await records_of(log.subscribe("scoring", "events", positions), 1)] == [b"b"]


async def test_a_parcel_comes_out_as_its_events_at_one_offset(log: Log, positions: StoredInMemory) -> None:
    def parcel(*names: str) -> bytes:
        items = ",".join(f'{{"event":"{name}","userId":"u"}}' for name in names)
        said = '"id":"p","type":"track","source":"pk_1","trusted":false,"historical":false,"received_at":"2027-03-01T12:00:00Z"'
        return f'{{"parcel":1,{said},"items":[{items}]}}'.encode()

    await log.append("events", [("u", parcel("A", "B", "C")), ("u", b"plain"), ("u", parcel("D"))])
    subscription = log.subscribe("scoring", "events", positions)
    first = await subscription.next(2)  # no batch ends within a parcel
    assert [decode_event(record.value).name for record in first.records] == ["A", "B", "C"]
    assert len(set(first.offsets)) == 1
    assert first.next_offset > first.offsets[0]
    positions.move("scoring", first)
    await subscription.rewind(first.partition)
    rest = await records_of(subscription, 2)
    assert rest[0].value == b"plain"
    assert decode_event(rest[1].value).name == "D"


async def test_it_says_what_each_partition_holds(log: Log):
    assert set((await log.bounds("events")).values()) <= {(0, 0)}
    await log.append("events", [(f"key{number}", b"{}") for number in range(30)])
    held = await log.bounds("events")
    assert sorted(held) == list(range(PARTITIONS))
    assert {first for first, _ in held.values()} == {0}
    assert sum(end for _, end in held.values()) == 30


async def test_a_topic_that_nobody_made_holds_nothing(log: Log):
    assert await log.bounds("nobody-made-it") == {}
