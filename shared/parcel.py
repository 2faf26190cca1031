"""The events of one request, kept together as they came: what ingest puts on topic `events`, and every log hands out as single events.

request ──ingest checks it──► Parcel, one entry of the log ──unpack, where it is read──► one record an event

Keeping a request whole spares ingest, and the log's writer, the work of taking every event apart before it answers (docs/adr/0003).
A parcel holds only events that ingest has accepted, so unpacking refuses nothing, and gives the same events however often it is done.
Should one be beyond reading all the same, it spoils no other: it comes out as a parcel of its own, which its reader sets aside.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct

from shared import loose
from shared.log import Record
from shared.wire import VERSION, Event, EventType, encode, replace

TYPES: Mapping[Any, EventType] = {name: name for name in get_args(EventType)}
VIEWED: Mapping[str, str] = {"page": "Page Viewed", "screen": "Screen Viewed"}

ERASED = "erased"
"""The type of an event that was taken out of its parcel."""
_ERASED_ITEM = b'{"type":"erased"}'  # in its parcel's list, or as a record that held nothing else

Scalar = str | int | float | bool | None


class Parcel(Struct, frozen=True, kw_only=True):
    """Accepted events of one request, as the client wrote them (see Item)."""

    parcel: int = 1  # the version of this shape, and what tells a parcel from an event: it comes first
    id: str = ""  # names the events that came without a `messageId`; empty where there are none
    type: str  # what the path said of its one event; empty for a batch, where each says its own
    source: str
    trusted: bool
    historical: bool
    received_at: datetime
    sent_at: Any = None
    context: Mapping[str, Any] = {}
    items: Raw  # a list of Item


class Item(Struct, rename="camel", gc=False):
    """One event as a client writes it; keys not named here are ignored."""

    type: Scalar = None
    message_id: Scalar = None
    user_id: Scalar = None
    anonymous_id: Scalar = None
    previous_id: Scalar = None
    group_id: Scalar = None
    event: Scalar = None
    name: Scalar = None
    category: Scalar = None
    timestamp: Any = None
    original_timestamp: Any = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


_decode_parcel = msgspec.json.Decoder(Parcel).decode
_decode_items = msgspec.json.Decoder(list[Item]).decode
_decode_item = msgspec.json.Decoder(Item).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode


def unpack(record: Record) -> Sequence[Record]:
    """The single events of a parcel, each as a record of its own; any other record as it is. What was erased is nothing."""
    if record.value == _ERASED_ITEM:
        return ()
    if not record.value.startswith(b'{"parcel":'):
        return (record,)
    try:
        parcel = _decode_parcel(record.value)
    except (msgspec.MsgspecError, RecursionError):  # no parcel of ours: whoever reads it sets it aside
        return (record,)
    if parcel.parcel > VERSION:
        return (record,)
    try:
        items = _decode_items(parcel.items)
        shift = _shift(parcel)
        return [_record(_event(item, parcel, index, shift), record.at) for index, item in enumerate(items) if item.type != ERASED]
    except Exception:  # noqa: BLE001 - a number that no float holds, or a fault of ours: its neighbours have no part in it
        return _one_by_one(parcel, record)


def _one_by_one(parcel: Parcel, record: Record) -> Sequence[Record]:
    try:
        texts = _decode_raws(parcel.items)
    except (msgspec.MsgspecError, RecursionError):
        return (record,)
    return [_loosely(parcel, record, index, bytes(text), len(texts)) for index, text in enumerate(texts) if bytes(text) != _ERASED_ITEM]


def is_erased(record: Record) -> bool:
    """Whether nothing is left of the record but its place."""
    return record.value == _ERASED_ITEM


def without(record: Record, is_theirs: Callable[[Record], bool]) -> Record | None:
    """The record without the events that are somebody's; None where none of them is.

    Their places in a parcel stay, empty, so that the events behind them keep their ids.
    """
    found = unpack(record)
    theirs = [is_theirs(event) for event in found]
    if not any(theirs):
        return None
    if all(theirs):
        return Record("", _ERASED_ITEM, record.at)
    parcel = _decode_parcel(record.value)
    gone = iter(theirs)
    texts = [bytes(text) for text in _decode_raws(parcel.items)]
    kept = [_ERASED_ITEM if text == _ERASED_ITEM or next(gone) else text for text in texts]
    return Record("", encode(replace(parcel, items=Raw(b"[%b]" % b",".join(kept)))), record.at)


def _loosely(parcel: Parcel, record: Record, index: int, text: bytes, of: int) -> Record:
    """The event as harmless JSON; what cannot be read stays a parcel, of one, so that a replay tries it again."""
    try:
        item = _decode_item(encode(loose.parse(text)))
        return _record(_event(item, parcel, index, _shift(parcel)), record.at)
    except Exception:  # noqa: BLE001 - whatever is wrong with it is wrong with it alone
        if of == 1:
            return record
        alone = replace(parcel, id=f"{parcel.id}.{index}", items=Raw(b"[%b]" % text))
        return Record(record.key, encode(alone), record.at)


def _record(event: Event, at: datetime) -> Record:
    return Record(event.anonymous_id or event.user_id or "", encode(event), at)


def _shift(parcel: Parcel) -> timedelta:
    """How far the client's clock is behind ours."""
    sent_at = None if parcel.historical else moment_of(parcel.sent_at)
    return timedelta() if sent_at is None else parcel.received_at - sent_at


