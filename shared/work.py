"""One transaction of one service: its new state, and what it wants to tell the others, committed together.

state + outbox blob + position ──commit──► append to the log ──► the blob is deleted with a later commit.
A crash after the commit leaves the blob; the sweep publishes it. Readers must bear repeats, and do.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import lz4.frame  # type: ignore[import-untyped]  # it ships no stubs
import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from shared import wire
from shared.clock import Clock, real_now
from shared.db import Database
from shared.dead_letters import DeadLetter, save_dead_letters
from shared.errors import InvalidMessage, Outage
from shared.failpoints import passing
from shared.log import Log
from shared.tables import OutboxBlob
from shared.telemetry import OUTBOX_WAITING
from shared.telemetry import log as logger

STRANDED_AFTER = timedelta(seconds=5)
"""A blob this old was left by a crash or an outage: the replica of the service that takes it first publishes it."""
SWEEPS = timedelta(seconds=2)
"""How often to sweep: who is idle deletes what he has published well before it looks stranded to others."""

Pairs = list[tuple[str, bytes]]
_FRAME = b"\x04\x22\x4d\x18"  # what an lz4 frame begins with, and no list in msgpack
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


def pack_blob(pairs: Pairs) -> bytes:
    """The records of one blob, in few bytes where they are alike: the database writes them twice and then overwrites them."""
    compressed: bytes = lz4.frame.compress(_encode(pairs))
    return compressed


def unpack_blob(blob: bytes) -> Pairs:
    """What `pack_blob` packed; blobs were not compressed at first, and some may still wait in a folder."""
    return _decode(lz4.frame.decompress(blob) if blob.startswith(_FRAME) else blob)


@dataclass(slots=True)
class Work:
    """An open transaction. What is published here leaves only if the transaction commits."""

    service: str
    conn: AsyncConnection
    now: datetime
    outgoing: dict[str, Pairs] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)

    def publish(self, topic: str, key: str, message: Struct) -> None:
        """Append `message` to `topic` after the commit; records of one key keep their order within this work."""
        self.outgoing.setdefault(topic, []).append((key, wire.encode(message)))

    def publish_raw(self, topic: str, key: str, value: bytes) -> None:
        self.outgoing.setdefault(topic, []).append((key, value))

    def set_aside(self, topic: str, key: str, payload: bytes, *, code: str, message: str) -> None:
        """Keep a dead letter with this transaction."""
        self.letters.append(DeadLetter(self.service, topic, key, code, message, payload, self.now))

    async def save_letters(self) -> None:
        """Write down the letters kept so far; the rest follow with the commit."""
        letters, self.letters = self.letters, []
        if letters:
            await save_dead_letters(self.conn, letters)


class Outbox:
    """Opens works for one service and publishes what they leave behind.

    A blob's age is real time (`wall`), whatever the speed of the service's clock: it guards against processes that died.
    """

    def __init__(self, service: str, database: Database, log: Log, clock: Clock, wall: Callable[[], datetime] = real_now) -> None:
        self.service = service
        self._database = database
        self._log = log
        self._clock = clock
        self._wall = wall
        self._published: deque[int] = deque()  # appended already; their rows go with the next commit
        self._owed: set[int] = set()  # committed, and not appended yet
        self._is_clean = False  # nobody left anything from before this process, which alone writes

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        """One transaction; on return its state is committed, and published unless the log is away (then the sweep will)."""
        done = self._take_published()
        try:
            async with self._database.transaction() as connection:
                work = Work(self.service, connection, self._clock.now())
                yield work
                await work.save_letters()
                if done:
                    await connection.execute(delete(OutboxBlob).where(col(OutboxBlob.id).in_(done)))
                blobs = [(await self._store(work, topic, pairs), topic, pairs) for topic, pairs in work.outgoing.items()]
        except BaseException:
            self._published.extend(done)  # their rows are still there
            self._is_clean = False  # who is cancelled while it commits may have left a blob
            raise
        if self._database.changes() is not None:
            self._owed.update(blob_id for blob_id, _, _ in blobs)
        for blob_id, topic, pairs in blobs:
            await self._publish(blob_id, topic, pairs)

    async def sweep(self) -> int:
        """Publish what a crash or an outage left behind; answers how many blobs went out."""
        if self._published:
            async with self.work():
                pass
        if self._is_clean and not self._owed:
            return 0
        stranded = await self._find_stranded()
        OUTBOX_WAITING.labels(self.service).set(len(stranded))
        taken = await self._take_stranded(stranded) if stranded else []
        for blob_id, topic, records in taken:
            await self._publish(blob_id, topic, unpack_blob(records))
        if self._published:
            async with self.work():
                pass
        return len(taken)

    async def _find_stranded(self) -> set[int]:
        columns = (col(OutboxBlob.id), self._is_old())
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(*columns).where(col(OutboxBlob.service) == self.service).order_by(col(OutboxBlob.id)).limit(100)
            )
            left = found.all()
        self._is_clean = not left and self._database.changes() is not None
        return {blob_id for blob_id, is_old in left if is_old} - {*self._published}

    async def _take_stranded(self, blob_ids: Iterable[int]) -> Sequence[Row[int, str, bytes]]:
        """Those that nobody else has just taken; for others they are young again, and stranded once more if we die too."""
        free = select(col(OutboxBlob.id)).where(col(OutboxBlob.id).in_(blob_ids), self._is_old()).with_for_update(skip_locked=True)
        async with self._database.transaction() as connection:
            mine = list((await connection.execute(free)).scalars())
            await connection.execute(update(OutboxBlob).where(col(OutboxBlob.id).in_(mine)).values(created_at=self._wall()))
            columns = (col(OutboxBlob.id), col(OutboxBlob.topic), col(OutboxBlob.records))
            return (await connection.execute(select(*columns).where(col(OutboxBlob.id).in_(mine)).order_by(col(OutboxBlob.id)))).all()

    def _is_old(self) -> ColumnElement[bool]:
        return col(OutboxBlob.created_at) <= self._wall() - STRANDED_AFTER

    def _take_published(self) -> list[int]:
        """Several works may be open at once, on several loops: each blob's row is deleted by one of them."""
        taken: list[int] = []
        with suppress(IndexError):
            while True:
                taken.append(self._published.popleft())
        return taken

    async def _store(self, work: Work, topic: str, pairs: Pairs) -> int:
        row = {"service": self.service, "topic": topic, "records": pack_blob(pairs), "created_at": self._wall()}
        stored = await work.conn.execute(insert(OutboxBlob).values(row))
        assert stored.inserted_primary_key is not None
        key: int = stored.inserted_primary_key[0]
        return key

    async def _publish(self, blob_id: int, topic: str, pairs: Pairs) -> None:
        """Append what is committed already: what fails here is left to the sweep, and never looks as if the commit had failed."""
        try:
            passing("outbox.before_append")
            await self._append(topic, pairs)
            passing("outbox.after_append")
        except Outage as outage:
            logger.warning("outbox.held", service=self.service, topic=topic, records=len(pairs), why=str(outage))
        except Exception:  # noqa: BLE001 - a bug here is no reason to undo, or to do again, what is committed
            logger.exception("outbox.failed", service=self.service, topic=topic, records=len(pairs))
        else:
            self._published.append(blob_id)
            self._owed.discard(blob_id)

    async def _append(self, topic: str, pairs: Pairs) -> None:
        try:
            await self._log.append(topic, pairs)
        except InvalidMessage:
            await self._publish_singly(topic, pairs)

    async def _publish_singly(self, topic: str, pairs: Sequence[tuple[str, bytes]]) -> None:
        """The log refused the whole: append one by one and set aside what it refuses."""
        for key, value in pairs:
            try:
                await self._log.append(topic, [(key, value)])
            except InvalidMessage as refused:
                async with self._database.transaction() as connection:
                    letter = DeadLetter(self.service, topic, key, refused.code, str(refused), value, self._clock.now())
                    await save_dead_letters(connection, [letter])
