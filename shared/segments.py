"""One partition of the embedded log on the disk: frames of records in segment files. `EmbeddedLog` appends to it, a `Cursor` reads it.

    events/0/00000000000000000000.log      sealed: never written again, dropped whole when it is old
    events/0/00000000000000048211.log      active: the name is the offset of its first record

A commit is synced before the next is written, so only the very last frame can be torn.
"""

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shared.errors import ConfigurationError, Outage
from shared.frames import HEADER_SIZE, MAGIC, Frame, header_of, pack

UNFINISHED = ".log.new"
DAMAGED = ".damaged"
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


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
        self.shape = threading.Lock()  # guards which segments there are, and which file stands for each
        self.edition = 0  # how often a file was put in another's place
        for unfinished in folder.glob(f"*{UNFINISHED}"):
            unfinished.unlink()
        self.bases = self._found() or (0,)
        self._fd = os.open(self.path(self.bases[-1]), os.O_RDWR | os.O_CREAT, 0o640)
        sync_folder(folder)
        self.end = self._recover()
        self._weighed: tuple[tuple[int, ...], int] = ((), 0)  # sealed segments, and the bytes of them

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
            frame = pack(end.offset, at, records)
            _write(self._fd, frame, end.position)
            _sync(self._fd)
        except OSError as error:
            with suppress(OSError):  # what stays is overwritten by the next frame, or cut off as torn
                os.ftruncate(self._fd, end.position)
            raise Outage(f"cannot write {self.path(self.bases[-1])}: {error.strerror}") from error
        self.end = _End(end.offset + len(records), end.position + len(frame))

    def seal(self) -> None:
        """Begin a new segment, so that everything written so far lies in sealed ones. By the thread that appends; raises Outage."""
        if self.end.position == 0:
            return
        try:
            self._roll()
        except OSError as error:
            raise Outage(f"cannot begin a segment in {self.folder}: {error.strerror}") from error

    def put_in_place(self, draft: Path, base: int) -> None:
        """Let a draft take the place of a sealed segment, whole or not at all; nothing where that was dropped meanwhile."""
        with self.shape:
            if base in self.bases[:-1]:
                os.rename(draft, self.path(base))
                self.edition += 1
        sync_folder(self.folder)

    def drop(self, moment: datetime, floor: int) -> int:
        """Deletes the sealed segments whose every record is older than `moment` and below offset `floor`; says how many."""
        with self.shape:
            old = 0
            for successor in self.bases[1:]:
                if successor > floor or not self._begins_before(successor, moment):
                    break
                old += 1
            gone, self.bases = self.bases[:old], self.bases[old:]
        for base in gone:
            self.path(base).unlink()
        return old

    def drop_below(self, offset: int) -> None:
        """Deletes the sealed segments whose every record lies below `offset`."""
        with self.shape:
            old = bisect_right(self.bases, offset) - 1
            gone, self.bases = self.bases[:old], self.bases[old:]
        for base in gone:
            self.path(base).unlink(missing_ok=True)
        if gone:
            sync_folder(self.folder)  # none may come back behind a gap

    def give_up(self, base: int) -> tuple[Path, int]:
        """Put a damaged sealed segment out of the way, for people to look at; answers where, and the offset to go on at."""
        aside = self.path(base).with_suffix(DAMAGED)
        with self.shape:
            following = self.bases[self.bases.index(base) + 1]
            os.rename(self.path(base), aside)
            self.bases = tuple(other for other in self.bases if other != base)
        sync_folder(self.folder)
        return aside, following

    def size(self) -> int:
        """Bytes on the disk."""
        bases = self.bases
        if bases is not self._weighed[0]:
            self._weighed = (bases, sum(_size_of(self.path(base)) for base in bases[:-1]))
        return self._weighed[1] + self.end.position

    def close(self) -> None:
        os.close(self._fd)

    def _begins_before(self, base: int, moment: datetime) -> bool:
        with self.path(base).open("rb") as segment:
            first = header_of(segment.read(HEADER_SIZE))
        return first is not None and base < self.end.offset and first.at <= moment

    def _roll(self) -> _End:
        end = self.end
        os.ftruncate(self._fd, end.position)
        os.fsync(self._fd)  # what a failed append left must not come back in a file that is never looked over again
        fresh = os.open(self.path(end.offset), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            sync_folder(self.folder)
        except OSError:
            os.close(fresh)
            with suppress(OSError):  # what stays is passed over when the log is opened
                self.path(end.offset).unlink()
            raise
        sealed, self._fd = self._fd, fresh
        with self.shape:
            self.bases = (*self.bases, end.offset)
        self.end = _End(end.offset, 0)
        with suppress(OSError):  # it is on the disk already
            os.close(sealed)
        return self.end

    def _found(self) -> tuple[int, ...]:
        """The bases of the segments there are; removes the empty ones that were begun in vain, while their predecessor was written on."""
        bases: list[int] = []
        for base in sorted(int(path.stem) for path in self.folder.glob("*.log")):
            if bases and self.path(base).stat().st_size == 0 and _goes_beyond(self.path(bases[-1]), bases[-1], base):
                self.path(base).unlink()
            else:
                bases.append(base)
        return tuple(bases)

    def _recover(self) -> _End:
        size = os.fstat(self._fd).st_size
        end = _End(self.bases[-1], 0)
        while end.position < size:
            frame = header_of(os.pread(self._fd, HEADER_SIZE, end.position))
            if frame is None or frame.offset != end.offset or not self._holds(frame, end.position):
                self._cut(end)
                break
            end = _End(frame.next_offset, end.position + frame.size)
        os.fsync(self._fd)  # a killed process may leave whole frames that only the page cache holds
        return end

    def _holds(self, frame: Frame, position: int) -> bool:
        return frame.fits(os.pread(self._fd, frame.body_size, position + HEADER_SIZE))

    def _cut(self, end: _End) -> None:
        """Cuts a torn last frame; a whole frame behind the damage proves that it is no torn tail but corruption."""
        rest = os.pread(self._fd, os.fstat(self._fd).st_size - end.position, end.position)
        found = rest.find(MAGIC, 1)
        while found >= 0:
            frame = header_of(rest[found : found + HEADER_SIZE])
            if frame is not None and self._holds(frame, end.position + found):
                raise damaged(self.path(self.bases[-1]), end.position)
            found = rest.find(MAGIC, found + 1)
        os.ftruncate(self._fd, end.position)


def _write(fd: int, frame: bytes, position: int) -> None:
    written = os.pwrite(fd, frame, position)
    while written < len(frame):
        written += os.pwrite(fd, frame[written:], position + written)


def _goes_beyond(path: Path, base: int, offset: int) -> bool:
    """Whether a segment holds more than what lies before `offset`; not where it breaks off earlier."""
    ahead = base
    position = 0
    with path.open("rb") as segment:
        size = os.fstat(segment.fileno()).st_size
        while ahead < offset:
            segment.seek(position)
            frame = header_of(segment.read(HEADER_SIZE))
            if frame is None or frame.offset != ahead or position + frame.size > size:
                return False
            ahead = frame.next_offset
            position += frame.size
    return ahead > offset or position < size


def headers(path: Path) -> Iterator[Frame]:
    """What the headers of a segment say, up to its end or the first that is torn; only looks, and may while it is written."""
    with path.open("rb") as segment:
        size = os.fstat(segment.fileno()).st_size
        position = 0
        while (frame := header_of(segment.read(HEADER_SIZE))) is not None and position + frame.size <= size:
            yield frame
            position += frame.size
            segment.seek(position)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # dropped just now
        return 0


def damaged(path: Path, position: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: the log is damaged at byte {position}. Restore the data folder from a backup; "
        "or, giving up what lies in this file from there on, move the file and all later ones of its folder away"
    )
