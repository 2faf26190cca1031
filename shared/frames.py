"""The smallest unit of the embedded log's files: a frame is one commit of one partition.

header: magic, length of the body, first offset, count, when in microseconds, CRC-32 of all that and the body
body:   lz4 of msgpack [[key, value]…]
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zlib import crc32

import lz4.block  # type: ignore[import-untyped]  # it ships no stubs
import msgspec

from shared.log import Record

MAGIC = b"DLF1"
_FIELDS = struct.Struct("<4sIQIq")
HEADER_SIZE = _FIELDS.size + 4
_LARGEST_BODY = 256 << 20  # far beyond what the log writes: a header that says more is damaged
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame's header says."""

    offset: int
    count: int
    micros: int
    body_size: int
    crc: int
    fields: bytes

    @property
    def at(self) -> datetime:
        """When the log took its records."""
        return _EPOCH + self.micros * _MICROSECOND

    @property
    def size(self) -> int:
        return HEADER_SIZE + self.body_size

    @property
    def next_offset(self) -> int:
        return self.offset + self.count

    def fits(self, body: bytes) -> bool:
        """Whether this is the body that the header was written with."""
        return crc32(body, crc32(self.fields)) == self.crc

    def records(self, body: bytes) -> Iterator[Record]:
        """The records in a body that fits."""
        at = self.at
        return (Record(key, value, at) for key, value in _decode(lz4.block.decompress(body)))


def pack(offset: int, at: datetime, records: Sequence[tuple[str, bytes]]) -> bytes:
    """A whole frame."""
    body = lz4.block.compress(_encode(records))
    fields = _FIELDS.pack(MAGIC, len(body), offset, len(records), (at - _EPOCH) // _MICROSECOND)
    return b"".join((fields, crc32(body, crc32(fields)).to_bytes(4, "little"), body))


def header_of(data: bytes) -> Frame | None:
    """The header that the bytes begin with; None where there is none."""
    if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
        return None
    fields = data[: _FIELDS.size]
    _, size, offset, count, micros = _FIELDS.unpack(fields)
    if size > _LARGEST_BODY:
        return None
    return Frame(offset, count, micros, size, int.from_bytes(data[_FIELDS.size : HEADER_SIZE], "little"), fields)
