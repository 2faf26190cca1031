"""Reading a partition of the embedded log: frames in their order, from segment to segment."""

import os
from collections import deque
from datetime import datetime

from shared.errors import Outage
from shared.frames import HEADER_SIZE, Frame, header_of
from shared.log import Record
from shared.segments import Partition, damaged


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
        self._edition = -1  # of the partition, when the marks were begun: in another file they would lie
        self.seek(offset)

    @property
    def offset(self) -> int:
        """Of the next record to be handed out."""
        return self._ahead - len(self._rest)

    def seek(self, offset: int) -> None:
        """Goes on from `offset`; a place it read from lately is found at once, others by walking their segment's headers."""
        with self._partition.shape:
            self._renew()
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

    def _renew(self) -> None:
        """Forget places in files that another has taken the place of since."""
        if self._edition != self._partition.edition:
            self._edition = self._partition.edition
            self._marks.clear()
            self.close()
            self._base = -1

    def _peek(self) -> Frame:
        base = self._partition.segment_of(self._ahead)
        if base != self._base:
            self._open(base, 0)
        frame = header_of(self._bytes(HEADER_SIZE, self._position))
        if frame is None or frame.offset != self._ahead:
            raise damaged(self._partition.path(base), self._position)
        return frame

    def _take(self, frame: Frame) -> None:
        body = self._bytes(frame.body_size, self._position + HEADER_SIZE)
        if not frame.fits(body):
            raise damaged(self._partition.path(self._base), self._position)
        self._marks.append((self._ahead, self._base, self._position))
        self._rest.extend(frame.records(body))
        self._pass(frame)

    def _pass(self, frame: Frame) -> None:
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
