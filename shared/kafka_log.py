"""The log on Apache Kafka, for `serve`: the same port as the embedded log, and the same contract suite.

append ──► Writer (idempotent, acks=all)          subscribe ──► KafkaSubscription (positions from the database)
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from shared.errors import Outage
from shared.kafka_cluster import Cluster, LoopThread
from shared.kafka_reader import KafkaSubscription
from shared.kafka_topics import extents
from shared.kafka_writer import Append, Writer, checked_size
from shared.log import Positions
from shared.telemetry import log as logger

STUCK = 70
"""The exit code of a process whose consumer hangs; its supervisor starts another."""


def give_up(why: str) -> None:
    """End this process at once, so that its partitions go to somebody who can read them."""
    logger.critical("kafka.stuck", why=why)
    os._exit(STUCK)


class KafkaLog:
    """Topics of one prefix on one cluster. Appends and subscriptions may come from any event loop."""

    def __init__(self, cluster: Cluster, on_stuck: Callable[[str], None] = give_up) -> None:
        self._cluster = cluster
        self._on_stuck = on_stuck
        self._thread = LoopThread("kafka")
        self._arrived: deque[Append] = deque()
        self._is_told = False  # Kafka's loop knows that something has arrived
        self._writer: Writer | None = None
        self._subscriptions: list[KafkaSubscription] = []
        self._closed = False

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        if not records:
            return
        if self._closed:
            raise Outage("the log is closed")
        arrived = Append(topic, records, checked_size(records), asyncio.get_running_loop().create_future())
        self._arrived.append(arrived)
        if not self._is_told:  # one word to the other thread for all that arrive until it looks
            self._is_told = True
            try:
                self._thread.loop.call_soon_threadsafe(self._hand_over)
            except RuntimeError as error:  # its loop has ended meanwhile
                raise Outage("the log is closed") from error
        await arrived.done

    def subscribe(self, group: str, topic: str, positions: Positions) -> KafkaSubscription:
        subscription = KafkaSubscription(group, topic, positions, self._cluster, self._thread, self._on_stuck)
        self._subscriptions.append(subscription)
        return subscription

    def backlog_since(self, group: str, topic: str) -> datetime | None:
        readers = (one for one in self._subscriptions if (one.group, one.name) == (group, topic))
        moments = (reader.unsettled_since() for reader in readers)
        return min((moment for moment in moments if moment is not None), default=None)

    async def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        found = await self._thread.run(extents(self._cluster, [topic]))
        return {partition: held for (_, partition), held in sorted(found.items())}

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for subscription in self._subscriptions:
            await subscription.close()
        await self._thread.run(self._end_writer())
        await asyncio.to_thread(self._thread.close)

    def _hand_over(self) -> None:
        """On Kafka's loop: give the writer what has arrived. What arrives from here on tells us again."""
        self._is_told = False
        if self._writer is None:
            self._writer = Writer(self._cluster)
        while self._arrived:
            self._writer.take(self._arrived.popleft())

    async def _end_writer(self) -> None:
        if self._writer is not None:
            await self._writer.close()
