"""A topic of the embedded log as its readers see it: partitions on the disk, and each group's way through them."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import datetime

from shared.errors import ConfigurationError, DriplineError, Outage
from shared.log import Batch, Positions, Record
from shared.parcel import unpack
from shared.segment_cursor import Cursor
from shared.segments import Partition

_READ_BYTES = 4 << 20

_Future = asyncio.Future[None]


class Topic:
    """The partitions of a topic, and who reads it."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self.partitions = partitions
        self.readers: tuple[EmbeddedSubscription, ...] = ()  # replaced, never changed: the writer may be going through it
        self._changing = threading.Lock()

    def join(self, reader: "EmbeddedSubscription") -> None:
        with self._changing:
            self.readers = (*self.readers, reader)

    def leave(self, reader: "EmbeddedSubscription") -> None:
        with self._changing:
            self.readers = tuple(other for other in self.readers if other is not reader)


class EmbeddedSubscription:
    """One group's way through the partitions of one topic."""

    def __init__(self, group: str, name: str, positions: Positions, topic: Topic) -> None:
        self.group = group
        self._name = name
        self._positions = positions
        self._topic = topic
        self._cursors: dict[int, Cursor] = {}
        self._turn = 0
        self.waiter: _Future | None = None
        """What a `next` that found nothing waits for; the writer settles it."""
        self._in_hand: datetime | None = None  # when the log took the oldest record of the batch handed out last
        topic.join(self)

    async def next(self, limit: int) -> Batch:
        """The next records of one partition, the partitions in turn; waits until there are some."""
        self._in_hand = None
        for number in range(len(self._topic.partitions)):
            if number not in self._cursors:
                await self.rewind(number)
        while True:
            waiter: _Future = asyncio.get_running_loop().create_future()
            self.waiter = waiter  # before looking: what is committed after the look wakes it
            batch = self._look(limit)
            if batch is not None:
                self.waiter = None
                self._in_hand = batch.records[0].at if batch.records else None
                return batch
            await waiter

    async def rewind(self, partition: int) -> None:
        """Goes on from the stored position; raises ConfigurationError where that lies outside the log."""
        shelf = self._topic.partitions[partition]
        stored = await self._positions.position(self.group, self._name, partition)
        offset = shelf.bases[0] if stored is None else stored
        if not shelf.bases[0] <= offset <= shelf.end.offset:
            raise ConfigurationError(
                f"{shelf.folder}: {self.group} has to go on at {offset}, but the log holds {shelf.bases[0]} to {shelf.end.offset}. "
                "The state database and the log are not of the same moment: restore both from one backup"
            )
        if partition in self._cursors:
            self._cursors[partition].seek(offset)
        else:
            self._cursors[partition] = Cursor(shelf, offset)

    def backlog_since(self) -> datetime | None:
        moments = (self._next_at(number) for number in range(len(self._topic.partitions)))
        return min((moment for moment in moments if moment is not None), default=None)

    def unsettled_since(self) -> datetime | None:
        """As `backlog_since`, with the batch handed out last until the next is asked for."""
        moments = (self._in_hand, self.backlog_since())
        return min((moment for moment in moments if moment is not None), default=None)

    async def close(self) -> None:
        self._topic.leave(self)
        for cursor in self._cursors.values():
            cursor.close()
        self._cursors.clear()
        if self.waiter is not None:
            self.waiter.cancel()

    async def stored_position(self, partition: int) -> int:
        """The first offset that the group has still to handle."""
        return await self._positions.position(self.group, self._name, partition) or 0

    def _look(self, limit: int) -> Batch | None:
        count = len(self._topic.partitions)
        for number in ((self._turn + step) % count for step in range(count)):
            batch = self._read(number, limit)
            if batch.next_offset > batch.position:
                self._turn = number + 1
                return batch
        return None

    def _read(self, number: int, limit: int) -> Batch:
        """Up to about `limit` records and a few MiB of one partition; what cannot be read is raised only where nothing else is there."""
        cursor = self._cursors[number]
        position = cursor.offset
        records: list[Record] = []
        offsets: list[int] = []
        size = 0
        while len(records) < limit and size < _READ_BYTES:
            offset = cursor.offset
            try:
                entry = cursor.take()
            except (DriplineError, OSError) as error:
                if cursor.offset > position:
                    break  # what was taken is handed out; the next look meets the trouble again
                if isinstance(error, OSError):
                    raise Outage(f"the log cannot be read: {error}") from error
                raise
            if entry is None:
                break
            found = unpack(entry)
            records += found
            offsets += [offset] * len(found)
            size += len(entry.value)
        first = position == self._topic.partitions[number].bases[0]
        return Batch(self._name, number, position, cursor.offset, tuple(records), tuple(offsets), first)

    def _next_at(self, partition: int) -> datetime | None:
        if partition in self._cursors:
            return self._cursors[partition].next_at()
        shelf = self._topic.partitions[partition]
        first = Cursor(shelf, shelf.bases[0])
        try:
            return first.next_at()
        finally:
            first.close()
