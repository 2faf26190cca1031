"""Keeps what ingest refused: topic `dead-letters` into ingest's dead letters, where people find them.

A replay appends the letter to the topic again: it is read anew, and goes the way of every event if today's rules take it.
"""

from collections.abc import Sequence

from services.ingest.erasing import BEGINS, is_of_the_erased, obey
from services.ingest.segment import Rejection, read_again
from shared.erasing import Marks, newest_erasure
from shared.log import Record
from shared.wire import DEAD_LETTERS, EVENTS, decode_erasure, decode_rejected
from shared.work import Work


class Letters:
    """Handles batches of topic `dead-letters`."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    async def on_records(self, work: Work, records: Sequence[Record]) -> None:
        """Each refused event becomes a dead letter, or at last an event; a person to be forgotten is."""
        graves = await newest_erasure(work.conn, work.service) is not None
        for record in records:
            if record.value.startswith(BEGINS):
                await work.save_letters()
                await obey(work, decode_erasure(record.value), self._marks)
                graves = True
            else:
                await self._on_rejected(work, record, graves=graves)

    async def _on_rejected(self, work: Work, record: Record, *, graves: bool) -> None:
        rejected = decode_rejected(record.value)
        found = read_again(rejected)
        if not isinstance(found, Rejection):
            for key, parcel in found:
                work.publish_raw(EVENTS, key, parcel)
        elif not (graves and await is_of_the_erased(work, rejected, self._marks)):
            work.set_aside(DEAD_LETTERS, record.key, record.value, code=found.code, message=found.message)
