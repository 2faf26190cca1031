"""One database, SQLite or PostgreSQL: transactions that write, snapshots that read, and the bulk statements every service uses."""

import asyncio
import json
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from socket import gaierror
from typing import Any

from sqlalchemy import Column, ColumnElement, CursorResult, Table, bindparam, event, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from shared.errors import DriplineError, InvalidMessage, Outage
from shared.failpoints import passing
from shared.one_hop import connect

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=15000",
    "foreign_keys=ON",
    "wal_autocheckpoint=4000",
    "temp_store=MEMORY",
    "cache_size=-64000",
    "mmap_size=268435456",
    "secure_delete=ON",
)
"""SQLite's set-up: every commit is on the disk before it is acknowledged, a checkpoint stays short, and what is deleted is overwritten."""


class Turn:
    """A fair lock that coroutines of several event loops share: SQLite has one writer, and each gets it in the order of asking."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, mine))
        try:
            await mine
        except asyncio.CancelledError:
            self._give_up(loop, mine)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _give_up(self, loop: asyncio.AbstractEventLoop, mine: asyncio.Future[None]) -> None:
        with self._guard:
            waiting = (loop, mine) in self._waiting
            if waiting:
                self._waiting.remove((loop, mine))
        if not waiting:
            self._pass_on()  # the turn was already ours, or on its way to us

    def _pass_on(self) -> None:
        with self._guard:
            while self._waiting:
                loop, future = self._waiting.popleft()
                if loop.is_closed():
                    continue
                loop.call_soon_threadsafe(_wake, future)
                return
            self._taken = False


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Database:
    """Transactions and snapshots on one database, usable from any event loop; each loop has connections of its own.

    `sole`: nobody else writes to it while this process lives, so that what nobody here has changed need not be looked at again.
    """

    def __init__(self, url: str, *, sole: bool = False) -> None:
        self.url = url
        self._sole = sole
        self._changes = 0
        self._on_sqlite = url.startswith("sqlite")
        self._turn = Turn()
        self._engines: dict[tuple[asyncio.AbstractEventLoop, str], AsyncEngine] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One writing transaction; commits at the end, rolls back on an error.

        Raises Outage where the database does not answer, is full, or asks for another try.
        """
        if not self._on_sqlite:
            async with translated(), self._engine("write").begin() as connection:
                yield connection
                passing("database.before_commit")
            passing("database.after_commit")
            return
        async with self._turn:
            try:
                async with translated(), self._engine("write").begin() as connection:
                    yield connection
                    passing("database.before_commit")
                passing("database.after_commit")
            finally:
                self._changes += 1  # in any case: who is cancelled while it commits may have committed

    def changes(self) -> int | None:
        """A number that is the same as before only if nothing was written since; None where others may write, too."""
        return self._changes if self._sole else None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot to read from; never waits for a writer. Raises Outage as `transaction` does."""
        async with translated(), self._engine("read").begin() as connection:
            yield connection

    async def empty_journal(self) -> None:
        """Bring what lies in SQLite's write-ahead log into the database and empty it: old versions of rows stand there too.

        Raises Outage while a reader still looks at one of them. PostgreSQL sees to its own.
        """
        if not self._on_sqlite or ":memory:" in self.url:
            return
        async with self._turn, translated():
            busy = await asyncio.to_thread(_emptied, self.url.partition(":///")[2])
        if busy:
            raise Outage("somebody still reads what is to be overwritten")

    async def close(self) -> None:
        """Close the connections that belong to the running loop."""
        loop = asyncio.get_running_loop()
        for key in [key for key in self._engines if key[0] is loop]:
            await self._engines.pop(key).dispose()

    def _engine(self, use: str) -> AsyncEngine:
        key = (asyncio.get_running_loop(), use)
        if key not in self._engines:
            self._engines[key] = _sqlite_engine(self.url, use) if self._on_sqlite else _postgres_engine(self.url, use)
        return self._engines[key]


def _emptied(path: str) -> bool:
    """Truncate the write-ahead log of this file; answers whether somebody was in the way."""
    connection = sqlite3.connect(path, timeout=2, isolation_level=None)
    try:
        return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
    finally:
        connection.close()


def _sqlite_engine(url: str, use: str) -> AsyncEngine:
    size = 1 if use == "write" else 4
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        hide_parameters=True,  # an error's text goes to logs
        pool_reset_on_return=None,  # every use is one `begin`, which has committed or rolled back already
        async_creator=partial(connect, url),
    )
    begin = "BEGIN IMMEDIATE" if use == "write" else "BEGIN"

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        # straight to the driver: the way through SQLAlchemy takes three calls to the connection's thread instead of one
        connection.connection.dbapi_connection.run_async(lambda driver: driver.begin(begin))

    return engine


def _postgres_engine(url: str, use: str) -> AsyncEngine:
    """Statements and locks that take too long end as an Outage, and a transaction that idles is ended: no replica holds up the others.

    The URL may say more, for PgBouncer in transaction mode `?prepared_statement_cache_size=0`.
    """
    limits = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
    return create_async_engine(
        url,
        pool_size=5,
        max_overflow=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,  # an error's text goes to logs
        isolation_level="READ COMMITTED" if use == "write" else "REPEATABLE READ",  # a snapshot is one for all its statements
        connect_args={"timeout": 10, "command_timeout": 60, "server_settings": limits | {"application_name": "dripline"}},
    )


RETRIED = ("23505", "40001", "40P01", "55P03", "25P03")
"""PostgreSQL's unique violation, serialization failure, deadlock, lock timeout, idled too long: run again, we see the others' work."""
AWAY = ("08", "53", "57", "58")
"""Its classes for a lost connection, no room or no connection left, told to stop (by a timeout too), and a broken disk."""
UNSTORABLE = ("22021", "22P05")
"""Its refusals of U+0000: in a text, and in JSON."""


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """The one place where the driver's errors become ours: what another try may mend is an Outage; the rest is a bug or bad input."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolExhausted, sqlite3.OperationalError, ConnectionError, TimeoutError, gaierror) as error:
        raise Outage(f"the database does not answer: {error.__cause__ or error}") from error
    except Exception as error:
        _hush(error)
        meant = _meant(error)
        if meant is None:
            raise
        raise meant from error


