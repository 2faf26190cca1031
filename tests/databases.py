"""Which database a test stands on: SQLite in its own folder, or a fresh one on the test run's PostgreSQL server."""

import asyncio
import os
from collections.abc import Coroutine
from hashlib import blake2b
from pathlib import Path

import pytest

from shared.one_hop import Connection
from tests import servers

KIND = "DRIPLINE_TEST_DATABASE"


def database_url(folder: Path) -> str:
    """The URL of a database that belongs to this folder; a second call gives the same one."""
    if os.environ.get(KIND) != "postgresql":
        return f"sqlite+aiosqlite:///{folder}/state.db"
    server = servers.postgres()
    name = f"t{blake2b(str(folder).encode(), digest_size=12).hexdigest()}"
    server.make_database(name)
    return server.url(name)


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
