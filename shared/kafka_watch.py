"""What is looked after while a member of a consumer group reads: how far behind it is, and whether it hangs.

Both compare where the topic ends, asked of Kafka, with what was handled: what came by itself says nothing of a partition that stands still.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.client import CoordinationType

from shared.clock import real_now
from shared.kafka_cluster import Cluster
from shared.telemetry import PARTITION_LAG_RECORDS, PARTITION_LAG_SECONDS

MEASURE_EVERY = 5.0
LOOKS = 3
"""After so many looks in a row at which it was behind, a member hangs: after an outage its first fetch may still be on the way."""


class Watched(Protocol):
    """What is known here of whom the records are for."""

    group: str
    name: str

    def settled(self) -> dict[int, int]: ...
    def expected(self) -> dict[int, int]: ...
    def oldest(self) -> dict[int, datetime]: ...
    @property
    def is_waiting(self) -> bool: ...


class Watch:
    """Of one member, on Kafka's loop."""

    def __init__(self, subscription: Watched, cluster: Cluster, on_stuck: Callable[[str], None]) -> None:
        self._of = subscription
        self._topic = cluster.topic(subscription.name)
        self._patience = cluster.stuck_seconds
        self._answers_within = cluster.request_seconds
        self._on_stuck = on_stuck
        self._consumer: AIOKafkaConsumer | None = None
        self._came_at = self._changed_at = time.monotonic()
        self._is_member = False
        self._seen: dict[int, tuple[int, datetime]] = {}  # how far each partition was handled, and when that last moved or was all

    # what the member tells

    def begin(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    def end(self) -> None:
        self._consumer = None
        self.left()

    def joined(self) -> None:
        self._is_member = True

    def left(self) -> None:
        """Nothing is ours until we have joined again."""
        self._is_member, self._changed_at = False, time.monotonic()
        self.forget()

    def came(self) -> None:
        self._came_at = time.monotonic()

    def forget(self) -> None:
        """Whoever has the partitions now measures them."""
        for number in self._seen:
            for gauge in (PARTITION_LAG_RECORDS, PARTITION_LAG_SECONDS):
                with suppress(KeyError):
                    gauge.remove(self._of.group, self._of.name, str(number))
        self._seen.clear()

    # what the watch does

    async def for_lag(self) -> None:
        """Measure now and then how far behind each partition of ours is, also while nothing comes, and while we take nothing."""
        while True:
            await asyncio.sleep(MEASURE_EVERY)
            self._show(await self._ends(self._of.settled()))

    async def for_hanging(self) -> None:
        """Where there is more, nothing comes, and Kafka answers, the consumer hangs: nothing but a new process helps."""
        looks = 0
        while True:
            await asyncio.sleep(self._patience / 6)
            trouble = await self._trouble()
            looks = looks + 1 if trouble else 0
            if looks > LOOKS:
                self._on_stuck(f"{self._topic}: {trouble} for {self._patience:.0f} s, and Kafka answers")
                looks = 0

    async def _trouble(self) -> str | None:
        """What is wrong though Kafka answers; while it does not, that is an outage, not a member that hangs."""
        now = time.monotonic()
        if not self._is_member:
            return "not let into the group" if now - self._changed_at > self._patience and await self._answers() else None
        if not self._of.is_waiting or now - self._came_at <= self._patience:
            return None
        expected = self._of.expected()
        ends = await self._ends(expected)
        return "records wait, none has come" if any(end > expected.get(number, end) for number, end in ends.items()) else None

    async def _ends(self, numbers: Mapping[int, int]) -> dict[int, int]:
        """Where these partitions end; nothing while Kafka does not answer."""
        if self._consumer is None or not numbers:
            return {}
        try:
            async with asyncio.timeout(self._answers_within):
                ends = await self._consumer.end_offsets([TopicPartition(self._topic, number) for number in numbers])
        except (kafka.KafkaError, OSError, TimeoutError):
            return {}
        return {place.partition: end for place, end in ends.items()}

    async def _answers(self) -> bool:
        """Whether Kafka knows the topic, and who keeps the group: while nobody does, nobody is let in, and a new process would not be."""
        if self._consumer is None:
            return False
        try:
            async with asyncio.timeout(self._answers_within):
                known = await self._consumer.topics()
                await self._consumer._client.coordinator_lookup(CoordinationType.GROUP, self._consumer._group_id)
        except (kafka.KafkaError, OSError, TimeoutError):
            return False
        return self._topic in known

    def _show(self, ends: Mapping[int, int]) -> None:
        settled, oldest, now = self._of.settled(), self._of.oldest(), real_now()
        for number, end in ends.items():
            if number not in settled:  # it was taken from us while we asked
                continue
            records = max(0, end - settled[number])
            if records == 0 or self._seen.get(number, (-1, now))[0] != settled[number]:
                self._seen[number] = (settled[number], now)
            seconds = (now - oldest.get(number, self._seen[number][1])).total_seconds() if records else 0.0
            PARTITION_LAG_RECORDS.labels(self._of.group, self._of.name, number).set(records)
            PARTITION_LAG_SECONDS.labels(self._of.group, self._of.name, number).set(max(0.0, seconds))