def _hush(error: BaseException | None) -> None:
    """Take from an error the rows that PostgreSQL quotes in its DETAIL: its text goes to logs, and these tell of nobody."""
    while error is not None:
        if error.args and isinstance(error.args[0], str):
            error.args = (error.args[0].partition("\nDETAIL:")[0], *error.args[1:])
        if isinstance(vars(error).get("detail"), str):  # asyncpg's own, which its text is made of
            vars(error)["detail"] = None
        error = error.__cause__


def _meant(error: Exception) -> DriplineError | None:
    """What an error of PostgreSQL's is to us; also one that came while connecting, which SQLAlchemy hands on as it is."""
    said = getattr(error, "orig", error)
    sqlstate = str(getattr(said, "sqlstate", None) or "")
    if sqlstate in UNSTORABLE:
        return InvalidMessage("nul", "a text holds U+0000, which PostgreSQL cannot store: remove it")
    if sqlstate in RETRIED or sqlstate.startswith(AWAY) or getattr(error, "connection_invalidated", False):
        return Outage(f"the database asks for another try: {said}")
    return None


class _Members(FunctionElement[Any]):
    """The elements of one JSON array parameter, as a set of rows."""

    inherit_cache = True
    name = "members"


@compiles(_Members, "sqlite")
def _members_on_sqlite(element: _Members, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"


@compiles(_Members, "postgresql")
def _members_on_postgresql(element: _Members, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT jsonb_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS jsonb)))"


def among(column: Any, values: Iterable[str]) -> ColumnElement[bool]:
    """`column` is one of `values` (texts): one bound parameter however many there are."""
    found: ColumnElement[bool] = column.op("IN", is_comparison=True)(_Members(bindparam(None, json.dumps(list(values)))))
    return found


async def insert_new(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]], key: str) -> set[Any]:
    """Insert the rows whose `key` is not there yet and answer which keys were new; a repeat changes nothing.

    Of two that insert the same key at once one is told that it was new, also across replicas.
    """
    if not rows:
        return set()
    wanted = {row[key]: row for row in rows}
    if connection.dialect.name != "sqlite":
        inserted = await _insert_arrays(connection, table, list(wanted.values()), f"ON CONFLICT ({key}) DO NOTHING RETURNING {key}")
        return set(inserted.scalars())
    column = table.c[key]
    known = set((await connection.execute(select(column).where(among(column, wanted)))).scalars())
    new = [row for value, row in wanted.items() if value not in known]
    if new:
        await _run(connection, _insert_statement(table, tuple(new[0]), (key,), False), table, new)
    return set(wanted) - known


