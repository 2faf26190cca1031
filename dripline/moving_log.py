"""Brings what nobody has read yet of a data folder's log to Kafka, and says where on Kafka each group goes on.

segment files ──from the first offset that a group has still to read──► topic ──► positions: what a group has read it does not read again
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from dripline.moving_tables import Report
from shared.errors import ConfigurationError
from shared.log import Log
from shared.parcel import is_erased
from shared.segment_cursor import Cursor
from shared.segments import Partition
from shared.wire import ACTIVITIES, DEAD_LETTERS, EVENTS, MESSAGES

READERS: Mapping[str, tuple[str, ...]] = {
    EVENTS: ("scoring",),
    ACTIVITIES: ("journeys", "mailer"),
    MESSAGES: ("mailer",),
    DEAD_LETTERS: ("ingest",),
}
"""Who reads which topic."""
_SEGMENT_BYTES = 64 << 20
_APPENDED_BYTES, _APPENDED_RECORDS = 2 << 20, 500

Places = dict[tuple[str, str, int], int]
"""The next offset on Kafka by group, topic and partition."""


def stored_positions(state: Path) -> dict[tuple[str, str], int]:
    """Where each group of the folder goes on, by group and topic."""
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as source:
        rows = source.execute("SELECT consumer_group, topic, partition, next_offset FROM shared_position").fetchall()
    return {(group, topic): offset for group, topic, _, offset in rows}


async def copy_log(folder: Path, stored: Mapping[tuple[str, str], int], log: Log, report: Report) -> tuple[dict[str, int], Places]:
    """Append what is unread, in its order; answers how many records of which topic, and where each group goes on."""
    copied: dict[str, int] = {}
    places: Places = {}
    for topic, groups in READERS.items():
        copied[topic] = await _copy(folder / topic, topic, {group: stored.get((group, topic)) for group in groups}, log, places, report)
    return copied, places


async def _copy(folder: Path, topic: str, stored: Mapping[str, int | None], log: Log, places: Places, report: Report) -> int:
    """A group begins where the record that it has to read next comes to lie: so those that have read further begin further on."""
    partition = _opened(folder)
    if partition is None:
        await _begin(topic, list(stored), log, places)
        return 0
    try:
        starts = {group: partition.bases[0] if offset is None else offset for group, offset in stored.items()}
        _refuse_outside(partition, starts)
        stops = [*sorted(set(starts.values())), partition.end.offset]
        copied = 0
        for start, stop in pairwise(stops):
            await _begin(topic, [group for group, offset in starts.items() if offset == start], log, places)
            for records, at in _chunks(partition, start, stop):
                await log.append(topic, records)
                copied += len(records)
                report(f"topic {topic}", at - stops[0], stops[-1] - stops[0])
        return copied
    finally:
        partition.close()


async def _begin(topic: str, groups: list[str], log: Log, places: Places) -> None:
    for partition, (_, end) in (await log.bounds(topic)).items():
        places |= {(group, topic, partition): end for group in groups}


def _opened(folder: Path) -> Partition | None:
    """The one partition that `run` makes of a topic; None where there is nothing yet."""
    if not folder.exists():
        return None
    if sorted(found.name for found in folder.iterdir() if found.is_dir()) != ["0"]:
        raise ConfigurationError(f"{folder}: holds other partitions than `run` makes; this log was not made by it")
    return Partition(folder / "0", _SEGMENT_BYTES)


def _refuse_outside(partition: Partition, starts: Mapping[str, int]) -> None:
    for group, offset in starts.items():
        if not partition.bases[0] <= offset <= partition.end.offset:
            raise ConfigurationError(
                f"{partition.folder}: {group} has to go on at {offset}, but the log holds {partition.bases[0]} to {partition.end.offset}. "
                "The state database and the log are not of the same moment: restore both from one backup"
            )


def _chunks(partition: Partition, start: int, stop: int) -> Iterator[tuple[list[tuple[str, bytes]], int]]:
    """What lies between two offsets, some at a time, and the offset behind it. What was erased is left out."""
    cursor = Cursor(partition, start)
    try:
        chunk: list[tuple[str, bytes]] = []
        size = 0
        while cursor.offset < stop:
            record = cursor.take()
            assert record is not None, "the log ends before its end"
            if not is_erased(record):
                chunk.append((record.key, record.value))
                size += len(record.value)
            if size >= _APPENDED_BYTES or len(chunk) >= _APPENDED_RECORDS:
                yield chunk, cursor.offset
                chunk, size = [], 0
        if chunk:
            yield chunk, cursor.offset
    finally:
        cursor.close()
