"""What `serve` does for PostgreSQL: its hot tables are set, its indexes of due work made anew by one replica, its dead rows counted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dripline.upkeep import DUE_INDEXES, HOT_TABLES, LOCK, measure_dead_rows, reindex
from shared.db import Database
from shared.telemetry import DEAD_ROWS
from tests import databases


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A PostgreSQL database with every table."""
    monkeypatch.setenv(databases.KIND, "postgresql")
    database = Database(databases.database_url(tmp_path))
    yield database
    await database.close()


async def files(database: Database) -> list[int]:
    """The files that the indexes lie in: another one after each making."""
    async with database.reading() as connection:
        return [(await connection.execute(text(f"SELECT pg_relation_filenode('{index}')"))).scalar_one() for index in DUE_INDEXES]


async def test_the_indexes_of_due_work_are_made_anew(database: Database) -> None:
    before = await files(database)
    assert await reindex(database.url) == [*DUE_INDEXES]
    assert not {*before} & {*await files(database)}


async def test_while_one_replica_reindexes_the_others_leave_it_to_it(database: Database) -> None:
    before = await files(database)
    async with database.reading() as another:
        await another.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        assert await asyncio.gather(*(reindex(database.url) for _ in range(3))) == [[], [], []]
        await another.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
    assert await files(database) == before


async def test_what_a_killed_reindexing_left_is_dropped(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE INDEX ix_shared_outbox_age_ccnew ON shared_outbox (service)"))
        half = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_shared_outbox_age_ccnew'::regclass"
        await connection.execute(text(half))
    await reindex(database.url)
    async with database.reading() as connection:
        assert (await connection.execute(text("SELECT to_regclass('ix_shared_outbox_age_ccnew')"))).scalar_one() is None


async def test_hot_tables_are_vacuumed_early_and_keep_room_for_the_next_version_of_a_row(database: Database) -> None:
    async with database.reading() as connection:
        found = await connection.execute(text("SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL"))
        options = {row.relname: set(row.reloptions) for row in found}
    wanted = {"fillfactor=90", "autovacuum_vacuum_scale_factor=0.01", "autovacuum_vacuum_cost_delay=0"}
    assert {table for table in HOT_TABLES if not wanted <= options.get(table, set())} == set()


async def test_dead_rows_are_told_table_by_table(database: Database) -> None:
    DEAD_ROWS.clear()
    await measure_dead_rows(database)
    told = {sample.labels["table"] for metric in DEAD_ROWS.collect() for sample in metric.samples}
    assert told == {*HOT_TABLES}
