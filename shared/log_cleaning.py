"""Which records of the log name somebody who was erased: what the embedded log is rewritten by. Pure."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from shared.erasing import ERASED, Marks
from shared.log import Record
from shared.names import keyed_names, names_in
from shared.parcel import told_at, without
from shared.wire import ACTIVITIES, DEAD_LETTERS, EVENTS, decode_event, decode_rejected


class Cleaner:
    """Takes the erased out of records. `graves` are marks, each with the moment of its erasure.

    What we know to be a lead's goes whenever it happened; what was sent from outside, only where it happened before the erasure.
    """

    def __init__(self, marks: Marks, graves: Mapping[str, datetime]) -> None:
        self._marks = marks
        self._graves = graves

    def clean(self, topic: str, record: Record) -> Record | None:
        """What takes the record's place; None where it names nobody who was erased."""
        return without(record, lambda one: self._is_theirs(topic, one))

    def _is_theirs(self, topic: str, record: Record) -> bool:
        names = names_in(record.value) | keyed_names(record.key)
        buried = [(mark, self._graves[mark]) for mark in self._marks.of_all(names) if mark in self._graves]
        if not buried or _tells_of_it(topic, record):
            return False
        if any(mark.startswith("lead:") for mark, _ in buried):
            return True
        return topic in (EVENTS, DEAD_LETTERS) and _happened_at(topic, record) <= max(at for _, at in buried)


class _Named(Struct):
    name: str = ""


class _Glance(Struct):
    event: _Named


_glance = msgspec.json.Decoder(_Glance).decode


def _tells_of_it(topic: str, record: Record) -> bool:
    """The erasure itself names nobody, and must be read again should a service fall back to an older state."""
    if topic == DEAD_LETTERS:
        return record.value.startswith(b'{"erased":')
    try:
        return topic == ACTIVITIES and _glance(record.value).event.name == ERASED
    except msgspec.MsgspecError:
        return False


def _happened_at(topic: str, record: Record) -> datetime:
    try:
        if topic == EVENTS:
            return decode_event(record.value).at
        rejected = decode_rejected(record.value)
        return told_at(rejected.payload, rejected.received_at)
    except msgspec.MsgspecError:
        return record.at
