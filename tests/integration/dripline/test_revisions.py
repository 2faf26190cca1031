"""Each revision goes up with rows in every table, on both databases; what older code writes and reads still works beside newer code."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Boolean, Integer, LargeBinary, MetaData, NullPool, String, Table, create_engine, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import dripline.migrate
from dripline.migrate import HEAD, every_table, migrate
from tests import servers

REVISIONS = [f"{number:04}" for number in range(1, int(HEAD) + 1)]
ROWS = 3
_names = count(1)


@pytest.fixture
def url(tmp_path: Path, database_kind: str) -> str:
    """A database without a table."""
    if database_kind == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/state.db"
    name = f"empty{next(_names)}"
    servers.postgres().make_database(name)
    return servers.postgres().url(name)


def on(url: str, do: Callable[[Connection], Any]) -> Any:
    """Do something in one transaction on the database at `url`."""
    if url.startswith("sqlite"):
        engine = create_engine(url.replace("+aiosqlite", ""), poolclass=NullPool)
        with engine.begin() as connection:
            return do(connection)

    async def there() -> Any:
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.begin() as connection:
            return await connection.run_sync(do)

    return asyncio.run(there())


def upgrade(connection: Connection, revision: str) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(dripline.migrate.__file__).parent / "migrations"))
    command.upgrade(config, revision)


def tables(connection: Connection) -> dict[str, Table]:
    """What stands in the database, whatever the code knows."""
    found = MetaData()
    found.reflect(connection)
    return {name: table for name, table in found.tables.items() if name != "alembic_version"}


def a_row(table: Table, number: int) -> dict[str, Any]:
    """One row with a value in every column but a growing key's, in the words of that revision."""
    row: dict[str, Any] = {}
    for column in table.c:
        if (table.name, column.name) == ("shared_outbox", "id"):
            continue
        kind = column.type
        if isinstance(kind, Boolean):
            row[column.name] = bool(number % 2)
        elif isinstance(kind, Integer):
            row[column.name] = number
        elif isinstance(kind, LargeBinary):
            row[column.name] = b"bytes %d" % number
        else:
            assert isinstance(kind, String), f"{column}: say what may stand here"
            row[column.name] = f"text {number}"
    return row


def fill(connection: Connection, numbers: range) -> None:
    for table in tables(connection).values():
        connection.execute(table.insert(), [a_row(table, number) for number in numbers])


def contents(connection: Connection, known: dict[str, Table]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of these tables, as code that knows these columns reads them."""
    return {name: sorted(tuple(row) for row in connection.execute(select(table))) for name, table in known.items()}


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_rows_of_every_revision_are_there_and_the_same_after_the_upgrade(url: str, revision: str) -> None:
    on(url, lambda connection: upgrade(connection, revision))
    on(url, lambda connection: fill(connection, range(ROWS)))
    known = on(url, tables)
    before = on(url, lambda connection: contents(connection, known))
    assert {len(rows) for rows in before.values()} == {ROWS}
    assert migrate(url) == REVISIONS[REVISIONS.index(revision) + 1 :]
    assert on(url, lambda connection: contents(connection, known)) == before
    assert on(url, differences) == []


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_code_of_every_revision_writes_and_reads_beside_the_newest_schema(url: str, revision: str) -> None:
    """Its inserts name its own columns: whatever came since must be filled by itself, and nothing it names may be gone."""
    on(url, lambda connection: upgrade(connection, revision))
    older = on(url, tables)
    migrate(url)

    def write(connection: Connection) -> None:
        for table in older.values():
            connection.execute(table.insert(), [a_row(table, number) for number in range(ROWS)])

    on(url, write)
    assert {name: len(rows) for name, rows in on(url, lambda connection: contents(connection, older)).items()} == dict.fromkeys(older, ROWS)

    def count_newest(connection: Connection) -> set[int]:
        return {connection.execute(select(func.count()).select_from(every_table().tables[name])).scalar_one() for name in older}

    assert on(url, count_newest) == {ROWS}


def test_two_migrations_at_once_do_not_collide(url: str) -> None:
    with ThreadPoolExecutor(2) as both:
        applied = list(both.map(migrate, [url, url]))
    assert sorted(applied) == [[], REVISIONS]
    assert on(url, differences) == []


KILLED = """
import os, signal, sys
from alembic import command
upgrade = command.upgrade
def killed(config, revision):
    upgrade(config, revision)
    os.kill(os.getpid(), signal.SIGKILL)
command.upgrade = killed
from dripline.migrate import migrate
migrate(sys.argv[1])
"""


def test_a_migration_that_is_killed_leaves_nothing_half_done_and_the_next_begins_again(url: str) -> None:
    on(url, lambda connection: upgrade(connection, "0001"))
    on(url, lambda connection: fill(connection, range(ROWS)))
    done = subprocess.run([sys.executable, "-c", KILLED, url], check=False, capture_output=True, timeout=60)
    assert done.returncode == -9, done.stderr
    assert migrate(url) == REVISIONS[1:]
    assert on(url, differences) == []


def differences(connection: Connection) -> list[Any]:
    """In what the database is not what the code knows."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, every_table()))
