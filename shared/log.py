"""The log port: how what one service says reaches the others. Adapters: `EmbeddedLog` (local segment files) and, under `serve`, Kafka.

ingest ──append──► topic ──subscribe(group)──► a service, which keeps its own position in its own database
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a topic; `at` is when the log took it."""

    key: str
    value: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition; handling it moves the stored position from `position` to `next_offset`.

    `position` is where the batch begins: what the group's stored position must be. Only for a batch that is `first`, one that begins where
    the log begins, may the group have no stored position yet.
    Where records were erased it may hold fewer of them than offsets, or none at all: its position moves all the same.
    `offsets` has one offset a record; records of one parcel (see `shared.parcel`) share theirs, and no batch ends within a parcel.
    """

    topic: str
    partition: int
    position: int
    next_offset: int
    records: tuple[Record, ...]
    offsets: tuple[int, ...]
    first: bool = False


class Positions(Protocol):
    """Where each group goes on; the state database holds it, so that it moves in the transaction of what it stands for."""

    async def position(self, group: str, topic: str, partition: int) -> int | None:
        """The offset of the next record to handle; None means from the beginning."""
        ...


class Subscription(Protocol):
    """One group's way through one topic. Belongs to the event loop that calls it, one call at a time."""

    async def next(self, limit: int) -> Batch:
        """Waits until something is there and hands out about `limit` records at most; each call goes on after the last batch handed out.

        Raises ConfigurationError where the stored position lies outside the log, Outage where the log cannot be read now.
        """
        ...

    async def rewind(self, partition: int) -> None:
        """Reloads the stored position and goes on from there: after a rollback or fencing."""
        ...

    def backlog_since(self) -> datetime | None:
        """When the log took the oldest record not yet handed out; None when caught up.

        Before the first `next` it may be too early, never too late. Raises Outage while it is not known.
        """
        ...

    async def close(self) -> None:
        """Ends the subscription; a waiting `next` is cancelled."""
        ...


class Log(Protocol):
    """Topics of keyed records: in order within a partition, and one key always lies in one partition."""

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        """Takes (key, value) records and returns only when they are durable.

        Raises Outage when that cannot be now (some of them may have been kept: appends are at least once) and InvalidMessage when the
        log refuses a record for ever.
        """
        ...

    def subscribe(self, group: str, topic: str, positions: Positions) -> Subscription: ...

    def backlog_since(self, group: str, topic: str) -> datetime | None:
        """When the log took the oldest record that a group has not settled: a batch is, once the next is asked for. None when caught up.

        Before the group's first `next` it may be too early, never too late. None too where nobody here subscribes for the group.
        Raises Outage while it is not known: until the log has let us read, and what waits has come.
        """
        ...

    async def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """The first offset that each partition holds, and the one behind its last. Raises Outage where the log does not answer.

        Empty for a topic that nobody has made.
        """
        ...

    async def close(self) -> None:
        """Ends when every append so far is durable; later ones raise Outage."""
        ...


def settle(appends: Iterable[tuple["asyncio.Future[None]", Exception | None]]) -> None:
    """For both adapters, on the loop that waits: how each append ended. Who gave up meanwhile is not told."""
    for done, error in appends:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
