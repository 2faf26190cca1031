"""Appends to Kafka: whatever waits goes out as ready-made batches, one a partition, and is answered when every replica in sync has it.

There is no added delay: the round in flight is what lets the next one gather (the embedded log's writer does the same with fsync).
aiokafka's `send` makes a future and a hash in Python for each record; a ready-made batch costs a fifth of that (docs/performance.md).
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from shared.errors import DriplineError, InvalidMessage, Outage
from shared.failpoints import passing
from shared.kafka_cluster import LARGEST_RECORD, Cluster
from shared.kafka_door import why_shut
from shared.log import settle
from shared.wire import VERSION

BATCH_BYTES = 1 << 20
ROUND_BYTES = 16 << 20
"""What one round takes of what waits."""
CLOSING = 3.0
"""Seconds that what is on its way gets when the log is closed."""
DROPPING = 1.0
"""Seconds for each step of letting a producer go; what it holds was answered as an outage."""
REFUSED = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.InvalidTimestampError, kafka.CorruptRecordException)
"""What Kafka says of a record that it will never take."""

Records = Sequence[tuple[str, bytes]]
Answer = tuple["asyncio.Future[None]", DriplineError | None]


@dataclass(slots=True, eq=False)
class Append:
    """Records that somebody waits for."""

    topic: str
    records: Records
    size: int
    done: "asyncio.Future[None]"  # of the loop that waits, and settled there
    is_settled: bool = False


@dataclass(slots=True, eq=False)
class _Parcel:
    """One batch on its way, and whose records lie in it."""

    topic: str
    partition: int
    batch: BatchBuilder
    owners: list[Append]


class Writer:
    """The producer of one process. Lives on Kafka's loop."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer: AIOKafkaProducer | None = None
        self._waiting: list[Append] = []
        self._some = asyncio.Event()
        self._closing = False
        self._answers: dict[asyncio.AbstractEventLoop, list[Answer]] = {}
        self._running = asyncio.ensure_future(self._run())

    def take(self, append: Append) -> None:
        """Its `done` ends when the records are durable, or with Outage or InvalidMessage."""
        if self._running.done():
            self._settle(append, Outage("the log is closed"))
        else:
            self._waiting.append(append)
            self._some.set()

    async def close(self) -> None:
        """Send what waits, then end, within seconds: what Kafka has not taken by then is an outage to whoever appended it."""
        self._closing = True
        self._some.set()
        await asyncio.wait([self._running], timeout=CLOSING)
        self._running.cancel()
        await asyncio.wait([self._running], timeout=CLOSING / 4)
        self._fail(self._waiting, Outage("the log is closed"))
        await self._drop_producer()

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._some.wait()
            taken = self._take()
            try:
                if taken:
                    await self._round(taken)
            except asyncio.CancelledError:
                self._fail(taken, Outage("the log is closed"))
                raise
            except TimeoutError:
                self._fail(taken, Outage(f"Kafka at {self._cluster.bootstrap} gave no answer to an append within its time"))
                await self._drop_producer()
            except Exception as error:  # noqa: BLE001 - the writer outlives whatever happens; who appended is told
                self._fail(taken, _told(error))
                await self._drop_producer()

    def _take(self) -> list[Append]:
        """What nobody waits for any more is left out: who gave up puts it elsewhere."""
        count = 0
        size = 0
        for append in self._waiting:
            count += 1
            size += append.size
            if size >= ROUND_BYTES:
                break
        taken = [append for append in self._waiting[:count] if not append.done.done()]
        del self._waiting[:count]
        if not self._waiting:
            self._some.clear()
        return taken

    async def _round(self, taken: Sequence[Append]) -> None:
        """One round: all batches out, all answers in, within our patience; a producer that gave none is not used again."""
        async with asyncio.timeout(self._cluster.request_seconds * 2):
            refused = await self._send(taken)
        lost_order = any(isinstance(error, REFUSED) for _, error in refused)  # Kafka waits for the number that it refused
        again = dict.fromkeys(owner for parcel, error in refused if _is_bystander(parcel, error, lost_order) for owner in parcel.owners)
        failed = {owner: _translated(error, parcel.topic) for parcel, error in refused for owner in parcel.owners if owner not in again}
        for append in taken:
            if append not in again:
                self._settle(append, failed.get(append))
        if refused:
            await self._drop_producer()  # after a lost sequence number an idempotent producer refuses for ever (aiokafka #1017)
        for append in again:
            await self._round([append])  # who is refused for what lies beside him is asked again, alone

    async def _send(self, taken: Sequence[Append]) -> list[tuple[_Parcel, BaseException]]:
        """Send everything at once; answers what was not taken, and why."""
        producer = await self._open()
        partitions = await self._partitions(producer, taken)
        parcels = self._pack(producer, [append for append in taken if append.topic in partitions], partitions)
        passing("kafka.before_send")
        sent = [await producer.send_batch(parcel.batch, parcel.topic, partition=parcel.partition) for parcel in parcels]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        passing("kafka.after_send")
        return [(parcel, answer) for parcel, answer in zip(parcels, answers, strict=True) if isinstance(answer, BaseException)]

    async def _partitions(self, producer: AIOKafkaProducer, taken: Sequence[Append]) -> dict[str, int]:
        """How many partitions each topic has; who appended to one that Kafka does not know is told."""
        names = sorted({append.topic for append in taken})
        asked = [producer.partitions_for(self._cluster.topic(name)) for name in names]
        found: dict[str, int] = {}
        for name, answer in zip(names, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(answer, kafka.KafkaError):
                trouble = await self._unknown(producer, self._cluster.topic(name), answer)
                self._fail([append for append in taken if append.topic == name], trouble)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[name] = len(answer)
        return found

    async def _unknown(self, producer: AIOKafkaProducer, topic: str, error: kafka.KafkaError) -> Outage:
        """A topic may be unknown because there is none, or because nobody answered who knows it."""
        try:
            known = (await producer.client.fetch_all_metadata()).topics()
        except kafka.KafkaError:
            return await why_shut(self._cluster, error)
        if topic in known:
            return Outage(f"Kafka does not say where the topic {topic} lies: {error!r}")
        return Outage(f"Kafka does not know the topic {topic}: make it by `dripline migrate`")

    def _pack(self, producer: AIOKafkaProducer, taken: Sequence[Append], partitions: Mapping[str, int]) -> list[_Parcel]:
        full: list[_Parcel] = []
        filling: dict[tuple[str, int], _Parcel] = {}
        for append in taken:
            header = header_of(append.topic)
            for key, value in append.records:
                place = (append.topic, partition_of(key, partitions[append.topic]))
                record = {"timestamp": None, "key": key.encode(), "value": value, "headers": header}
                parcel = filling.get(place)
                if parcel is None or parcel.batch.append(**record) is None:
                    parcel = filling[place] = _Parcel(self._cluster.topic(append.topic), place[1], producer.create_batch(), [])
                    parcel.batch.append(**record)
                    full.append(parcel)
                if not parcel.owners or parcel.owners[-1] is not append:
                    parcel.owners.append(append)
        return full

    async def _open(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(enable_idempotence=True, max_batch_size=BATCH_BYTES, linger_ms=0, **self._cluster.options())
            self._producer = producer
            try:
                await producer.start()
            except BaseException as error:
                await self._drop_producer()
                if isinstance(error, kafka.KafkaError | OSError):
                    raise await why_shut(self._cluster, error) from error
                raise
        return self._producer

    def _fail(self, taken: Sequence[Append], error: DriplineError) -> None:
        for append in taken:
            self._settle(append, error)

    def _settle(self, append: Append, error: DriplineError | None) -> None:
        """Answer with the next turn of this loop: one word to another thread for all that wait there."""
        if append.is_settled:
            return
        append.is_settled, home = True, append.done.get_loop()
        answers = self._answers.setdefault(home, [])
        answers.append((append.done, error))
        if len(answers) == 1:
            asyncio.get_running_loop().call_soon(self._tell, home)

    def _tell(self, home: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # a loop that has ended waits for nothing
            home.call_soon_threadsafe(settle, self._answers.pop(home))

    async def _drop_producer(self) -> None:
        """Let go of the producer; what it still holds has been answered as an outage, and is not sent by it any more."""
        producer = self._producer
        if producer is None:
            return
        for end in (producer._sender.close, producer.stop, producer.client.close):  # `stop` alone waits for a flush, without end
            with suppress(Exception):
                async with asyncio.timeout(DROPPING):
                    await end()
        self._producer = None


def header_of(topic: str) -> list[tuple[str, bytes]]:
    """What every record on a topic says of its shape (docs/asyncapi.yaml)."""
    return [("schema", f"{topic}/{VERSION}".encode())]


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, as Java's clients choose it: murmur2, its sign dropped, modulo the number of partitions."""
    hashed: int = murmur2(key.encode())
    return (hashed & 0x7FFFFFFF) % partitions


def checked_size(records: Records) -> int:
    """The size of the records; raises InvalidMessage for one that no topic takes."""
    size = 0
    for key, value in records:
        if len(value) > LARGEST_RECORD:
            raise InvalidMessage("too_large", f"a record of {len(value)} bytes; the log takes at most {LARGEST_RECORD}")
        try:
            size += len(key.encode()) + len(value)
        except UnicodeEncodeError as error:
            raise InvalidMessage("bad_key", "a record's key is not valid Unicode") from error
    return size


def _is_bystander(parcel: _Parcel, error: BaseException, lost_order: bool) -> bool:
    """Whether a batch was refused only for another's sake: a record of somebody else in it, or a batch before it."""
    if isinstance(error, REFUSED):
        return len(parcel.owners) > 1
    return lost_order and isinstance(error, kafka.OutOfOrderSequenceNumber)


def _told(error: Exception) -> Outage:
    """A setting that went wrong while we run, as a certificate that is being replaced, is told, and tried again like any outage."""
    return Outage(str(error) if isinstance(error, DriplineError) else f"Kafka: {error!r}")


def _translated(error: BaseException, topic: str) -> DriplineError:
    if isinstance(error, REFUSED):
        return InvalidMessage("refused", f"Kafka refuses a record of {topic}: {error}")
    return Outage(f"Kafka did not take a batch of {topic}: {error!r}")
