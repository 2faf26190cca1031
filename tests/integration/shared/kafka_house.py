"""What the tests of the log on Kafka share: stored positions, and readers that handle as a consumer does."""

import asyncio

from shared.errors import Outage
from shared.kafka_log import KafkaLog
from shared.kafka_reader import KafkaSubscription
from shared.kafka_topics import Layout
from shared.log import Batch

ONE_BROKER = Layout(partitions=4, replicas=1, in_sync=1)


class Stored:
    """Positions as a database would keep them, shared by all consumers of a test."""

    def __init__(self, group: str = "scoring") -> None:
        self._group = group
        self.stored: dict[tuple[str, str, int], int] = {}
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def position(self, group: str, topic: str, partition: int) -> int | None:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        return self.stored.get((group, topic, partition))

    def move(self, batch: Batch) -> bool:
        """Compare and set, as the consumer's transaction does; False where somebody else was first."""
        place = (self._group, batch.topic, batch.partition)
        if self.stored.get(place, batch.position) != batch.position:
            return False
        self.stored[place] = batch.next_offset
        return True


async def append(log: KafkaLog, numbers: range) -> None:
    await log.append("events", [(f"k{number}", str(number).encode()) for number in numbers])


async def drain(subscription: KafkaSubscription, stored: Stored, into: list[int], until: int) -> None:
    """Handle as a consumer does, until this many records were handled by all: a fenced batch is forgotten and read again."""
    while len(into) < until:
        try:
            batch = await asyncio.wait_for(subscription.next(50), 2)
        except TimeoutError:
            continue
        if stored.move(batch):
            into += [int(record.value) for record in batch.records]
        else:
            await subscription.rewind(batch.partition)


async def hold_and_drain(subscription: KafkaSubscription, stored: Stored, into: list[int], until: int) -> None:
    """`drain`, over any outage; until so many different records were handled."""
    while len(set(into)) < until:
        try:
            await drain(subscription, stored, into, len(into) + 1)
        except Outage:
            await asyncio.sleep(0.1)


async def append_at_last(log: KafkaLog, numbers: range) -> int:
    """`append`, again and again until the log takes it; answers how often it did not."""
    failed = 0
    while True:
        try:
            await append(log, numbers)
        except Outage:
            failed += 1
            await asyncio.sleep(0.2)
        else:
            return failed