async def insert_all(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows, which all carry the same columns; IntegrityError where one is there already."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        await _run(connection, _insert_statement(table, tuple(rows[0]), None, False), table, rows)
    else:
        await _insert_arrays(connection, table, rows, "")


async def upsert(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> None:
    """Insert the rows; where `keys` are there already, set all other given columns. All rows carry the same columns.

    Of several rows with the same keys the last one counts.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        await _run(connection, _insert_statement(table, tuple(rows[0]), tuple(keys), True), table, rows)
        return
    last = {tuple(row[key] for key in keys): row for row in rows}
    rest = ", ".join(f"{column} = excluded.{column}" for column in rows[0] if column not in keys)
    then = f"ON CONFLICT ({', '.join(keys)}) DO {f'UPDATE SET {rest}' if rest else 'NOTHING'}"
    await _insert_arrays(connection, table, list(last.values()), then)


WAS = "was"


async def compare_and_set(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]], key: str, compared: str) -> int:
    """Set the given columns of the rows found by `key`, each only where `compared` is still what the row's `was` says.

    Answers how many were. All rows carry the same columns, and `was`.
    """
    if not rows:
        return 0
    columns = [column for column in rows[0] if column not in (key, WAS)]
    if connection.dialect.name == "sqlite":
        text = f"UPDATE {table.name} SET {', '.join(f'{column} = ?' for column in columns)} WHERE {key} = ? AND {compared} = ?"
        places = [*((column, table.c[column]) for column in (*columns, key)), (WAS, table.c[compared])]
        return (await connection.exec_driver_sql(text, _tuples(connection.dialect, places, rows))).rowcount
    places = [(name, table.c[compared if name == WAS else name]) for name in (*columns, key, WAS)]
    text = f"UPDATE {table.name} SET {', '.join(f'{column} = news.{column}' for column in columns)} "
    text += f"FROM {_news(connection.dialect, places)} WHERE {table.name}.{key} = news.{key} AND {table.name}.{compared} = news.{WAS}"
    return (await connection.exec_driver_sql(text, _arrays(connection.dialect, places, rows))).rowcount


async def _insert_arrays(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]], then: str) -> CursorResult[Any]:
    """PostgreSQL's bulk insert: one statement, the rows as one array a column. An executemany plans, locks and answers for each row."""
    places = [(name, table.c[name]) for name in rows[0]]
    names = ", ".join(rows[0])
    text = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {_news(connection.dialect, places)} {then}"
    return await connection.exec_driver_sql(text, _arrays(connection.dialect, places, rows))


def _news(dialect: Dialect, places: Sequence[tuple[str, Column[Any]]]) -> str:
    """The rows of a bulk statement as a table."""
    arrays = ", ".join(f"${place}::{column.type.compile(dialect)}[]" for place, (_, column) in enumerate(places, 1))
    return f"unnest({arrays}) AS news ({', '.join(name for name, _ in places)})"


def _arrays(dialect: Dialect, places: Sequence[tuple[str, Column[Any]]], rows: Sequence[dict[str, Any]]) -> tuple[list[Any], ...]:
    return tuple(list(values) for values in _columns(dialect, places, rows))


@lru_cache(maxsize=256)
def _insert_statement(table: Table, columns: tuple[str, ...], keys: tuple[str, ...] | None, update: bool) -> Any:
    statement = sqlite.insert(table).values({column: bindparam(column) for column in columns})
    if keys is None:
        return statement
    rest = {column: statement.excluded[column] for column in columns if column not in keys}
    if update and rest:
        return statement.on_conflict_do_update(index_elements=list(keys), set_=rest)
    return statement.on_conflict_do_nothing(index_elements=list(keys))


async def _run(connection: AsyncConnection, statement: Any, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Run a bulk statement as the driver's executemany: SQLAlchemy's handling of each row's parameters costs twice the statement."""
    text, names = _compiled(connection.dialect, statement)
    await connection.exec_driver_sql(text, _tuples(connection.dialect, [(name, table.c[name]) for name in names], rows))


@lru_cache(maxsize=256)
def _compiled(dialect: Dialect, statement: Any) -> tuple[str, tuple[str, ...]]:
    compiled = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup)


def _tuples(dialect: Dialect, places: Sequence[tuple[str, Column[Any]]], rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The rows' values in the statement's order, as the driver takes them; each place has the column whose type it is of."""
    return list(zip(*_columns(dialect, places, rows), strict=True))


def _columns(dialect: Dialect, places: Sequence[tuple[str, Column[Any]]], rows: Sequence[dict[str, Any]]) -> Iterator[Iterable[Any]]:
    for name, column in places:
        process = column.type.dialect_impl(dialect).bind_processor(dialect)
        values = [row[name] for row in rows]
        yield values if process is None else map(process, values)
