"""The database: one writer at a time over all loops, snapshots that do not wait, and the bulk statements."""

import asyncio
import threading
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, select, text
from sqlalchemy.exc import IntegrityError

from shared.db import Database, among, compare_and_set, insert_new, upsert
from shared.errors import Outage
from shared.instant import Instant
from tests.databases import cancelled_while_committing, database_url

TABLE = Table(
    "test_tally",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("n", Integer, nullable=False, default=0),
    Column("at", Instant),
)
MOMENT = datetime(2027, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
async def database(tmp_path: Path, database_kind: str):
    database = Database(database_url(tmp_path))
    async with database.transaction() as connection:
        await connection.run_sync(TABLE.create)
    yield database
    await database.close()


async def increment(database: Database, times: int) -> None:
    for _ in range(times):
        async with database.transaction() as connection:
            n = (await connection.execute(select(TABLE.c.n).with_for_update())).scalar_one()
            await connection.execute(TABLE.update().values(n=n + 1))


async def test_increments_from_two_loops_are_never_lost(database: Database):
    async with database.transaction() as connection:
        await connection.execute(TABLE.insert(), {"name": "a", "n": 0})

    async def elsewhere() -> None:
        await asyncio.gather(*(increment(database, 20) for _ in range(3)))
        await database.close()

    other = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    other.start()
    await asyncio.gather(*(increment(database, 20) for _ in range(3)))
    await asyncio.to_thread(other.join)
    async with database.reading() as connection:
        assert (await connection.execute(select(TABLE.c.n))).scalar_one() == 120


async def test_a_task_cancelled_while_its_transaction_begins_leaves_none_open(database: Database):
    async def write() -> None:
        async with database.transaction():
            await asyncio.Event().wait()

    async with database.transaction():
        pass  # the connection is there
    for yields in range(6):
        task = asyncio.create_task(write())
        for _ in range(yields):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with database.transaction():
            pass


async def test_a_cancelled_waiter_passes_its_turn_on(database: Database):
    holding, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            holding.set()
            await release.wait()

    async def wait() -> None:
        async with database.transaction():
            raise AssertionError("cancelled before its turn")

    holder = asyncio.create_task(hold())
    await holding.wait()
    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiter.cancel()
    release.set()
    await holder
    with pytest.raises(asyncio.CancelledError):
        await waiter
    async with asyncio.timeout(5), database.transaction() as connection:
        await connection.execute(text("SELECT 1"))


async def test_insert_new_tells_which_rows_were_new(database: Database):
    async with database.transaction() as connection:
        assert await insert_new(connection, TABLE, [{"name": "a", "n": 1}, {"name": "b", "n": 2}], "name") == {"a", "b"}
        assert await insert_new(connection, TABLE, [{"name": "b", "n": 9}, {"name": "c", "n": 3}], "name") == {"c"}
        rows = (await connection.execute(select(TABLE.c.name, TABLE.c.n).order_by(TABLE.c.name))).all()
    assert [tuple(row) for row in rows] == [("a", 1), ("b", 2), ("c", 3)]


async def test_upsert_sets_what_is_given_and_moments_read_back_exactly(database: Database):
    async with database.transaction() as connection:
        await upsert(connection, TABLE, [{"name": "a", "n": 1, "at": None}], ["name"])
        await upsert(
            connection, TABLE, [{"name": "a", "n": 2, "at": MOMENT}, {"name": "b", "n": 5, "at": MOMENT - timedelta(days=1)}], ["name"]
        )
        found = (await connection.execute(select(TABLE.c.n, TABLE.c.at).where(among(TABLE.c.name, ["a", "it's"])))).all()
    assert [tuple(row) for row in found] == [(2, MOMENT)]


async def test_a_rolled_back_transaction_leaves_nothing(database: Database):
    async def half_done() -> None:
        async with database.transaction() as connection:
            await connection.execute(TABLE.insert(), {"name": "gone"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half_done()
    async with database.reading() as connection:
        assert (await connection.execute(select(TABLE.c.name))).all() == []


async def test_a_full_database_is_an_outage_and_heals(database: Database):
    if not database.url.startswith("sqlite"):
        pytest.skip("PostgreSQL's disk cannot be filled from here")
    async with database.transaction() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count={pages + 2}"))
    with pytest.raises(Outage, match="full"):
        async with database.transaction() as connection:
            await connection.execute(TABLE.insert(), [{"name": f"{n}" * 500} for n in range(100)])
    async with database.transaction() as connection:
        await connection.execute(text("PRAGMA max_page_count=1000000"))
        await connection.execute(TABLE.insert(), [{"name": f"{n}" * 500} for n in range(100)])


async def test_a_sole_writer_knows_whether_anything_was_written(tmp_path: Path):
    url = f"sqlite+aiosqlite:///{tmp_path}/sole.db"
    database, another = Database(url, sole=True), Database(url)
    before = database.changes()
    async with database.transaction() as connection:
        await connection.run_sync(TABLE.create)
    after = database.changes()
    async with database.reading() as connection:
        await connection.execute(select(TABLE))
    assert (database.changes(), another.changes()) == (after, None)
    assert before is not None
    assert before != after
    await database.close()


async def test_a_commit_whose_task_is_cancelled_meanwhile_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/sole.db", sole=True)
    async with database.transaction() as connection:
        await connection.run_sync(TABLE.create)
    before = database.changes()
    assert before is not None
    await cancelled_while_committing(insert_one(database), monkeypatch)
    async with database.reading() as connection:
        assert (await connection.execute(select(TABLE.c.name))).scalars().all() == ["a"]
    assert database.changes() != before
    await database.close()


async def insert_one(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(TABLE.insert(), {"name": "a"})


async def test_a_row_is_set_only_where_it_is_what_it_was(database: Database):
    async with database.transaction() as connection:
        await upsert(connection, TABLE, [{"name": "a", "n": 1, "at": None}, {"name": "b", "n": 2, "at": MOMENT}], ["name"])
        rows = [{"name": "a", "n": 5, "at": MOMENT, "was": 1}, {"name": "b", "n": 5, "at": None, "was": 1}]
        assert await compare_and_set(connection, TABLE, rows, "name", "n") == 1
        assert await compare_and_set(connection, TABLE, [], "name", "n") == 0
        found = await connection.execute(select(TABLE).order_by(TABLE.c.name))
        assert [tuple(row) for row in found] == [("a", 5, MOMENT), ("b", 2, MOMENT)]


@pytest.mark.parametrize("twice", [False, True])
async def test_what_the_database_refuses_says_nothing_of_the_row(database: Database, twice: bool):
    """Its text, and that of what caused it, goes to logs."""
    address = "ana@example.com"
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE person (address VARCHAR PRIMARY KEY, n INTEGER NOT NULL)"))
        await connection.execute(text("INSERT INTO person VALUES (:address, 1)"), {"address": address})
    with pytest.raises((IntegrityError, Outage)) as refused:
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO person VALUES (:address, :n)"), {"address": address, "n": 1 if twice else None})
    assert address not in "".join(traceback.format_exception(refused.value))
