"""The log of `run`: segment files in the data folder, between all services of one process. See docs/adr/0003.

append ──► queue ──► one writer thread: takes whatever waits, one frame a partition, fdatasync ──► answers, wakes readers

There is no added delay: the commit in flight is what lets the next one gather. Any event loop in any thread may append and subscribe.
"""

import asyncio
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from zlib import crc32

from shared.clock import Clock
from shared.embedded_topic import EmbeddedSubscription, Topic
from shared.errors import ConfigurationError, InvalidMessage, Outage
from shared.log import Positions, Record, settle
from shared.segment_rewriting import rewrite
from shared.segments import Partition, sync_folder

_SEGMENT_BYTES = 64 << 20
_COMMIT_BYTES = 4 << 20
_LARGEST_RECORD = 8 << 20
_LARGEST_APPEND = 64 << 20
_ROOM = 32 << 20
"""Bytes that must be free on the disk: a commit of each topic, and the database's."""
_UNFINISHED = ".new"

_Loop = asyncio.AbstractEventLoop
_Future = asyncio.Future[None]
_Records = Sequence[tuple[str, bytes]]

Ends = Mapping[tuple[str, int], int]
"""An offset of each partition, by topic and number."""


@dataclass(slots=True)
class _Append:
    done: _Future
    topic: Topic
    parts: Sequence[tuple[Partition, _Records]]
    size: int
    seals: bool = False  # it brings nothing, and ends the segments


