"""Topic `events`, a batch at a time: decode → whose are they → fold in memory → save, record, publish.

An event is folded once: its recorded id is what makes a repeat harmless. One that can belong to no lead is set aside alone.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from services.scoring.leads import Roster
from services.scoring.profile import LARGEST_TRAITS, MOST_TRAITS
from services.scoring.rulebook import Rulebook
from services.scoring.store import fetch, recorded, save
from shared.errors import InvalidMessage
from shared.log import Record
from shared.wire import EVENTS, Event, decode_event, encode, replace
from shared.work import Work


class Scoring:
    """Handles batches of topic `events`."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook

    async def on_events(self, work: Work, records: Sequence[Record]) -> None:
        """Fold the batch's new events, in their order."""
        definitions = await self._rulebook.newest()
        fresh = await _unrecorded(work, _decoded(work, records))
        roster = await fetch(work.conn, [event for event, _ in fresh.values()], definitions, work.now)
        for event, record in fresh.values():
            _take(work, roster, event, record)
        await save(work, roster)


def _decoded(work: Work, records: Sequence[Record]) -> dict[str, tuple[Event, Record]]:
    """The events by id; of a repeat within the batch the first. What is no event is set aside."""
    events: dict[str, tuple[Event, Record]] = {}
    for record in records:
        try:
            event = decode_event(record.value)
        except msgspec.DecodeError as error:
            work.set_aside(EVENTS, record.key, record.value, code="not_an_event", message=str(error))
        else:
            events.setdefault(event.id, (event, record))
    return events


async def _unrecorded(work: Work, events: dict[str, tuple[Event, Record]]) -> dict[str, tuple[Event, Record]]:
    known = await recorded(work.conn, events)
    return {id: found for id, found in events.items() if id not in known} if known else events


def _take(work: Work, roster: Roster, event: Event, record: Record) -> None:
    try:
        refused = roster.take(event, record.value)
    except InvalidMessage as invalid:
        work.set_aside(EVENTS, record.key, record.value, code=invalid.code, message=str(invalid))
        return
    if refused:
        _set_aside_traits(work, event, record.key, refused)


def _set_aside_traits(work: Work, event: Event, key: str, refused: dict[str, Any]) -> None:
    """Keep traits that found no place as an event of their own, so that a replay applies them once there is room."""
    rest = replace(event, id=hashlib.blake2b(f"{event.id}.traits".encode(), digest_size=16).hexdigest(), traits=refused)
    message = f"a lead holds at most {MOST_TRAITS} traits of {LARGEST_TRAITS} bytes; no place for {', '.join(sorted(refused)[:20])}"
    work.set_aside(EVENTS, key, encode(rest), code="trait_limit", message=message)
