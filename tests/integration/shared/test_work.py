"""One transaction, its outbox and its position: what a crash at any point leaves behind is made good, and nothing is done twice."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, text

from shared.clock import FakeClock, real_now
from shared.consumer import Consumer
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.errors import Fenced, InvalidMessage, Outage
from shared.keys import KeyRing
from shared.log import Record
from shared.playbooks import Playbooks
from shared.positions import StoredPositions, move_position
from shared.service import Ports
from shared.signing import Signer
from shared.tables import DeadLetterRow, OutboxBlob
from shared.work import Outbox, Work
from tests.databases import cancelled_while_committing, database_url, make_tables
from tests.fakes import RecordingLog

SERIAL = {"sqlite": "INTEGER", "postgresql": "BIGSERIAL"}
START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
async def ports(tmp_path: Path, database_kind: str):
    database = Database(database_url(tmp_path))
    async with database.transaction() as connection:
        await make_tables(connection)
        await connection.execute(text(f"CREATE TABLE test_seen (place {SERIAL[connection.dialect.name]} PRIMARY KEY, n INTEGER)"))
    clock = FakeClock(START)
    log = EmbeddedLog(tmp_path / "log", clock)
    yield Ports(log, database, clock, KeyRing(database, clock), Playbooks(database, clock), Signer(b"s"))
    await log.close()
    await database.close()


async def seen(ports: Ports) -> list[int]:
    async with ports.database.reading() as connection:
        return list((await connection.execute(text("SELECT n FROM test_seen ORDER BY place"))).scalars())


async def handled(ports: Ports, handle, upto: int) -> None:
    """Run a consumer until its position stands at `upto`."""
    reached = asyncio.Event()
    positions = StoredPositions(ports.database)

    async def watch() -> None:
        while await positions.position("scoring", "events", 0) != upto:
            await asyncio.sleep(0.01)
        reached.set()

    consumer = Consumer("events", ports, Outbox("scoring", ports.database, ports.log, ports.clock), handle)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(consumer.run())
        await watch()
        running.cancel()


async def store(work: Work, records: Sequence[Record]) -> None:
    for record in records:
        if record.value == b"poison":
            raise InvalidMessage("poison", "it cannot be read")
        await work.conn.execute(text("INSERT INTO test_seen (n) VALUES (:n)"), {"n": int(record.value)})


async def test_every_record_is_applied_once_over_restarts(ports: Ports):
    await ports.log.append("events", [("k", str(n).encode()) for n in range(40)])
    await handled(ports, store, 40)
    await ports.log.append("events", [("k", str(n).encode()) for n in range(40, 50)])
    await handled(ports, store, 50)
    assert await seen(ports) == list(range(50))


async def test_poison_is_set_aside_alone_and_its_neighbours_pass(ports: Ports):
    await ports.log.append("events", [("k", b"1"), ("k", b"poison"), ("k", b"not a number"), ("k", b"2")])
    await handled(ports, store, 4)
    assert await seen(ports) == [1, 2]
    async with ports.database.reading() as connection:
        letters = (await connection.execute(select(DeadLetterRow.code, DeadLetterRow.payload).order_by(DeadLetterRow.code))).all()
    assert [tuple(letter) for letter in letters] == [("bug", b"not a number"), ("poison", b"poison")]


async def test_a_record_of_a_version_to_come_is_parked_as_it_is_and_its_neighbours_pass(ports: Ports):
    """A rolling update may be rolled back: what the newer one wrote waits for it, and is no crash."""
    event, parcel = b'{"id":"e","v":2,"deed":{"name":"Ebook Downloaded"}}', b'{"parcel":2,"chunks":[]}'
    await ports.log.append("events", [("k", b"1"), ("k", event), ("k", parcel), ("k", b"2")])
    await handled(ports, store, 4)
    assert await seen(ports) == [1, 2]
    async with ports.database.reading() as connection:
        letters = (await connection.execute(select(DeadLetterRow.code, DeadLetterRow.payload, DeadLetterRow.message))).all()
    assert {(letter.code, letter.payload) for letter in letters} == {("unknown_version", event), ("unknown_version", parcel)}
    assert letters[0].message == "version 2, and this Dripline knows 1: update it, then replay the letter"


async def test_an_outage_holds_and_loses_nothing(ports: Ports):
    await ports.log.append("events", [("k", b"7")])
    tries = []

    async def away_twice(work: Work, records: Sequence[Record]) -> None:
        await store(work, records)
        tries.append(len(records))
        if len(tries) < 3:
            raise Outage("the other side is away")

    await handled(ports, away_twice, 1)
    assert await seen(ports) == [7]
    assert len(tries) == 3


async def test_a_consumer_whose_position_was_moved_by_another_rolls_back_and_reads_on_from_there(ports: Ports):
    await ports.log.append("events", [("k", b"1"), ("k", b"2"), ("k", b"3")])
    moved = asyncio.Event()

    async def another_takes_two() -> None:
        async with ports.database.transaction() as connection:
            await connection.execute(text("INSERT INTO shared_position VALUES ('scoring', 'events', 0, 2)"))
        moved.set()

    others = []

    async def handle(work: Work, records: Sequence[Record]) -> None:
        await store(work, records)
        if not moved.is_set():
            others.append(asyncio.create_task(another_takes_two()))
            raise Outage("so that another comes first")

    await handled(ports, handle, 3)
    assert await seen(ports) == [3]


async def test_a_position_that_vanished_is_not_taken_for_the_beginning(ports: Ports):
    await ports.log.append("events", [("k", b"1"), ("k", b"2")])
    await handled(ports, store, 2)
    await ports.log.append("events", [("k", b"3")])
    async with ports.database.transaction() as connection:
        await connection.execute(text("DELETE FROM shared_position"))
        with pytest.raises(Fenced):
            await move_position(connection, "scoring", "events", 0, expected=2, to=3)
        await move_position(connection, "scoring", "events", 0, expected=0, to=3, first=True)
        with pytest.raises(Fenced):
            await move_position(connection, "scoring", "events", 0, expected=0, to=2, first=True)


class FailingLog:
    """A log that takes no batch, and of single records those it likes, as long as it is there."""

    def __init__(self) -> None:
        self.away = False
        self.broken = False
        self.taken: list[bytes] = []

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        if self.broken:
            raise ZeroDivisionError
        if len(records) > 1 or records[0][1] == b"bad":
            raise InvalidMessage("too_large", "it is too large")
        if self.away:
            raise Outage("away")
        self.taken.append(records[0][1])


@pytest.mark.parametrize("trouble", ["away", "broken"])
async def test_whatever_the_log_does_after_the_commit_the_work_has_succeeded_and_the_sweep_makes_it_good(ports: Ports, trouble: str):
    log = FailingLog()
    setattr(log, trouble, True)
    now = real_now()
    outbox = Outbox("scoring", ports.database, log, ports.clock, wall=lambda: now)
    async with outbox.work() as work:
        for value in (b"bad", b"good"):
            work.publish_raw("activities", "k", value)
    setattr(log, trouble, False)
    now += timedelta(seconds=6)
    assert await outbox.sweep() == 1
    assert log.taken == [b"good"]
    async with ports.database.reading() as connection:
        (letter,) = (await connection.execute(select(DeadLetterRow.payload))).scalars()
    assert letter == b"bad"


class AwayLog:
    """A log that refuses until told otherwise."""

    def __init__(self, log: EmbeddedLog) -> None:
        self.log = log
        self.away = True

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        if self.away:
            raise Outage("away")
        await self.log.append(topic, records)


async def published(ports: Ports, topic: str) -> list[bytes]:
    subscription = ports.log.subscribe("test", topic, StoredPositions(ports.database))
    async with asyncio.timeout(5):
        batch = await subscription.next(100)
    await subscription.close()
    return [record.value for record in batch.records]


async def test_what_was_committed_while_the_log_was_away_is_swept_out_later(ports: Ports):
    log = AwayLog(ports.log)
    now = real_now()
    outbox = Outbox("scoring", ports.database, log, ports.clock, wall=lambda: now)
    async with outbox.work() as work:
        work.publish_raw("activities", "k", b"kept")
    log.away = False
    assert await outbox.sweep() == 0  # its writer may still be at it
    now += timedelta(seconds=6)
    assert await outbox.sweep() == 1
    assert await published(ports, "activities") == [b"kept"]
    now += timedelta(seconds=6)
    assert await outbox.sweep() == 0
    async with ports.database.reading() as connection:
        assert (await connection.execute(select(OutboxBlob.id))).all() == []


async def test_who_alone_writes_looks_once_for_what_was_left_and_then_knows(tmp_path: Path, ports: Ports):
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/sole.db", sole=True)
    async with database.transaction() as connection:
        await make_tables(connection)
    log = AwayLog(ports.log)
    log.away = False
    now = real_now()
    outbox = Outbox("scoring", database, log, ports.clock, wall=lambda: now)
    assert await outbox.sweep() == 0
    another = Database(database.url)
    async with Outbox("scoring", another, AwayLog(ports.log), ports.clock, wall=lambda: now).work() as work:
        work.publish_raw("activities", "k", b"somebody else's, who cannot be")
    now += timedelta(seconds=6)
    assert await outbox.sweep() == 0
    log.away = True
    async with outbox.work() as work:
        work.publish_raw("activities", "k", b"ours")
    log.away = False
    now += timedelta(seconds=6)
    assert await outbox.sweep() == 2
    await another.close()
    await database.close()


async def test_what_a_work_left_that_was_cancelled_while_it_committed_is_swept_out(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch
):
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/sole.db", sole=True)
    async with database.transaction() as connection:
        await make_tables(connection)
    now = real_now()
    outbox = Outbox("scoring", database, ports.log, ports.clock, wall=lambda: now)
    assert await outbox.sweep() == 0  # from here on it knows that nothing was left

    async def publish() -> None:
        async with outbox.work() as work:
            work.publish_raw("activities", "k", b"kept")

    await cancelled_while_committing(publish(), monkeypatch)
    now += timedelta(seconds=6)
    assert await outbox.sweep() == 1
    assert await published(ports, "activities") == [b"kept"]
    await database.close()


async def test_nothing_is_published_from_a_work_that_fails(ports: Ports):
    outbox = Outbox("scoring", ports.database, ports.log, ports.clock)

    async def half_done() -> None:
        async with outbox.work() as work:
            work.publish_raw("activities", "k", b"never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half_done()
    async with outbox.work() as work:
        work.publish_raw("activities", "k", b"only this")
    assert await published(ports, "activities") == [b"only this"]


async def test_works_of_one_outbox_may_be_open_side_by_side(ports: Ports) -> None:
    outbox = Outbox("scoring", ports.database, ports.log, ports.clock)

    async def publish(number: int) -> None:
        for _ in range(10):
            async with outbox.work() as work:
                work.publish_raw("events", "k", str(number).encode())

    await asyncio.gather(*(publish(number) for number in range(4)))
    async with outbox.work():
        pass
    async with ports.database.reading() as connection:
        assert (await connection.execute(select(OutboxBlob.__table__))).all() == []


async def test_how_old_the_oldest_unsettled_record_is_is_told(ports: Ports):
    holds, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(work: Work, records: Sequence[Record]) -> None:
        holds.set()
        await goes_on.wait()
        await store(work, records)

    consumer = Consumer("events", ports, Outbox("scoring", ports.database, ports.log, ports.clock), slow)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(consumer.run())
        await ports.log.append("events", [("k", b"1")])
        await holds.wait()
        assert isinstance(ports.clock, FakeClock)
        ports.clock.advance(timedelta(seconds=90))
        await consumer.measure()
        assert told("dripline_lag_seconds", service="scoring", topic="events") == 90
        goes_on.set()
        positions = StoredPositions(ports.database)
        while await positions.position("scoring", "events", 0) != 1 or consumer.backlog_since() is not None:
            await asyncio.sleep(0.01)
        await consumer.measure()
        running.cancel()
    assert told("dripline_lag_seconds", service="scoring", topic="events") == 0


async def test_what_the_log_should_have_had_by_now_is_told(ports: Ports):
    log = RecordingLog(away=True)
    wall = FakeClock(START)
    outbox = Outbox("scoring", ports.database, log, ports.clock, wall.now)
    async with outbox.work() as work:
        work.publish_raw("activities", "k", b"1")
    wall.advance(timedelta(seconds=6))
    await outbox.sweep()
    assert told("dripline_outbox_waiting", service="scoring") == 1
    log.away = False
    await outbox.sweep()
    await outbox.sweep()
    assert told("dripline_outbox_waiting", service="scoring") == 0


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)
