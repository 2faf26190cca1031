"""Forgetting a person in what ingest refused: its letters go, and what comes late of the time before is not kept.

Scoring, which knows who it was, tells ingest over the topic that ingest reads anyway.
"""

from shared.erasing import Marks, bury, count_dropped, delete_letters, find_graves
from shared.names import names_in
from shared.parcel import told_at
from shared.wire import Erasure, Rejected
from shared.work import Work

BEGINS = b'{"erased":'
"""How the record of an erasure begins."""


async def obey(work: Work, erasure: Erasure, marks: Marks) -> None:
    """Delete the letters that name the person, and keep the grave."""
    removed = {"dead_letters": await delete_letters(work.conn, work.service, erasure, marks)}
    await bury(work.conn, work.service, erasure, removed, work.now)


async def is_of_the_erased(work: Work, rejected: Rejected, marks: Marks) -> bool:
    """Whether a refused event names somebody who was erased after it happened; then it is counted."""
    graves = await find_graves(work.conn, work.service, marks.of_all(names_in(rejected.payload)))
    at = told_at(rejected.payload, rejected.received_at)
    whose = next((grave for grave in graves.values() if at <= grave.at), None)
    if whose is not None:
        await count_dropped(work.conn, work.service, whose.lead_id, 1)
    return whose is not None
