"""Where each consumer group reads on: kept beside the state, moved in the transaction that applies the batch."""

from sqlalchemy import Table, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from shared.db import Database
from shared.errors import Fenced
from shared.tables import Position


class StoredPositions:
    """Reads positions from the database, for subscriptions that begin or rewind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def position(self, group: str, topic: str, partition: int) -> int | None:
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(col(Position.next_offset)).where(
                    col(Position.consumer_group) == group, col(Position.topic) == topic, col(Position.partition) == partition
                )
            )
            return found.scalar_one_or_none()


async def positions_of(connection: AsyncConnection, group: str, topic: str) -> dict[int, int]:
    """Where the group reads on, by partition; one that it never began is not there."""
    stored = select(_TABLE.c.partition, _TABLE.c.next_offset).where(_TABLE.c.consumer_group == group, _TABLE.c.topic == topic)
    return {partition: offset for partition, offset in await connection.execute(stored)}


async def move_position(
    connection: AsyncConnection, group: str, topic: str, partition: int, *, expected: int, to: int, first: bool = False
) -> None:
    """Move a position from `expected` to `to`; where none is stored yet, only from the log's beginning (`first`).

    Raises Fenced where it is not at `expected`: somebody else has moved it, or it was taken away.
    """
    here = (_TABLE.c.consumer_group == group, _TABLE.c.topic == topic, _TABLE.c.partition == partition)
    moved = await connection.execute(update(_TABLE).where(*here, _TABLE.c.next_offset == expected).values(next_offset=to))
    if moved.rowcount == 0 and not (first and await _begin(connection, group, topic, partition, to)):
        raise Fenced(f"{group} no longer reads {topic}/{partition} from {expected}")


async def _begin(connection: AsyncConnection, group: str, topic: str, partition: int, to: int) -> bool:
    """Store a group's first position; False where one is there."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(_TABLE).values(consumer_group=group, topic=topic, partition=partition, next_offset=to)
    return (await connection.execute(statement.on_conflict_do_nothing())).rowcount == 1


_TABLE: Table = Position.__table__  # type: ignore[attr-defined]
