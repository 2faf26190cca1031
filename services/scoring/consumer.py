"""Topic `events`, a batch at a time: decode → whose are they → fold in memory → save, record, publish.

An event is folded once: its recorded id is what makes a repeat harmless. One that can belong to no lead is set aside alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.scoring.erasing import admitted
from services.scoring.identity import Names, names_of
from services.scoring.leads import Roster
from services.scoring.rulebook import Rulebook
from services.scoring.store import fetch, recorded, save
from shared.erasing import Marks
from shared.errors import InvalidMessage
from shared.log import Record
from shared.wire import EVENTS, Event, decode_event, encode
from shared.work import Work


class Arrived(NamedTuple):
    """An event of the batch with its ids; None where it says itself which lead it belongs to."""

    event: Event
    names: Names | None
    record: Record


class Scoring:
    """Handles batches of topic `events`."""

    def __init__(self, rulebook: Rulebook, marks: Marks) -> None:
        self._rulebook = rulebook
        self._marks = marks

    async def on_events(self, work: Work, records: Sequence[Record]) -> None:
        """Fold the batch's new events, in their order."""
        definitions = await self._rulebook.newest()
        batch = _arrived(work, records)
        known = await recorded(work.conn, batch)
        fresh = [arrived for id, arrived in batch.items() if id not in known]
        roster = Roster(definitions, work.now)
        identities = {identity for arrived in fresh if arrived.names for identity in arrived.names.identities}
        await fetch(work.conn, roster, identities, {arrived.event.lead_id for arrived in fresh if arrived.event.lead_id is not None})
        for arrived in await admitted(work, self._marks, roster, fresh):
            _take(work, roster, arrived)
        await save(work, roster)


def _arrived(work: Work, records: Sequence[Record]) -> dict[str, Arrived]:
    """The events by their id, of a repeat the first. What is no event, or nobody's, is set aside."""
    batch: dict[str, Arrived] = {}
    for record in records:
        try:
            event = decode_event(record.value)
            names = None if event.lead_id is not None else names_of(event)
        except msgspec.DecodeError as error:
            work.set_aside(EVENTS, record.key, record.value, code="not_an_event", message=str(error))
        except InvalidMessage as invalid:
            work.set_aside(EVENTS, record.key, record.value, code=invalid.code, message=str(invalid))
        else:
            batch.setdefault(event.id, Arrived(event, names, record))
    return batch


def _take(work: Work, roster: Roster, arrived: Arrived) -> None:
    event, names, record = arrived
    try:
        refused = roster.take(event, names, record.value)
    except InvalidMessage as invalid:
        work.set_aside(EVENTS, record.key, record.value, code=invalid.code, message=str(invalid))
        return
    for refusal in refused:
        work.set_aside(EVENTS, record.key, encode(refusal.event), code=refusal.code, message=refusal.message)
