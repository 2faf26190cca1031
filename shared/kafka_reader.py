"""One group's way through one topic on Kafka: what is handed out, from which offset on. The stored positions decide; Kafka's do not count.

kafka_member.py fetches, on Kafka's loop ──fill──► shelves, one a partition ──next──► whoever handles the records, on his
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiokafka import ConsumerRecord

from shared.errors import Outage
from shared.kafka_cluster import Cluster, LoopThread
from shared.kafka_member import Member
from shared.log import Batch, Positions, Record
from shared.parcel import unpack

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(slots=True)
class _Shelf:
    """One assigned partition: where its reader stands, and what was fetched beyond that."""

    expected: int  # the offset that the next batch handed out begins with
    settled: int  # everything below it was handled
    begins: int  # where the partition began when we came to it
    records: "deque[ConsumerRecord]" = field(default_factory=deque)
    newest: datetime | None = None  # of the record handed out last
    high: int = 0  # where the partition ends, as far as is known
    in_hand: datetime | None = None  # when Kafka took the oldest record of the batch that is being handled


class KafkaSubscription:
    """Belongs to the loop that first calls `next`; its consumer lives on Kafka's loop."""

    def __init__(
        self, group: str, name: str, positions: Positions, cluster: Cluster, thread: LoopThread, on_stuck: Callable[[str], None]
    ) -> None:
        self.group = group
        self.name = name
        self._positions = positions
        self._thread = thread
        self._home: asyncio.AbstractEventLoop | None = None
        self._guard = threading.Lock()  # shelves are filled on Kafka's loop and emptied on ours
        self._shelves: dict[int, _Shelf] = {}
        self._is_placed = False  # whether it is known which partitions are ours
        self._turn = 0
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self._member = Member(self, cluster, on_stuck)

    async def next(self, limit: int) -> Batch:
        if self._home is None:
            self._home = asyncio.get_running_loop()
            await self._thread.run(self._member.start())
        while True:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiter = waiter  # before looking: what comes after the look wakes it
            batch = self._look(limit)
            if batch is not None:
                self._waiter = None
                self._thread.loop.call_soon_threadsafe(self._member.go_on)
                return batch
            if self._fault is not None:
                fault, self._fault = self._fault, None
                raise fault
            await waiter

    async def rewind(self, partition: int) -> None:
        stored = await self._positions.position(self.group, self.name, partition)
        await self._thread.run(self._member.seek(partition, stored))

    def backlog_since(self) -> datetime | None:
        return self._oldest(_next_at)

    def unsettled_since(self) -> datetime | None:
        """As `backlog_since`, with the batch handed out last until the next is asked for."""
        return self._oldest(lambda shelf: shelf.in_hand or _next_at(shelf))

    def _oldest(self, moment_of: Callable[[_Shelf], datetime | None]) -> datetime | None:
        with self._guard:
            if not self._is_placed or any(map(_is_unknown, self._shelves.values())):
                raise Outage(f"how much of {self.name} waits for {self.group} is not known before Kafka has handed it out")
            moments = [moment_of(shelf) for shelf in self._shelves.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def lag(self) -> dict[int, int]:
        """Records not handed out yet, by partition, as far as is known."""
        with self._guard:
            return {number: max(0, shelf.high - shelf.expected) for number, shelf in self._shelves.items()}

    async def close(self) -> None:
        await self._thread.run(self._member.stop())
        with self._guard:
            self._is_placed, self._shelves = True, {}  # from here on nothing waits for us
        if self._waiter is not None:
            self._waiter.cancel()

    def _look(self, limit: int) -> Batch | None:
        with self._guard:
            for shelf in self._shelves.values():
                shelf.settled, shelf.in_hand = shelf.expected, None  # who asks for more has handled what it had
            numbers = sorted(number for number, shelf in self._shelves.items() if shelf.records)
            if not numbers:
                return None
            number = next((number for number in numbers if number >= self._turn), numbers[0])
            self._turn = number + 1
            return self._taken(number, self._shelves[number], limit)

    def _taken(self, number: int, shelf: _Shelf, limit: int) -> Batch:
        position = shelf.expected
        records: list[Record] = []
        offsets: list[int] = []
        while shelf.records and len(records) < limit:
            one = shelf.records.popleft()
            found = unpack(Record((one.key or b"").decode(errors="replace"), one.value or b"", _moment(one)))
            records += found
            offsets += [one.offset] * len(found)
            shelf.expected = one.offset + 1
        if records:  # of what was erased nothing is left but its place
            shelf.newest, shelf.in_hand = records[-1].at, records[0].at
        return Batch(self.name, number, position, shelf.expected, tuple(records), tuple(offsets), position == shelf.begins)

    # what the group's member calls, on Kafka's loop

    async def stored(self, partition: int) -> int | None:
        """The stored position, asked for on the loop that owns the database's connections."""
        assert self._home is not None
        asked = self._positions.position(self.group, self.name, partition)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self._home))

    def stand(self, offsets: Mapping[int, tuple[int, int, int]]) -> None:
        """These partitions, each with its beginning and its end, are read from there on; nothing fetched before counts."""
        with self._guard:
            self._is_placed = True
            for number, (begins, offset, ends) in offsets.items():
                self._shelves[number] = _Shelf(offset, offset, begins, high=ends)

    def leave(self, numbers: Sequence[int]) -> None:
        with self._guard:
            self._is_placed = False
            for number in numbers:
                self._shelves.pop(number, None)

    def fill(self, number: int, records: "Sequence[ConsumerRecord]", high: int | None) -> None:
        """Put on the shelf what was fetched; what it is not to begin with, or has gone past, is dropped."""
        with self._guard:
            shelf = self._shelves.get(number)
            if shelf is None:
                return
            last = shelf.records[-1].offset if shelf.records else shelf.expected - 1
            shelf.records.extend(record for record in records if record.offset > last)
            shelf.high = max(shelf.high, high or 0)
        self.wake()

    def fail(self, error: Exception) -> None:
        """What `next` raises when it has nothing to hand out; what no patience mends is not forgotten over an outage."""
        if self._fault is None or isinstance(self._fault, Outage):
            self._fault = error
        self.wake()

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            with suppress(RuntimeError):  # a loop that has ended waits for nothing
                waiter.get_loop().call_soon_threadsafe(_settle, waiter)

    @property
    def is_waiting(self) -> bool:
        """Whether somebody asks for more and there is nothing."""
        waiter = self._waiter
        with self._guard:
            return waiter is not None and not waiter.done() and not any(shelf.records for shelf in self._shelves.values())

    @property
    def buffered(self) -> int:
        with self._guard:
            return sum(len(one.value or b"") for shelf in self._shelves.values() for one in shelf.records)

    def settled(self) -> dict[int, int]:
        with self._guard:
            return {number: shelf.settled for number, shelf in self._shelves.items()}

    def expected(self) -> dict[int, int]:
        with self._guard:
            return {number: shelf.expected for number, shelf in self._shelves.items()}

    def oldest(self) -> dict[int, datetime]:
        """When Kafka took the oldest record that is here and not handled, by partition; without those where none is here."""
        with self._guard:
            found = {number: shelf.in_hand or _first_at(shelf) for number, shelf in self._shelves.items()}
        return {number: moment for number, moment in found.items() if moment is not None}


def _moment(record: "ConsumerRecord") -> datetime:
    milliseconds: int = record.timestamp
    return _EPOCH + milliseconds * _MILLISECOND


def _first_at(shelf: _Shelf) -> datetime | None:
    return _moment(shelf.records[0]) if shelf.records else None


def _is_unknown(shelf: _Shelf) -> bool:
    """Whether something lies there of which nothing has come."""
    return shelf.high > shelf.expected and not shelf.records and shelf.newest is None


def _next_at(shelf: _Shelf) -> datetime | None:
    """When Kafka took the next record; where it lies there still, the moment of the one before: too early, never too late."""
    return _first_at(shelf) or (shelf.newest if shelf.high > shelf.expected else None)


def _settle(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
