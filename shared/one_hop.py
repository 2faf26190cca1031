"""SQLite's driver with one way to its thread and back for each statement; aiosqlite goes four times: cursor, execute, fetch, close.

Rows are fetched with the statement, which every use of ours does anyway. A read of one row takes half the CPU that way.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy.engine import make_url

Row = tuple[Any, ...]


class _Ran:
    """What a statement left behind."""

    __slots__ = ("description", "lastrowid", "rowcount", "rows")

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.rows: list[Row] = cursor.fetchall()
        self.description = cursor.description
        self.rowcount = cursor.rowcount
        self.lastrowid = cursor.lastrowid
        cursor.close()


class Cursor:
    """A cursor that has all its rows once it has run; what SQLAlchemy asks of aiosqlite's, and no more."""

    arraysize = 1

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._ran: _Ran | None = None

    async def __aenter__(self) -> "Cursor":
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        self._ran = await self._connection.run(sqlite3.Connection.execute, statement, parameters)

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        self._ran = await self._connection.run(sqlite3.Connection.executemany, statement, parameters)

    async def fetchall(self) -> list[Row]:
        return self._ran.rows if self._ran else []

    async def close(self) -> None:
        """Nothing is left open on the other side."""

    @property
    def description(self) -> Any:
        return self._ran.description if self._ran else None

    @property
    def rowcount(self) -> int:
        return self._ran.rowcount if self._ran else -1

    @property
    def lastrowid(self) -> int | None:
        return self._ran.lastrowid if self._ran else None


class Connection(aiosqlite.Connection):
    """A connection on a thread of its own."""

    def cursor(self, factory: Any = None) -> Cursor:  # type: ignore[override]
        return Cursor(self)

    async def begin(self, statement: str) -> None:
        """Begin a transaction, and first end one that a task left behind which was cancelled while its own was beginning."""
        await self._execute(lambda: _begin(self._conn, statement))  # type: ignore[no-untyped-call]

    async def run(self, method: Any, statement: str, parameters: Any) -> _Ran:
        """Run one statement over there and bring back all that it left."""
        return await self._execute(lambda: _Ran(method(self._conn, statement, parameters)))  # type: ignore[no-untyped-call, no-any-return]


def _begin(connection: sqlite3.Connection, statement: str) -> None:
    if connection.in_transaction:
        connection.rollback()
    connection.execute(statement).close()


async def connect(url: str) -> Connection:
    """Open the database of an SQLAlchemy URL, without transactions of the driver's own making."""
    target = make_url(url)
    arguments, options = target.get_dialect()().create_connect_args(target)
    connection = Connection(partial(sqlite3.connect, *arguments, **options, isolation_level=None, cached_statements=512), 64)
    connection._thread.daemon = True  # as SQLAlchemy does: a process that ends waits for no database
    await connection
    return connection
