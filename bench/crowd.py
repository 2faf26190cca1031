"""A crowd: the rows of one real lead copied by SQL, so that a million stand there in half a minute instead of an hour.

What is copied is what the services themselves wrote for that lead. Ids and addresses keep their length, so that blobs stay well formed,
whatever they are. In the expressions, `n` is the copy's number: rows lie in its order, as if one lead had come after the other.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

PRAGMAS = ("journal_mode=WAL", "synchronous=OFF", "cache_size=-200000", "temp_store=MEMORY")


@dataclass(frozen=True)
class Copies:
    """Of one table: what takes the place of the seed's texts wherever they stand, and what takes the place of whole columns."""

    table: str
    texts: Mapping[str, str]
    columns: Mapping[str, str] = field(default_factory=dict)


def multiply(state: Path, tables: list[Copies], count: int) -> None:
    """Make `count` rows of every row of these tables."""
    with closing(sqlite3.connect(state, isolation_level=None)) as database:
        for pragma in PRAGMAS:
            database.execute(f"PRAGMA {pragma}")
        database.execute("BEGIN IMMEDIATE")
        for copies in tables:
            _multiply(database, copies, count)
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def enrollment_ids(millisecond: str, place: str) -> str:
    """An expression for ids as journeys makes them: the entry's millisecond, then what is scattered."""
    return f"printf('%08x-%04x-8000-8000-%012d', ({millisecond}) >> 16, ({millisecond}) & 65535, {place})"


def _multiply(database: sqlite3.Connection, copies: Copies, count: int) -> None:
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({copies.table})")]
    values = ", ".join(copies.columns.get(column) or _substituted(column, copies.texts) for column in columns)
    numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count - 1})"
    database.execute(f"CREATE TEMP TABLE seed AS SELECT * FROM {copies.table}")
    database.execute(f"DELETE FROM {copies.table}")
    database.execute(f"INSERT INTO {copies.table} ({', '.join(columns)}) {numbers} SELECT {values} FROM numbers CROSS JOIN seed")
    database.execute("DROP TABLE seed")


def _substituted(column: str, texts: Mapping[str, str]) -> str:
    text = f"CAST({column} AS TEXT)"
    for old, new in texts.items():
        text = f"replace({text}, '{old}', {new})"
    return f"CASE typeof({column}) WHEN 'blob' THEN CAST({text} AS BLOB) WHEN 'text' THEN {text} ELSE {column} END"
