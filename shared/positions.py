"""Where each consumer group reads on: kept beside the state, moved in the transaction that applies the batch."""

from sqlalchemy import select
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


async def move_position(connection: AsyncConnection, group: str, topic: str, partition: int, *, expected: int, to: int) -> None:
    """Move a position from `expected` to `to`. Raises Fenced where it is not at `expected`: somebody else has moved it."""
    table = Position.__table__  # type: ignore[attr-defined]
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(consumer_group=group, topic=topic, partition=partition, next_offset=to)
    moved = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["consumer_group", "topic", "partition"], set_={"next_offset": to}, where=table.c.next_offset == expected
        )
    )
    if moved.rowcount == 0:
        raise Fenced(f"{group} no longer reads {topic}/{partition} from {expected}")
