"""Appending to Kafka as our services do, beside aiokafka's `send` with the same batch size, the same records, and the same guarantees.

Both await what they send before they go on, with so many at work at once; both are idempotent and wait for every replica in sync.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from aiokafka import AIOKafkaProducer
from uvloop import new_event_loop

from bench import town
from bench.pairs import Row, paired
from bench.scoring import made_event
from shared import wire
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_writer import BATCH_BYTES, header_of

RECORDS = 40_000
PARTITIONS = 12
ROWS = ((1000, 4, 3.0), (100, 16, None), (1, 256, None))
"""Records an append, appends at once, target."""

Records = Sequence[tuple[str, bytes]]
Append = Callable[[Records], Awaitable[None]]


def rows() -> Iterator[Row]:
    cluster = town.fresh_cluster(PARTITIONS)
    records = [made_event(number) for number in range(RECORDS)]
    for size, at_once, target in ROWS:
        given = records if size > 1 else records[: RECORDS // 4]
        chunks = [given[begin : begin + size] for begin in range(0, len(given), size)]
        name = f"appending to Kafka by {size:,}, {at_once} at once"

        def ours(chunks: Sequence[Records] = chunks, at_once: int = at_once) -> float:
            return _run(_by_our_log(cluster, chunks, at_once))

        def floor(chunks: Sequence[Records] = chunks, at_once: int = at_once) -> float:
            return _run(_by_send(cluster, chunks, at_once))

        yield paired(name, ours, floor, "records/s", target)


async def _by_our_log(cluster: Cluster, chunks: Sequence[Records], at_once: int) -> float:
    log = KafkaLog(cluster)

    async def append(records: Records) -> None:
        await log.append(wire.EVENTS, records)

    try:
        return await _rate(append, chunks, at_once)
    finally:
        await log.close()


async def _by_send(cluster: Cluster, chunks: Sequence[Records], at_once: int) -> float:
    topic, header = cluster.topic(wire.EVENTS), header_of(wire.EVENTS)
    async with AIOKafkaProducer(enable_idempotence=True, max_batch_size=BATCH_BYTES, linger_ms=0, **cluster.options()) as producer:

        async def append(records: Records) -> None:
            sent = [await producer.send(topic, value, key=key.encode(), headers=header) for key, value in records]
            await asyncio.gather(*sent)

        return await _rate(append, chunks, at_once)


async def _rate(append: Append, chunks: Sequence[Records], at_once: int) -> float:
    """Records a second, connecting left out."""
    await append(chunks[0])
    left = iter(chunks)

    async def work() -> None:
        for records in left:
            await append(records)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return sum(len(records) for records in chunks) / (time.perf_counter() - started)


def _run(measured: Awaitable[float]) -> float:
    async def waited() -> float:
        return await measured

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(waited())
