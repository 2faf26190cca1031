"""Which database a test stands on: SQLite in its own folder, or one that nobody uses on the test run's PostgreSQL server.

The tests that ask for `database_kind`, or for a fixture that does, run on both. On PostgreSQL they take turns on a few databases that have
the schema already and are wiped between two tests: making one takes longer than most tests do.
"""

import asyncio
import itertools
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from dripline.migrate import every_table, migrate
from shared.one_hop import Connection
from tests import servers

KIND = "DRIPLINE_TEST_DATABASE"
KINDS = ("sqlite", "postgresql")

_free: list[str] = []
_taken: dict[Path, str] = {}

WIPE = """
DO $$ DECLARE one record; has_rows boolean; BEGIN
  FOR one IN SELECT tablename AS name, tablename ~ '^(shared|scoring|journeys|mailer)_' AS ours FROM pg_tables
             WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
    IF NOT one.ours THEN EXECUTE format('DROP TABLE %I', one.name); CONTINUE; END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', one.name) INTO has_rows;
    IF has_rows THEN EXECUTE format('DELETE FROM %I', one.name); END IF;
  END LOOP;
END $$"""


def database_url(folder: Path) -> str:
    """The URL of a database that belongs to this folder until the test ends; a second call gives the same one."""
    if os.environ.get(KIND) != "postgresql":
        return f"sqlite+aiosqlite:///{folder}/state.db"
    server = servers.postgres()
    if folder not in _taken:
        _taken[folder] = _free.pop() if _free else _made()
    return server.url(_taken[folder])


async def make_tables(connection: AsyncConnection) -> None:
    """Every table that the code knows; PostgreSQL's databases come with them."""
    if connection.dialect.name == "sqlite":
        await connection.run_sync(every_table().create_all)


def give_back() -> None:
    """The test is over: wipe what it used, for the next one."""
    while _taken:
        _, name = _taken.popitem()
        elsewhere(_wipe(servers.postgres().url(name)))
        _free.append(name)


def elsewhere(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end on a loop of its own, also where one is running."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - told to who asked
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _made() -> str:
    """One more database, a copy of the first, which migrations made."""
    server = servers.postgres()
    if not _template:
        server.make_database("template")
        thread = threading.Thread(target=lambda: _template.append(str(migrate(server.url("template")))))
        thread.start()
        thread.join()
        assert _template, "the template could not be migrated"
    name = f"t{next(_numbers)}"
    elsewhere(_copy(server.url("postgres"), name))
    return name


_template: list[str] = []
_numbers = itertools.count(1)


async def _copy(url: str, name: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(f'CREATE DATABASE {name} TEMPLATE "template"')
    await connection.close()


async def _wipe(url: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute("SET lock_timeout = '10s'")
    await connection.execute(WIPE)
    await connection.close()


async def cancelled_while_committing(write: Coroutine[object, object, None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what writes to SQLite and cancel it when its commit is on the way to the database's thread."""
    committing = asyncio.Event()
    commit = Connection.commit

    async def told(connection: Connection) -> None:
        asyncio.get_running_loop().call_soon(committing.set)
        await commit(connection)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "commit", told)
        task = asyncio.create_task(write)
        await committing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
