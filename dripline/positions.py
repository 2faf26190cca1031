"""Where each service reads on in each partition, beside what Kafka still holds there; and the way on where it holds it no more."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlmodel import col

from dripline.settings import ServeSettings
from shared.db import Database
from shared.kafka_cluster import Cluster
from shared.kafka_topics import extents
from shared.positions import move_position
from shared.tables import Position


@dataclass(frozen=True, slots=True)
class Standing:
    """One service in one partition. `begins` and `ends` are None where Kafka has no such partition."""

    service: str
    topic: str
    partition: int
    position: int
    begins: int | None
    ends: int | None

    @property
    def behind(self) -> int | None:
        """Records that wait; None where the position lies outside what Kafka holds."""
        return None if self.is_lost or self.ends is None else self.ends - self.position

    @property
    def is_lost(self) -> bool:
        """Whether the service cannot go on: Kafka deleted what came next, or holds another topic than the one it read."""
        return self.begins is None or self.ends is None or not self.begins <= self.position <= self.ends


def positions(settings: ServeSettings) -> list[Standing]:
    """Every position that is stored. Raises Outage or ConfigurationError."""
    return asyncio.run(_with_database(settings, _standings))


def give_up(settings: ServeSettings, service: str, topic: str) -> list[Standing]:
    """Let the service go on where Kafka's partitions of the topic begin, wherever it cannot go on; answers those, as they stood.

    A position that Kafka still holds is left alone. Raises Fenced where one moves meanwhile: then nothing was changed.
    """

    async def move(database: Database, cluster: Cluster) -> list[Standing]:
        found = await _standings(database, cluster)
        lost = [one for one in found if (one.service, one.topic) == (service, topic) and one.is_lost and one.begins is not None]
        async with database.transaction() as connection:
            for one in lost:
                assert one.begins is not None
                await move_position(connection, service, topic, one.partition, expected=one.position, to=one.begins)
        return lost

    return asyncio.run(_with_database(settings, move))


async def _with_database(settings: ServeSettings, do: Callable[[Database, Cluster], Awaitable[list[Standing]]]) -> list[Standing]:
    database = Database(settings.database_url.get_secret_value())
    try:
        return await do(database, settings.cluster())
    finally:
        await database.close()


async def _standings(database: Database, cluster: Cluster) -> list[Standing]:
    rows = (col(Position.consumer_group), col(Position.topic), col(Position.partition), col(Position.next_offset))
    async with database.reading() as connection:
        stored = (await connection.execute(select(*rows).order_by(*rows))).all()
    held = await extents(cluster, sorted({topic for _, topic, _, _ in stored}))
    return [Standing(*row, *held.get((row[1], row[2]), (None, None))) for row in stored]