def text_of(value: Scalar) -> str | None:
    """An identifier as text: numbers as JavaScript writes them, nothing for what is empty."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)


def moment_of(value: Any) -> datetime | None:
    """An ISO 8601 moment in UTC; one without a zone is UTC already. None where it is no such thing."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class _Dated(Struct, rename="camel"):
    timestamp: Any = None
    original_timestamp: Any = None


_decode_dated = msgspec.json.Decoder(_Dated).decode


def told_at(text: str | bytes, received_at: datetime) -> datetime:
    """When an event happened, as far as its own JSON says so; never after its arrival."""
    try:
        told = _decode_dated(text)
    except (msgspec.MsgspecError, RecursionError):
        return received_at
    moment = moment_of(told.timestamp if told.original_timestamp is None else told.original_timestamp)
    return received_at if moment is None else min(moment, received_at)


def _event(item: Item, parcel: Parcel, index: int, shift: timedelta) -> Event:
    kind = TYPES[parcel.type or item.type]
    message_id = text_of(item.message_id) or f"{parcel.id}.{index}"
    tracked = text_of(item.event) if kind == "track" else None
    return Event(
        id=blake2b(f"{parcel.source}\0{message_id}".encode(), digest_size=16).hexdigest(),
        type=kind,
        name=VIEWED.get(kind) or tracked or "",
        at=_happened_at(item, parcel, shift),
        received_at=parcel.received_at,
        source=parcel.source,
        message_id=message_id,
        user_id=text_of(item.user_id),
        anonymous_id=text_of(item.anonymous_id),
        previous_id=text_of(item.previous_id),
        group_id=text_of(item.group_id),
        trusted=parcel.trusted,
        historical=parcel.historical,
        properties=_viewed(item) if kind in VIEWED else item.properties or {},
        traits=(item.traits or {}) if kind in ("identify", "group") else {},
        context={**parcel.context, **(item.context or {})},
    )


def _viewed(item: Item) -> dict[str, Any]:
    """A page's or screen's properties, with the name and category that stand beside them."""
    beside = {"name": text_of(item.name), "category": text_of(item.category)}
    return {key: value for key, value in beside.items() if value is not None} | (item.properties or {})


def _happened_at(item: Item, parcel: Parcel, shift: timedelta) -> datetime:
    """Segment's rule, receivedAt - (sentAt - originalTimestamp); on arrival where that is unknown, unreadable or later."""
    moment = moment_of(item.timestamp if item.original_timestamp is None else item.original_timestamp)
    if moment is None:
        return parcel.received_at
    try:
        return min(moment + shift, parcel.received_at)
    except OverflowError:
        return parcel.received_at