class EmbeddedLog:
    """Topics under one folder. One process at a time: the data folder's lock sees to that."""

    def __init__(self, folder: Path, clock: Clock, partitions: int = 1, segment_bytes: int = _SEGMENT_BYTES) -> None:
        """Opens what is there and starts the writer; a topic keeps the number of partitions it was made with.

        Raises ConfigurationError, with file, byte and remedy, where the files are damaged.
        """
        self._folder = folder
        self._clock = clock
        self._partitions = partitions
        self._segment_bytes = segment_bytes
        self._topics: dict[str, Topic] = {}
        self._opening = threading.Lock()
        self._waiting: SimpleQueue[_Append | None] = SimpleQueue()
        self._closed = False
        self._trouble: Exception | None = None  # of the last commit, where it failed
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for found in sorted(folder.iterdir()):
                if found.is_dir() and not found.name.endswith(_UNFINISHED):
                    self._topic(found.name)
        except OSError as error:
            raise ConfigurationError(f"{error.filename}: the log cannot be opened: {error.strerror}") from error
        self._writer = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._writer.start()

    async def append(self, topic: str, records: _Records) -> None:
        """Takes (key, value) records and returns when they are on the disk.

        Raises Outage where it cannot write now, InvalidMessage for a record that it never takes.
        """
        if not records:
            return
        if self._closed:
            raise Outage("the log is closed")
        size = _checked_size(records)
        place = self._place(topic)
        done: _Future = asyncio.get_running_loop().create_future()
        self._waiting.put(_Append(done, place, _split(place.partitions, records), size))
        await done

    def subscribe(self, group: str, topic: str, positions: Positions) -> EmbeddedSubscription:
        return EmbeddedSubscription(group, topic, positions, self._topic(topic))

    def backlog_since(self, group: str, topic: str) -> datetime | None:
        readers = self._topics[topic].readers if topic in self._topics else ()
        moments = (reader.unsettled_since() for reader in readers if reader.group == group)
        return min((moment for moment in moments if moment is not None), default=None)

    async def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        partitions = self._topics[topic].partitions if topic in self._topics else ()
        return {number: (partition.bases[0], partition.end.offset) for number, partition in enumerate(partitions)}

    async def check(self) -> None:
        """Raises Outage where appends fail, or soon will for want of room on the disk."""
        if self._trouble is not None:
            raise Outage(f"the log takes nothing: {self._trouble}")
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < _ROOM:
            raise Outage(f"{self._folder}: less than {_ROOM >> 20} MiB are left on the disk")

    async def close(self) -> None:
        """Ends when every append so far is on the disk."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        await asyncio.to_thread(self._writer.join)
        for topic in self._topics.values():
            for partition in topic.partitions:
                partition.close()

    async def drop_older_than(self, moment: datetime) -> int:
        """Deletes the segments whose every record is older than `moment`; says how many.

        What a subscribed group has still to handle stays, however old.
        """
        dropped = 0
        for topic in list(self._topics.values()):
            for number, partition in enumerate(topic.partitions):
                floors = [await reader.stored_position(number) for reader in topic.readers]
                dropped += partition.drop(moment, min(floors, default=partition.end.offset))
        return dropped

    def ends(self) -> Ends:
        """Where everything ends that was appended until now."""
        return {(name, number): partition.end.offset for name, number, partition in self.shelves()}

    async def seal(self) -> Ends:
        """Seal what was appended until now, and say where it ends. Raises Outage where the disk takes nothing."""
        for topic in list(self._topics.values()):
            await self._seal(topic)
        return {(name, number): partition.bases[-1] for name, number, partition in self.shelves()}

    async def check_handled(self, ends: Ends) -> None:
        """Raises Outage while a subscribed group has still to handle something that lies before these ends."""
        for (name, number), end in ends.items():
            topic = self._topics[name]
            if min([await reader.stored_position(number) for reader in topic.readers], default=end) < end:
                raise Outage(f"{topic.partitions[number].folder}: not all of it is handled yet")

    async def rewrite(self, clean: Callable[[str, Record], Record | None], sealed: Ends) -> int:
        """Let `clean` take records' places (given the topic; None leaves one as it is), in all before `sealed`, which `seal` told.

        Says how many were changed. Raises Outage while a subscribed group has still to handle some of it, or the disk takes nothing; what
        was rewritten by then stays, and the rest is as it was. Who tries again brings the same `sealed`: an end that moves on with every
        append is never reached.
        """
        await self.check_handled(sealed)
        changed = 0
        for (name, number), end in sealed.items():
            partition = self._topics[name].partitions[number]
            changed += await asyncio.to_thread(rewrite, partition, partial(clean, name), end)
        return changed

    def shelves(self) -> list[tuple[str, int, Partition]]:
        """Every partition there is, with its topic and number."""
        topics = list(self._topics.items())
        return [(name, number, partition) for name, topic in topics for number, partition in enumerate(topic.partitions)]

    async def _seal(self, topic: Topic) -> None:
        if self._closed:
            raise Outage("the log is closed")
        done: _Future = asyncio.get_running_loop().create_future()
        self._waiting.put(_Append(done, topic, [(partition, ()) for partition in topic.partitions], 0, seals=True))
        await done

    def _topic(self, name: str) -> Topic:
        with self._opening:
            if name not in self._topics:
                folders = _partition_folders(self._folder, name, self._partitions)
                self._topics[name] = Topic([Partition(folder, self._segment_bytes) for folder in folders])
            return self._topics[name]

    def _place(self, name: str) -> Topic:
        try:
            return self._topics.get(name) or self._topic(name)
        except OSError as error:
            raise Outage(f"cannot make topic {name}: {error.strerror}") from error

    def _write(self) -> None:
        while not self._closed or not self._waiting.empty():
            taken = self._take()
            if taken:
                self._commit(taken)

    def _take(self) -> list[_Append]:
        """Whatever waits now, up to a few MiB; waits for the first. Empty when woken to close."""
        taken: list[_Append] = []
        size = 0
        waiting = self._waiting.get()
        with suppress(Empty):
            while waiting is not None:
                taken.append(waiting)
                size += waiting.size
                if size >= _COMMIT_BYTES:
                    break
                waiting = self._waiting.get_nowait()
        return taken

    def _commit(self, taken: Sequence[_Append]) -> None:
        frames: dict[Partition, list[tuple[str, bytes]]] = defaultdict(list)
        for append in taken:
            for partition, records in append.parts:
                frames[partition].extend(records)
        failed: dict[Partition, Exception] = {}
        at = self._clock.now()
        sealed = {partition for append in taken if append.seals for partition in append.topic.partitions}
        for partition, records in frames.items():
            try:
                if records:
                    partition.append(records, at)
                if partition in sealed:
                    partition.seal()
            except Exception as problem:  # noqa: BLE001  the writer outlives whatever happens; who appended is told
                failed[partition] = problem
        self._trouble = next(iter(failed.values()), None)
        self._answer(taken, failed)

    def _answer(self, taken: Sequence[_Append], failed: dict[Partition, Exception]) -> None:
        """Tells those who appended and wakes those who read: one call into each event loop."""
        answers: dict[_Loop, list[tuple[_Future, Exception | None]]] = defaultdict(list)
        for append in taken:
            problem = next((failed[partition] for partition, _ in append.parts if partition in failed), None) if failed else None
            answers[append.done.get_loop()].append((append.done, problem))
        for reader in {reader for append in taken for reader in append.topic.readers}:
            if (waiter := reader.waiter) is not None:
                answers[waiter.get_loop()].append((waiter, None))
        for loop, settled in answers.items():
            with suppress(RuntimeError):  # a loop that has ended waits for nothing
                loop.call_soon_threadsafe(settle, settled)


def _split(partitions: Sequence[Partition], records: _Records) -> Sequence[tuple[Partition, _Records]]:
    if len(partitions) == 1:
        return [(partitions[0], records)]
    parts: dict[Partition, list[tuple[str, bytes]]] = defaultdict(list)
    for record in records:
        parts[partitions[crc32(record[0].encode()) % len(partitions)]].append(record)
    return list(parts.items())


def _checked_size(records: _Records) -> int:
    """The size of the records; raises InvalidMessage for one that no commit could hold or write down."""
    size = 0
    for key, value in records:
        if len(value) > _LARGEST_RECORD:
            raise InvalidMessage("too_large", f"a record of {len(value)} bytes; the log takes at most {_LARGEST_RECORD}")
        if not key.isascii():
            _check_key(key)
        size += len(value)
    if size > _LARGEST_APPEND:
        raise InvalidMessage("too_large", f"{size} bytes in one append; the log takes at most {_LARGEST_APPEND}")
    return size


def _check_key(key: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage("bad_key", "a record's key is not valid Unicode") from error


def _partition_folders(root: Path, topic: str, partitions: int) -> list[Path]:
    """The folders of a topic's partitions; a new topic appears with all of them at once."""
    folder = root / topic
    if not folder.exists():
        unfinished = root / (topic + _UNFINISHED)
        for number in range(partitions):
            (unfinished / str(number)).mkdir(parents=True, exist_ok=True)
        sync_folder(unfinished)
        os.rename(unfinished, folder)
        sync_folder(root)
    return sorted((found for found in folder.iterdir() if found.is_dir()), key=lambda found: int(found.name))
