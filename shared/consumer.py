"""The shell around every handler: fetch → begin → handle → move the position → commit → publish.

The batch, its outbox and its position are one transaction, so a crash, a redelivery or a second owner of the partition changes nothing.
An outage holds; poison is found by handling the batch's records one by one, and set aside alone.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime

from shared.errors import Fenced, InvalidMessage, Outage
from shared.failpoints import passing
from shared.log import Batch, Record, Subscription
from shared.positions import StoredPositions, move_position
from shared.service import Ports
from shared.telemetry import BATCH_SECONDS, LAG_SECONDS, OUTAGES, RECORDS_HANDLED
from shared.telemetry import log as logger
from shared.wire import VERSION, version_of
from shared.work import Outbox, Work

Handler = Callable[[Work, Sequence[Record]], Awaitable[None]]
"""Applies a whole batch inside the given work. It may be called again with the same records."""

BATCH = 1000
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries while something is away; the last one repeats."""


def _nothing() -> None:
    return


class Consumer:
    """Feeds one service the records of one topic, each applied exactly once."""

    def __init__(self, topic: str, ports: Ports, outbox: Outbox, handle: Handler, after_commit: Callable[[], None] = _nothing) -> None:
        self._topic = topic
        self._ports = ports
        self._outbox = outbox
        self._handle = handle
        self._after_commit = after_commit
        self._subscription: Subscription | None = None

    async def run(self) -> None:
        """Handle whatever comes until cancelled."""
        self._subscription = self._ports.log.subscribe(self._outbox.service, self._topic, StoredPositions(self._ports.database))
        try:
            while True:
                await self._settle(await self._next(self._subscription))
                self._after_commit()
        finally:
            await self._subscription.close()

    def backlog_since(self) -> datetime | None:
        """When the oldest record came that was not settled yet; None while there is none."""
        return self._ports.log.backlog_since(self._outbox.service, self._topic)

    async def measure(self) -> None:
        """Tell the operators' metrics how old the oldest record is that was not settled; on the loop that runs this, as everything here."""
        since = self.backlog_since()
        age = (self._ports.clock.now() - since).total_seconds() if since else 0.0
        LAG_SECONDS.labels(self._outbox.service, self._topic).set(max(0.0, age))

    async def _next(self, subscription: Subscription) -> Batch:
        for pause in _pauses():
            try:
                return await subscription.next(BATCH)
            except Outage as outage:
                await self._hold(outage, pause)
        raise AssertionError("pauses never end")

    async def _settle(self, batch: Batch) -> None:
        """Apply the batch, set aside what cannot be applied; returns when its position has moved."""
        for pause in _pauses():
            try:
                await self._apply(batch, batch.records, batch.position, batch.next_offset)
            except Outage as outage:
                await self._hold(outage, pause)
            except Fenced as fenced:
                logger.warning("consumer.fenced", service=self._outbox.service, why=str(fenced))
                await self._rewind(batch.partition)
                return
            except Exception as error:  # noqa: BLE001 - poison or a bug: find the record and keep the evidence
                logger.warning("consumer.searching_poison", service=self._outbox.service, topic=self._topic, why=repr(error))
                await self._one_by_one(batch)
                return
            else:
                return

    async def _apply(self, batch: Batch, records: Sequence[Record], position: int, to: int) -> None:
        with BATCH_SECONDS.labels(self._outbox.service, self._topic).time():
            async with self._outbox.work() as work:
                await self._handle(work, self._of_known_version(work, records))
                await self._move(work, batch, position, to)
                passing("consumer.before_commit")
            passing("consumer.after_commit")
        RECORDS_HANDLED.labels(self._outbox.service, self._topic).inc(len(records))

    def _of_known_version(self, work: Work, records: Sequence[Record]) -> Sequence[Record]:
        """What we can read; what a newer Dripline wrote is parked as it is, until one that knows it replays it."""
        newer = [record for record in records if version_of(record.value) > VERSION]
        for record in newer:
            why = f"version {version_of(record.value)}, and this Dripline knows {VERSION}: update it, then replay the letter"
            work.set_aside(self._topic, record.key, record.value, code="unknown_version", message=why)
        return [record for record in records if record not in newer] if newer else records

    async def _one_by_one(self, batch: Batch) -> None:
        position = batch.position
        ends = [*batch.offsets[1:], batch.next_offset]
        for record, end in zip(batch.records, ends, strict=True):
            try:
                await self._one(batch, record, position, end)
            except Fenced:
                await self._rewind(batch.partition)
                return
            position = end

    async def _one(self, batch: Batch, record: Record, position: int, end: int) -> None:
        for pause in _pauses():
            try:
                await self._apply(batch, [record], position, end)
            except Outage as outage:
                await self._hold(outage, pause)
            except Fenced:
                raise
            except Exception as error:  # noqa: BLE001 - this record is the poison: it stops nobody else
                if await self._set_aside(batch, record, error, position, end):
                    return
                await asyncio.sleep(pause)
            else:
                return

    async def _set_aside(self, batch: Batch, record: Record, error: Exception, position: int, end: int) -> bool:
        code = error.code if isinstance(error, InvalidMessage) else "bug"
        logger.error("consumer.set_aside", service=self._outbox.service, topic=self._topic, code=code, why=repr(error), exc_info=error)
        try:
            async with self._outbox.work() as work:
                work.set_aside(self._topic, record.key, record.value, code=code, message=f"{type(error).__name__}: {error}")
                await self._move(work, batch, position, end)
                passing("consumer.before_set_aside")
            passing("consumer.after_set_aside")
        except Outage:
            return False
        return True

    async def _move(self, work: Work, batch: Batch, position: int, to: int) -> None:
        first = batch.first and position == batch.position
        await move_position(work.conn, self._outbox.service, batch.topic, batch.partition, expected=position, to=to, first=first)

    async def _rewind(self, partition: int) -> None:
        assert self._subscription is not None
        for pause in _pauses():
            try:
                await self._subscription.rewind(partition)
            except Outage as outage:
                await self._hold(outage, pause)
            else:
                return

    async def _hold(self, outage: Outage, pause: float) -> None:
        OUTAGES.labels(self._outbox.service).inc()
        logger.warning("consumer.held", service=self._outbox.service, topic=self._topic, why=str(outage), seconds=pause)
        await asyncio.sleep(pause)


def _pauses() -> Iterator[float]:
    yield from PAUSES
    yield from itertools.repeat(PAUSES[-1])
