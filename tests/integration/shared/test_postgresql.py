"""What PostgreSQL alone does to a transaction: it is refused, chosen as a deadlock's victim, cut off, timed out. Each is tried again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import FakeClock
from shared.db import Database, among, insert_all, insert_new, upsert
from shared.errors import InvalidMessage, Outage
from shared.work import Outbox
from tests import databases
from tests.builders import NOON
from tests.fakes import RecordingLog
from tests.integration.replicas.gates import WAITS, tried

TALLY = Table("test_tally", MetaData(), Column("name", String, primary_key=True), Column("n", Integer, nullable=False))
T = TALLY.c


@pytest.fixture
async def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Database, Database]]:
    """Two replicas' views of one PostgreSQL database with a table of two tallies."""
    monkeypatch.setenv(databases.KIND, "postgresql")
    url = databases.database_url(tmp_path)
    one, other = Database(url), Database(url)
    async with one.transaction() as connection:
        await connection.run_sync(TALLY.create)
        await insert_all(connection, TALLY, [{"name": "a", "n": 0}, {"name": "b", "n": 0}])
    yield one, other
    await one.close()
    await other.close()


async def add(connection: AsyncConnection, name: str) -> None:
    await connection.execute(update(TALLY).where(T.name == name).values(n=T.n + 1))


async def tallies(database: Database) -> list[int]:
    async with database.reading() as connection:
        return list((await connection.execute(select(T.n).order_by(T.name))).scalars())


