"""Keeps what ingest refused: topic `dead-letters` into ingest's dead letters, where people find them.

A replay appends the letter to the topic again: it is read anew, and goes the way of every event if today's rules take it.
"""

from collections.abc import Sequence

from services.ingest.segment import Rejection, read_again
from shared.log import Record
from shared.wire import DEAD_LETTERS, EVENTS, decode_rejected
from shared.work import Work


async def on_rejected(work: Work, records: Sequence[Record]) -> None:
    """Each refused event becomes a dead letter, or at last an event."""
    for record in records:
        found = read_again(decode_rejected(record.value))
        if isinstance(found, Rejection):
            work.set_aside(DEAD_LETTERS, record.key, record.value, code=found.code, message=found.message)
        else:
            for key, parcel in found:
                work.publish_raw(EVENTS, key, parcel)
