"""The member of a consumer group that fetches for one subscription. Everything here happens on Kafka's loop.

What aiokafka 0.14 does, and what is done about it here:
- it may hand out records of a new assignment before its listener has run to the end: partitions are paused first, then seeked, then resumed
- it logs and swallows what a listener raises: what goes wrong there is kept, and raised by `next`
- a cancelled `getmany` may lose what it fetched: nobody cancels it but `stop`
- it forgets which partitions were paused as soon as it assigns anew: backpressure is not to ask for more, never a pause
- it may hang for good after a broker's restart, without a word: kafka_watch.py compares the topic's end with what came
- it waits without a word for a topic that is not there: that is told
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka import errors as kafka

from shared.errors import ConfigurationError, Outage
from shared.kafka_cluster import LARGEST_RECORD, Cluster
from shared.kafka_door import why_shut
from shared.kafka_watch import Watch, Watched
from shared.telemetry import log as logger

BUFFERED = 16 << 20
"""Bytes read ahead of the handlers; more is fetched once less than this waits."""
FETCHED = 2 << 20
COMMIT_EVERY = 5.0
LEAVING = 2.0
"""Seconds to leave a group in; who says nothing is missed after its session."""
LOOK_FOR_TOPIC_EVERY = 2.0


class Readership(Watched, Protocol):
    """What a member knows of whom it fetches for."""

    async def stored(self, partition: int) -> int | None: ...
    def stand(self, offsets: Mapping[int, tuple[int, int, int]]) -> None: ...
    def leave(self, numbers: Sequence[int]) -> None: ...
    def fill(self, number: int, records: Sequence[ConsumerRecord], high: int | None) -> None: ...
    def fail(self, error: Exception) -> None: ...
    @property
    def buffered(self) -> int: ...


class Member(ConsumerRebalanceListener):
    """The consumer of one subscription, on Kafka's loop."""

    def __init__(self, subscription: Readership, cluster: Cluster, on_stuck: Callable[[str], None]) -> None:
        self._of = subscription
        self._cluster = cluster
        self._topic = cluster.topic(subscription.name)
        self._consumer: AIOKafkaConsumer | None = None
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._placing: asyncio.Task[None] | None = None
        self._watch = Watch(subscription, cluster, on_stuck)

    async def start(self) -> None:
        """Join the group; who waits for records waits until Kafka answers."""
        self._room.set()
        work = (self._fetch, self._commit, self._watch.for_hanging, self._watch.for_lag)
        self._tasks = [asyncio.ensure_future(self._told(one)) for one in work]

    async def stop(self) -> None:
        """Leave the group, within seconds whatever Kafka does."""
        tasks = [*self._tasks, *([self._placing] if self._placing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.wait([asyncio.gather(*tasks, return_exceptions=True)], timeout=LEAVING)
        await self._drop_consumer()
        self._watch.forget()

    async def _told(self, work: Callable[[], Awaitable[None]]) -> None:
        """No task of ours ends in silence: what none of them expects ends the subscription, for whoever asks for its next batch."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a bug here must not look like a topic where nothing happens
            logger.exception("kafka.failed", topic=self._topic)
            self._of.fail(error)

    def go_on(self) -> None:
        """Some of what was fetched is gone."""
        if not self._room.is_set() and self._of.buffered < BUFFERED:
            self._room.set()

    async def seek(self, partition: int, stored: int | None) -> None:
        """Read a partition of ours on from the stored position; of another's there is nothing to do. Raises as `next` does."""
        place = TopicPartition(self._topic, partition)
        consumer = self._consumer
        if consumer is None or place not in consumer.assignment():
            return
        try:
            found = await self._checked(consumer, [place], {place: stored})
            consumer.seek(place, found[place][1])
        except kafka.IllegalStateError:  # it was taken from us meanwhile
            return
        except (kafka.KafkaError, OSError) as error:
            raise Outage(f"Kafka cannot be read: {error!r}") from error
        self._of.stand({partition: found[place]})
        self.go_on()

    async def _fetch(self) -> None:
        while True:
            try:
                consumer = await self._open()
                await self._room.wait()
                self._shelve(consumer, await consumer.getmany(timeout_ms=500))
            except (kafka.NoOffsetForPartitionError, kafka.IllegalStateError):
                await asyncio.sleep(0.01)  # of a partition that is not seeked yet, or not ours any more
            except kafka.OffsetOutOfRangeError as error:
                self._of.fail(self._lost(*next(iter(error.args[0].items()))))
                await asyncio.sleep(1)
            except Outage as outage:
                self._of.fail(outage)
                await asyncio.sleep(LOOK_FOR_TOPIC_EVERY)
            except (kafka.KafkaError, OSError) as error:
                self._of.fail(Outage(f"Kafka cannot be read: {error!r}"))
                await asyncio.sleep(0.5)

    def _shelve(self, consumer: AIOKafkaConsumer, fetched: "Mapping[TopicPartition, list[ConsumerRecord]]") -> None:
        for place, records in fetched.items():
            high = consumer.highwater(place) if place in consumer.assignment() else None
            self._of.fill(place.partition, records, high)
        if fetched:
            self._watch.came()
            if self._of.buffered >= BUFFERED:
                self._room.clear()

    async def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            options = self._cluster.options()
            session = int(self._cluster.session_seconds * 1000)
            options["request_timeout_ms"] += session  # joining waits for the other members, or until the dead ones are given up
            consumer = AIOKafkaConsumer(
                group_id=self._cluster.topic(self._of.group),
                group_instance_id=f"{self._cluster.instance}.{self._of.name}" if self._cluster.instance else None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=FETCHED,
                fetch_max_bytes=LARGEST_RECORD * 2,
                session_timeout_ms=session,
                heartbeat_interval_ms=session // 6,
                rebalance_timeout_ms=session,
                max_poll_interval_ms=600_000,
                **options,
            )
            consumer.subscribe([self._topic], listener=self)
            self._consumer = consumer  # the first assignment may come before `start` returns
            self._watch.begin(consumer)
            try:
                await consumer.start()
                self._check_topic(consumer)
            except BaseException as error:
                await self._drop_consumer()
                if isinstance(error, kafka.KafkaConnectionError):
                    raise await why_shut(self._cluster, error) from error
                if isinstance(error, kafka.UnknownTopicOrPartitionError):
                    raise Outage(f"Kafka does not know the topic {self._topic}: make it by `dripline migrate`") from error
                raise
        return self._consumer

    def _check_topic(self, consumer: AIOKafkaConsumer) -> None:
        """aiokafka itself would wait for it without a word."""
        if not consumer.partitions_for_topic(self._topic):
            raise kafka.UnknownTopicOrPartitionError(self._topic)

    async def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._watch.end()
        if consumer is not None:
            with suppress(Exception):
                async with asyncio.timeout(LEAVING):
                    await consumer.stop()
            with suppress(Exception):
                async with asyncio.timeout(LEAVING / 4):
                    await consumer._client.close()  # where `stop` did not come to its end

    # the rebalance listener

    async def on_partitions_revoked(self, revoked: "Sequence[TopicPartition]") -> None:
        """A batch of theirs that is being handled either commits before their new owner looks, or one of the two is fenced."""
        await self._told(partial(self._revoked, revoked))

    async def on_partitions_assigned(self, assigned: "Sequence[TopicPartition]") -> None:
        await self._told(partial(self._assigned, assigned))

    async def _revoked(self, revoked: "Sequence[TopicPartition]") -> None:
        if self._placing is not None:
            self._placing.cancel()
        self._of.leave([place.partition for place in revoked])
        self._watch.left()
        self.go_on()  # what filled the room is gone

    async def _assigned(self, assigned: "Sequence[TopicPartition]") -> None:
        consumer = self._consumer
        self._watch.joined()
        if consumer is None:
            return
        if not assigned:
            self._of.stand({})  # there are more of us than partitions
            return
        consumer.pause(*assigned)  # before anything is awaited
        self._placing = asyncio.ensure_future(self._told(partial(self._place, consumer, sorted(assigned))))

    async def _place(self, consumer: AIOKafkaConsumer, places: "Sequence[TopicPartition]") -> None:
        """Seek the partitions to their stored positions and let them go; tried until the database and Kafka answer."""
        while True:
            try:
                stored = {place: await self._of.stored(place.partition) for place in places}
                found = await self._checked(consumer, places, stored)
                for place, (_, offset, _) in found.items():
                    consumer.seek(place, offset)
                self._of.stand({place.partition: offsets for place, offsets in found.items()})
                consumer.resume(*places)
                self._watch.came()
            except ConfigurationError as error:
                self._of.fail(error)
            except (Outage, kafka.KafkaError, OSError) as error:
                logger.warning("kafka.not_placed", topic=self._topic, why=repr(error))
            else:
                return
            await asyncio.sleep(0.5)

    async def _checked(
        self, consumer: AIOKafkaConsumer, places: "Sequence[TopicPartition]", stored: "Mapping[TopicPartition, int | None]"
    ) -> "dict[TopicPartition, tuple[int, int, int]]":
        """Where each begins, where to read on, where it ends. Raises ConfigurationError where the topic does not hold that (any more)."""
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        found: dict[TopicPartition, tuple[int, int, int]] = {}
        for place in places:
            offset = stored[place]
            if offset is not None and not begins[place] <= offset <= ends[place]:
                raise self._lost(place, offset, begins[place], ends[place])
            found[place] = (begins[place], begins[place] if offset is None else offset, ends[place])
        return found

    def _lost(self, place: TopicPartition, offset: int, begins: int | None = None, ends: int | None = None) -> ConfigurationError:
        holds = "no longer holds that" if begins is None else f"holds {begins} to {ends}"
        return ConfigurationError(
            f"{place.topic}/{place.partition}: {self._of.group} has to go on at {offset}, but Kafka {holds}. The topic was made anew, or "
            "kept its records for less time than the group was away. Bring it back, or see what is lost with `dripline positions list` "
            f"and go on without it: `dripline positions give-up {self._of.group} {self._of.name}`"
        )

    async def _commit(self) -> None:
        """Tell Kafka how far we are, for its lag tools; nobody reads on from there."""
        told: dict[int, int] = {}
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            settled = self._of.settled()
            news = {number: offset for number, offset in settled.items() if told.get(number) != offset}
            if self._consumer is None or not news:
                continue
            try:
                await self._consumer.commit({TopicPartition(self._topic, number): offset for number, offset in news.items()})
                told |= news
            except (kafka.KafkaError, AssertionError) as error:
                logger.debug("kafka.commit_failed", topic=self._topic, why=repr(error))
