"""One partition of the embedded log on the disk: frames of records in segment files. `EmbeddedLog` writes and reads through it.

    events/0/00000000000000000000.log      sealed: never written again, dropped whole when it is old
    events/0/00000000000000048211.log      active: the name is the offset of its first record

A frame is one commit: a header (magic, length of the body, first offset, count, when in microseconds, CRC-32 of all that and the body) and
the body, lz4 of msgpack [[key, value]…]. A commit is synced before the next is written, so only the very last frame can be torn.
"""

import os
import struct
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import lz4.block  # type: ignore[import-untyped]  # it ships no stubs
import msgspec

from shared.errors import ConfigurationError, Outage
from shared.log import Record

_MAGIC = b"DLF1"
_FIELDS = struct.Struct("<4sIQIq")
_HEADER_SIZE = _FIELDS.size + 4
_LARGEST_BODY = 256 << 20  # far beyond what the log writes: a header that says more is damaged
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True, slots=True)
class _Frame:
    offset: int
    count: int
    micros: int
    body_size: int
    crc: int
    fields: bytes

    @property
    def at(self) -> datetime:
        return _EPOCH + self.micros * _MICROSECOND

    @property
    def size(self) -> int:
        return _HEADER_SIZE + self.body_size

    @property
    def next_offset(self) -> int:
        return self.offset + self.count