async def until(database: Database, holds: Callable[[AsyncConnection], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            async with database.reading() as connection:
                if await holds(connection):
                    return
            await asyncio.sleep(0.005)


async def somebody_waits(connection: AsyncConnection) -> bool:
    return bool((await connection.execute(text(WAITS))).scalar_one())


async def test_a_deadlock_is_an_outage_for_one_of_the_two_and_both_have_their_way(two: tuple[Database, Database]):
    one, other = two
    met, outages = asyncio.Barrier(2), []

    async def cross(database: Database, first: str, second: str) -> None:
        try:
            async with database.transaction() as connection:
                await add(connection, first)
                if not outages:
                    await met.wait()
                await add(connection, second)
        except Outage as outage:
            outages.append(str(outage))
            raise

    await asyncio.gather(tried(lambda: cross(one, "a", "b")), tried(lambda: cross(other, "b", "a")))
    assert await tallies(one) == [2, 2]
    assert ["deadlock detected" in said for said in outages] == [True]


async def test_a_serialization_failure_is_an_outage_and_the_next_try_sees_what_the_other_did(two: tuple[Database, Database]):
    one, other = two
    tries: list[int] = []

    async def change(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            (n,) = (await connection.execute(select(T.n).where(T.name == "a"))).one()
            tries.append(n)
            if len(tries) == 1:
                async with other.transaction() as elsewhere:
                    await add(elsewhere, "a")
            await connection.execute(update(TALLY).where(T.name == "a").values(n=n + 1))

    await tried(lambda: change(one))
    assert tries == [0, 1]
    assert await tallies(one) == [2, 0]


async def test_of_two_that_insert_the_same_key_at_once_one_is_told_that_it_was_new(two: tuple[Database, Database]):
    one, other = two
    row = {"name": "c", "n": 1}

    async def insert() -> set[str]:
        async with other.transaction() as connection:
            return await insert_new(connection, TALLY, [row, {"name": "d", "n": 1}], "name")

    async with one.transaction() as connection:
        assert await insert_new(connection, TALLY, [row], "name") == {"c"}
        later = asyncio.create_task(insert())
        await until(one, somebody_waits)
    assert await later == {"d"}


async def test_of_rows_with_the_same_keys_an_upsert_keeps_the_last(two: tuple[Database, Database]):
    one, _ = two
    async with one.transaction() as connection:
        await upsert(connection, TALLY, [{"name": "a", "n": 5}, {"name": "c", "n": 1}, {"name": "a", "n": 7}], ["name"])
    assert await tallies(one) == [7, 0, 1]


async def test_a_storm_of_ended_connections_loses_no_write_and_makes_none_twice(two: tuple[Database, Database]):
    one, other = two
    storms = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ended: list[int] = []

    async def storm() -> None:
        async with other.reading() as connection:
            ended.append(len((await connection.execute(text(storms))).all()))

    async def write(number: int) -> None:
        async with one.transaction() as connection:
            await connection.execute(select(T.n).where(T.name == "a").with_for_update())
            if await insert_new(connection, TALLY, [{"name": f"w{number:03}", "n": 1}], "name"):
                await add(connection, "a")  # else the answer to a commit was lost, not the commit

    async def storms_come() -> None:
        for _ in range(5):
            await tried(storm)
            await asyncio.sleep(0.05)

    await asyncio.gather(storms_come(), *(tried(partial(write, number)) for number in range(60)))
    assert sum(ended) > 5
    after: list[int] = []

    async def look() -> None:
        after[:] = await tallies(one)

    await tried(look)
    assert after[0] == 60 == len(after) - 2


async def test_a_statement_that_takes_too_long_is_an_outage_and_no_poison(two: tuple[Database, Database]):
    one, _ = two
    hurries = (("statement_timeout = '20ms'", "SELECT pg_sleep(5)"), ("lock_timeout = '20ms'", "SELECT n FROM test_tally FOR UPDATE"))
    for hurried, slow in hurries:
        async with two[1].transaction() as holder:
            await holder.execute(select(T.n).with_for_update())
            with pytest.raises(Outage, match="timeout"):
                async with one.transaction() as connection:
                    await connection.execute(text(f"SET LOCAL {hurried}"))
                    await connection.execute(text(slow))


async def test_a_transaction_that_idles_is_ended_and_holds_up_nobody(two: tuple[Database, Database]):
    one, other = two

    async def idle() -> None:
        async with one.transaction() as connection:
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '20ms'"))
            await add(connection, "a")
            async with other.transaction() as elsewhere:
                await add(elsewhere, "a")  # waits for the lock until it is given up
            await add(connection, "b")

    with pytest.raises(Outage):
        await idle()
    assert await tallies(other) == [1, 0]


async def test_a_nul_is_refused_as_a_bad_record_wherever_it_stands(two: tuple[Database, Database]):
    one, _ = two
    for rows in ([{"name": "a\0b", "n": 1}], [{"name": "c", "n": 1}, {"name": "d\0", "n": 1}]):
        with pytest.raises(InvalidMessage, match=r"U\+0000"):
            async with one.transaction() as connection:
                await insert_all(connection, TALLY, rows)
    with pytest.raises(InvalidMessage, match=r"U\+0000"):
        async with one.reading() as connection:
            await connection.execute(select(T.n).where(among(T.name, ["a\0b"])))
    assert await tallies(one) == [0, 0]


async def test_a_stranded_blob_is_published_by_one_of_two_replicas(two: tuple[Database, Database]):
    one, _ = two
    log, clock = RecordingLog(), FakeClock(NOON)
    late = clock.now()
    writer = Outbox("scoring", one, Away(), clock, wall=lambda: late)
    for number in range(20):
        async with writer.work() as work:
            work.publish_raw("activities", "k", str(number).encode())
    sweepers = [Outbox("scoring", database, log, clock, wall=lambda: late + timedelta(minutes=1)) for database in two]
    swept = await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
    assert sum(swept) == 20
    assert sorted(int(value) for _, value in log.topics["activities"]) == list(range(20))
    assert [await sweeper.sweep() for sweeper in sweepers] == [0, 0]


class Away(RecordingLog):
    """A log that does not answer."""

    async def append(self, topic: str, records: object) -> None:
        raise Outage("the log is away")
