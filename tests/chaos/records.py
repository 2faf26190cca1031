"""What the town's database and its Kafka say of themselves, asked past all of our own code; and the database's clock, to be set wrong."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

GROUPS = {"events": ("scoring",), "activities": ("journeys", "mailer"), "messages": ("mailer",), "dead-letters": ("ingest",)}
"""Who reads which topic."""

SKEW = """
CREATE SCHEMA skewed;
CREATE TABLE skewed.skew (seconds double precision NOT NULL);
INSERT INTO skewed.skew VALUES (0);
CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
  $$ SELECT pg_catalog.clock_timestamp() + (SELECT seconds FROM skewed.skew) * interval '1 second' $$;
"""
"""A clock before the real one on the search path: who asks the database what time it is gets what the test wants."""


class Records:
    """Each question opens a connection of its own: the server may have been started anew since the last."""

    def __init__(self, url: str, database: str, bootstrap: str, prefix: str) -> None:
        self._url = url.replace("+asyncpg", "")
        self._database = database
        self._bootstrap = bootstrap
        self.prefix = prefix

    async def fetch(self, question: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self._url, timeout=10)
        try:
            return list(await connection.fetch(question, *values, timeout=60))
        finally:
            with suppress(Exception):
                await connection.close(timeout=2)

    async def skewable(self) -> None:
        """Put the wrong clock before the right one, for all who connect from now on."""
        connection = await asyncpg.connect(self._url)
        await connection.execute(SKEW + f"ALTER DATABASE {self._database} SET search_path = public, skewed, pg_catalog;")
        await connection.close()

    async def skew(self, by: timedelta) -> None:
        await self.fetch("UPDATE skewed.skew SET seconds = seconds + $1", by.total_seconds())

    async def now(self) -> datetime:
        """What the services take for the time."""
        moment: datetime = (await self.fetch("SELECT clock_timestamp() AS now"))[0]["now"]
        return moment

    async def hang_up(self) -> None:
        """End every connection to the database but this one."""
        await self.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", self._database
        )

    async def positions(self) -> dict[tuple[str, str, int], int]:
        rows = await self.fetch("SELECT consumer_group, topic, partition, next_offset FROM shared_position")
        return {(row["consumer_group"], row["topic"], row["partition"]): row["next_offset"] for row in rows}

    async def ends(self) -> Mapping[tuple[str, int], int]:
        """Where each partition of each topic ends."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        await consumer.start()
        try:
            names = [name for name in await consumer.topics() if name.startswith(f"{self.prefix}.")]
            places = [TopicPartition(name, number) for name in names for number in consumer.partitions_for_topic(name) or ()]
            found = await consumer.end_offsets(places)
        finally:
            await consumer.stop()
        return {(place.topic.removeprefix(f"{self.prefix}."), place.partition): end for place, end in found.items()}

    async def throw(self, topic: str, value: bytes) -> bool:
        """Append a record that no service can read; False where Kafka has not said that it has it."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", request_timeout_ms=5000)
        try:
            async with asyncio.timeout(8):
                await producer.start()
                await producer.send_and_wait(f"{self.prefix}.{topic}", value, key=value)
        except Exception:  # noqa: BLE001 - it may have got through all the same; whoever checks knows both kinds
            return False
        else:
            return True
        finally:
            with suppress(Exception):
                async with asyncio.timeout(3):
                    await producer.stop()