def _pack(offset: int, at: datetime, records: Sequence[tuple[str, bytes]]) -> bytes:
    body = lz4.block.compress(_encode(records))
    fields = _FIELDS.pack(_MAGIC, len(body), offset, len(records), (at - _EPOCH) // _MICROSECOND)
    return b"".join((fields, crc32(body, crc32(fields)).to_bytes(4, "little"), body))


def _header(data: bytes) -> _Frame | None:
    if len(data) < _HEADER_SIZE or not data.startswith(_MAGIC):
        return None
    fields = data[: _FIELDS.size]
    _, size, offset, count, micros = _FIELDS.unpack(fields)
    if size > _LARGEST_BODY:
        return None
    return _Frame(offset, count, micros, size, int.from_bytes(data[_FIELDS.size : _HEADER_SIZE], "little"), fields)


def _body(fd: int, frame: _Frame, position: int) -> bytes | None:
    body = os.pread(fd, frame.body_size, position + _HEADER_SIZE)
    return body if crc32(body, crc32(frame.fields)) == frame.crc else None


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class _End:
    """Where the durable part ends; readers see nothing beyond it."""

    offset: int
    position: int


class Partition:
    """Segment files of one partition. One thread appends; any thread reads through its own Cursor."""

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        """Opens or begins it: a torn last frame is cut off, corruption elsewhere in the last segment raises ConfigurationError."""
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._shape = threading.Lock()  # guards the list of segments between appending and dropping
        self.bases = tuple(sorted(int(path.stem) for path in folder.glob("*.log"))) or (0,)
        self._fd = os.open(self.path(self.bases[-1]), os.O_RDWR | os.O_CREAT, 0o640)
        sync_folder(folder)
        self.end = self._recover()

    def path(self, base: int) -> Path:
        return self.folder / f"{base:020}.log"

    def segment_of(self, offset: int) -> int:
        """The base of the segment that holds, or will hold, this offset."""
        bases = self.bases
        return bases[bisect_right(bases, offset) - 1]

    def append(self, records: Sequence[tuple[str, bytes]], at: datetime) -> None:
        """Writes one frame and returns when it is on the disk; raises Outage, with nothing of it left behind, where that fails."""
        end = self.end
        try:
            if end.position >= self._segment_bytes:
                end = self._roll()
            frame = _pack(end.offset, at, records)
            _write(self._fd, frame, end.position)
            _sync(self._fd)
        except OSError as error:
            with suppress(OSError):  # what stays is overwritten by the next frame, or cut off as torn
                os.ftruncate(self._fd, end.position)
            raise Outage(f"cannot write {self.path(self.bases[-1])}: {error.strerror}") from error
        self.end = _End(end.offset + len(records), end.position + len(frame))

    def drop(self, moment: datetime, floor: int) -> int:
        """Deletes the sealed segments whose every record is older than `moment` and below offset `floor`; says how many."""
        with self._shape:
            old = 0
            for successor in self.bases[1:]:
                if successor > floor or not self._begins_before(successor, moment):
                    break
                old += 1
            gone, self.bases = self.bases[:old], self.bases[old:]
        for base in gone:
            self.path(base).unlink()
        return old

    def close(self) -> None:
        os.close(self._fd)

    def _begins_before(self, base: int, moment: datetime) -> bool:
        with self.path(base).open("rb") as segment:
            first = _header(segment.read(_HEADER_SIZE))
        return first is not None and base < self.end.offset and first.at <= moment

    def _roll(self) -> _End:
        end = self.end
        os.ftruncate(self._fd, end.position)
        fresh = os.open(self.path(end.offset), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            sync_folder(self.folder)
        except OSError:
            os.close(fresh)
            raise
        os.close(self._fd)
        self._fd = fresh
        with self._shape:
            self.bases = (*self.bases, end.offset)
        self.end = _End(end.offset, 0)
        return self.end

    def _recover(self) -> _End:
        size = os.fstat(self._fd).st_size
        end = _End(self.bases[-1], 0)
        while end.position < size:
            frame = _header(os.pread(self._fd, _HEADER_SIZE, end.position))
            if frame is None or frame.offset != end.offset or _body(self._fd, frame, end.position) is None:
                self._cut(end)
                break
            end = _End(frame.next_offset, end.position + frame.size)
        os.fsync(self._fd)  # a killed process may leave whole frames that only the page cache holds
        return end

    def _cut(self, end: _End) -> None:
        """Cuts a torn last frame; a whole frame behind the damage proves that it is no torn tail but corruption."""
        rest = os.pread(self._fd, os.fstat(self._fd).st_size - end.position, end.position)
        found = rest.find(_MAGIC, 1)
        while found >= 0:
            frame = _header(rest[found : found + _HEADER_SIZE])
            if frame is not None and _body(self._fd, frame, end.position + found) is not None:
                raise damaged(self.path(self.bases[-1]), end.position)
            found = rest.find(_MAGIC, found + 1)
        os.ftruncate(self._fd, end.position)


def _write(fd: int, frame: bytes, position: int) -> None:
    written = os.pwrite(fd, frame, position)
    while written < len(frame):
        written += os.pwrite(fd, frame[written:], position + written)


def damaged(path: Path, position: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: the log is damaged at byte {position}. Restore the data folder from a backup; "
        "or, giving up what lies in this file from there on, move the file and all later ones of its folder away"
    )


class Cursor:
    """A place in a partition from which one reader reads on."""

    def __init__(self, partition: Partition, offset: int) -> None:
        """Starts at `offset`, which must lie between the log's beginning and its end."""
        self._partition = partition
        self._fd = -1
        self._base = -1
        self._position = 0  # of the next frame in its segment
        self._ahead = 0  # the offset of the next frame
        self._rest: deque[Record] = deque()  # of the frame before it, not yet handed out
        self._marks: deque[tuple[int, int, int]] = deque(maxlen=1024)  # (offset, base, position) of frames read lately
        self.seek(offset)

    @property
    def offset(self) -> int:
        """Of the next record to be handed out."""
        return self._ahead - len(self._rest)

    def seek(self, offset: int) -> None:
        """Goes on from `offset`; a place it read from lately is found at once, others by walking their segment's headers."""
        base = self._partition.segment_of(offset)
        marks = [mark for mark in self._marks if mark[0] <= offset and mark[1] == base]
        self._rest.clear()
        self._ahead, _, position = max(marks, default=(base, base, 0))
        self._open(base, position)
        while self._ahead < offset:
            frame = self._peek()
            if frame.next_offset > offset:
                self._take(frame)
                for _ in range(offset - frame.offset):
                    self._rest.popleft()
                return
            self._pass(frame)

    def take(self) -> Record | None:
        """The next record; None when caught up."""
        if not self._rest:
            if self._ahead >= self._partition.end.offset:
                return None
            self._take(self._peek())
        return self._rest.popleft()

    def next_at(self) -> datetime | None:
        """When the log took the next record to be handed out; None when caught up."""
        if self._rest:
            return self._rest[0].at
        return self._peek().at if self._ahead < self._partition.end.offset else None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _peek(self) -> _Frame:
        base = self._partition.segment_of(self._ahead)
        if base != self._base:
            self._open(base, 0)
        frame = _header(self._bytes(_HEADER_SIZE, self._position))
        if frame is None or frame.offset != self._ahead:
            raise damaged(self._partition.path(base), self._position)
        return frame

    def _take(self, frame: _Frame) -> None:
        body = self._bytes(frame.body_size, self._position + _HEADER_SIZE)
        if crc32(body, crc32(frame.fields)) != frame.crc:
            raise damaged(self._partition.path(self._base), self._position)
        self._marks.append((self._ahead, self._base, self._position))
        at = frame.at
        self._rest.extend(Record(key, value, at) for key, value in _decode(lz4.block.decompress(body)))
        self._pass(frame)

    def _pass(self, frame: _Frame) -> None:
        self._ahead = frame.next_offset
        self._position += frame.size

    def _open(self, base: int, position: int) -> None:
        if base != self._base:
            self.close()
            self._fd = os.open(self._partition.path(base), os.O_RDONLY)
            self._base = base
        self._position = position

    def _bytes(self, size: int, position: int) -> bytes:
        try:
            return os.pread(self._fd, size, position)
        except OSError as error:
            raise Outage(f"cannot read {self._partition.path(self._base)}: {error.strerror}") from error
