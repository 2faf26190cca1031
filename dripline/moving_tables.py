"""Copies the rows of a data folder's SQLite into PostgreSQL, within one transaction of the caller's: all of them, or none.

sqlite3 ──rows, typed by the table's columns──► COPY ──► counted on both sides ──► sequences set past the highest number
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Table, TypeDecorator

from shared.errors import ConfigurationError
from shared.tables import Position

POSITIONS = Position.__tablename__
"""Not copied: an offset of one log means nothing in another."""
STEP = 2000

Report = Callable[[str, int, int], None]
"""How far it has come: with what, how many are done, of how many."""


def tables_of(every: dict[str, Table]) -> list[Table]:
    """Those whose rows are moved, in a fixed order."""
    return [table for name, table in sorted(every.items()) if name != POSITIONS]


async def refuse_unless_empty(target: asyncpg.Connection, tables: list[Table]) -> None:
    """Raises ConfigurationError where the database already holds something of Dripline's."""
    filled = [table.name for table in tables if await target.fetchval(f"SELECT EXISTS (SELECT FROM {table.name})")]
    if filled:
        raise ConfigurationError(
            f"the database is not empty: {', '.join(filled)} hold rows; a folder moves into an empty one, so name another in "
            "DRIPLINE_DATABASE_URL"
        )


async def copy_tables(state: Path, target: asyncpg.Connection, tables: list[Table], report: Report) -> dict[str, int]:
    """Copy every row; answers how many of which table. Raises ConfigurationError where the two sides do not count alike."""
    copied = {}
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as source:
        for table in tables:
            copied[table.name] = await _copy(source, target, table, report)
    return {name: count for name, count in copied.items() if count}


async def _copy(source: sqlite3.Connection, target: asyncpg.Connection, table: Table, report: Report) -> int:
    name = table.name
    total: int = source.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
    columns = [column.name for column in table.columns]
    rows = _rows(source, table, lambda done: report(name, done, total))
    await target.copy_records_to_table(name, records=rows, columns=columns)
    there = await target.fetchval(f"SELECT count(*) FROM {name}")
    if there != total:
        raise ConfigurationError(f"{name}: {total} rows here, {there} rows there; nothing was kept, so try again")
    for column in table.primary_key:
        sequence = await target.fetchval("SELECT pg_get_serial_sequence($1, $2)", name, column.name)
        if sequence and total:
            await target.execute(f"SELECT setval('{sequence}', (SELECT max({column.name}) FROM {name}))")
    return total


def _rows(source: sqlite3.Connection, table: Table, told: Callable[[int], None]) -> Iterator[tuple[Any, ...]]:
    """SQLite keeps whatever it was given: each value becomes what its column says."""
    makers = [_maker(column.type) for column in table.columns]
    cursor = source.execute(f"SELECT {', '.join(column.name for column in table.columns)} FROM {table.name}")
    done = 0
    while rows := cursor.fetchmany(STEP):
        for row in rows:
            yield tuple(None if value is None else make(value) for make, value in zip(makers, row, strict=True))
        done += len(rows)
        told(done)


def _maker(kind: Any) -> Callable[[Any], Any]:
    makers: dict[Any, Callable[[Any], Any]] = {bool: bool, bytes: _bytes, str: _text, int: int}
    return makers[kind.impl.python_type if isinstance(kind, TypeDecorator) else kind.python_type]


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _text(value: str) -> str:
    """PostgreSQL's texts hold no NUL; Unicode's replacement character stands for it."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
