"""Where events wait on ingest's own disk while Kafka is away: a small embedded log that is emptied from its front. See docs/adr/0020.

ingest ──append──► spool (fsynced, within its quota) ──drain──► Kafka ──confirmed──► the segment is deleted

    DIR/lock              held by the one process that may write or drain here
    DIR/topics/events/0/  segment files, as `run` keeps its log (shared/segments.py)
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from services.ingest.spool_folder import TOPICS, Held, locked, refuse_memory
from shared.clock import Clock, SystemClock
from shared.embedded_log import EmbeddedLog
from shared.errors import ConfigurationError, InvalidMessage, Outage
from shared.failpoints import passing
from shared.segment_cursor import Cursor
from shared.segments import Partition
from shared.telemetry import log as logger

SEGMENT_BYTES = 8 << 20
"""How much may be sent twice where a process dies while it drains."""
CHUNK_BYTES, CHUNK_RECORDS = 1 << 20, 500
"""What is sent at once."""
ROOM = 4 << 20
"""Bytes of the quota that must be left for it to be ready: the largest request, inflated."""
REFUSED = ".refused"
"""Ends the name of a topic that holds what Kafka refused of another, for people."""

Records = Sequence[tuple[str, bytes]]
Send = Callable[[str, Records], Awaitable[None]]
"""Returns when Kafka has confirmed records of a topic; raises Outage, or InvalidMessage for what Kafka will never take."""


class Spool:
    """The records in one folder that Kafka has not confirmed. Any event loop may append; one drains."""

    def __init__(self, folder: Path, quota: int, clock: Clock | None = None, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Opens or begins it, and locks it. A torn last frame, which nobody was told yes for, is cut off.

        Raises ConfigurationError where it cannot be written, another process has it, or its files are damaged.
        """
        self._folder = folder
        self._quota = quota
        self._lock = locked(folder)
        self._log = EmbeddedLog(folder / TOPICS, clock or SystemClock(), segment_bytes=segment_bytes)
        self._sent: dict[str, int] = {}  # by topic, the offset up to which Kafka has confirmed all
        self._coming = 0  # bytes on their way to the disk

    async def append(self, topic: str, records: Records) -> None:
        """Return when the records are on the disk: what comes meanwhile goes there together. Raises Outage where it is full."""
        size = sum(len(key) + len(value) for key, value in records)
        if self.size() + self._coming + size > self._quota:
            raise Outage(f"{self._folder}: the spool is full ({self._quota} bytes, DRIPLINE_SPOOL_BYTES)")
        self._coming += size
        passing("ingest.before_spool")
        try:
            await self._log.append(topic, records)
        finally:
            self._coming -= size
        passing("ingest.after_spool")

    async def check(self) -> None:
        """Raises Outage where it takes nothing now, or soon will not."""
        if self.size() + min(ROOM, self._quota // 4) >= self._quota:
            raise Outage(f"{self._folder}: the spool is full ({self._quota} bytes, DRIPLINE_SPOOL_BYTES)")
        await self._log.check()

    def size(self) -> int:
        """Bytes on the disk."""
        return sum(shelf.size() for _, _, shelf in self._log.shelves())

    def waits(self) -> bool:
        """Whether something is to be drained."""
        return any(self._begin(name, shelf) < shelf.end.offset for name, shelf in self._shelves(refused=False))

    def held(self) -> list[Held]:
        """What is to be drained, by topic."""
        return [self._held(name, shelf) for name, shelf in self._shelves(refused=False)]

    async def drain(self, send: Send, *, refused: bool = False) -> None:
        """Send what waits now, oldest first; a segment is deleted once Kafka has confirmed all of it. What Kafka refuses is set aside.

        Raises Outage as `send` does; the next call goes on there. `refused`: try again what was set aside, too.
        """
        for name, shelf in self._shelves(refused=refused):
            await self._drain(name, shelf, send)
        with suppress(Outage):  # a full disk takes no new segment, not even to let this one go; the next drain tries again
            await self._log.seal()
        for name, shelf in self._shelves(refused=True):
            shelf.drop_below(self._begin(name, shelf))

    async def close(self) -> None:
        await self._log.close()
        os.close(self._lock)

    def _shelves(self, *, refused: bool) -> list[tuple[str, Partition]]:
        return [(name, shelf) for name, _, shelf in self._log.shelves() if refused or not name.endswith(REFUSED)]

    def _begin(self, name: str, shelf: Partition) -> int:
        return max(self._sent.get(name, 0), shelf.bases[0])

    def _held(self, name: str, shelf: Partition) -> Held:
        begin = self._begin(name, shelf)
        return Held(name, shelf.end.offset - begin, shelf.size(), _moment(shelf, begin))

    async def _drain(self, name: str, shelf: Partition, send: Send) -> None:
        end = shelf.end.offset
        while self._begin(name, shelf) < end:
            cursor: Cursor | None = None
            try:
                cursor = Cursor(shelf, self._begin(name, shelf))
                while records := _next(cursor):
                    passing("ingest.before_drain")
                    await self._hand_over(name.removesuffix(REFUSED), records, send)
                    passing("ingest.after_drain")
                    self._sent[name] = cursor.offset
                    shelf.drop_below(cursor.offset)
                    if cursor.offset >= end:
                        break
            except ConfigurationError as damage:
                await self._pass_by(name, shelf, damage)
            finally:
                if cursor is not None:
                    cursor.close()

    async def _hand_over(self, topic: str, records: Records, send: Send) -> None:
        try:
            await send(topic, records)
        except ConfigurationError as wrong:  # of Kafka's settings: none of these records is damaged
            raise Outage(str(wrong)) from wrong
        except InvalidMessage as why:
            if len(records) == 1:
                logger.error("spool.refused", topic=topic, folder=str(self._folder), code=why.code, why=str(why))
                await self._log.append(topic + REFUSED, records)
                return
            for record in records:
                await self._hand_over(topic, [record], send)

    async def _pass_by(self, name: str, shelf: Partition, damage: ConfigurationError) -> None:
        """A damaged segment stops nothing that lies behind it."""
        await self._log.seal()
        aside, self._sent[name] = shelf.give_up(shelf.segment_of(self._begin(name, shelf)))
        logger.critical("spool.damaged", why=str(damage), moved_to=str(aside))


def open_spool(folder: Path | None, quota: int) -> Spool | None:
    """The spool of a replica; None where the settings name no folder. Raises ConfigurationError where that one cannot be used."""
    if folder is None:
        return None
    refuse_memory(folder)
    return Spool(folder, quota)


def _moment(shelf: Partition, offset: int) -> datetime | None:
    """When a record was spooled; None where there is none, or the file is damaged, as the drain will tell."""
    try:
        cursor = Cursor(shelf, offset)
    except ConfigurationError:
        return None
    try:
        return cursor.next_at()
    except ConfigurationError:
        return None
    finally:
        cursor.close()


def _next(cursor: Cursor) -> list[tuple[str, bytes]]:
    """The records to send at once; damage is raised only where nothing lies before it."""
    records: list[tuple[str, bytes]] = []
    size = 0
    while len(records) < CHUNK_RECORDS and size < CHUNK_BYTES:
        try:
            record = cursor.take()
        except ConfigurationError:
            if records:
                break
            raise
        if record is None:
            break
        records.append((record.key, record.value))
        size += len(record.value)
    return records
