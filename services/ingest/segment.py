"""What a client sent, judged event by event: the pure core of ingest.

body ──read──► Envelope: its items as they came ──sift──► parcels for the log, and rejections with their reasons

It looks at every event without taking it apart; making our Event of it is left to whoever reads the parcel (`shared.parcel`).
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import islice
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from shared import loose
from shared.errors import InvalidMessage
from shared.nesting import DEEPEST, too_deep
from shared.parcel import TYPES, Parcel, Scalar, moment_of, text_of
from shared.wire import OURS, Rejected, encode

LARGEST_EVENT = 32 * 1024
"""Bytes of one event as compact JSON."""
LARGEST_PARCEL = 512 * 1024
"""Bytes of the events in one parcel, so that any log takes it: Kafka's own limit is 1 MiB."""
MOST_EVENTS = 2500
LARGEST_SPREAD = 4 << 20
"""Bytes of a batch's context, once for each of its events: every reader of the event has it in full."""
LONGEST_MOMENT = 64
_WRITE_KEY = re.compile(rb'"writeKey"[ \t\r\n]*+:[ \t\r\n]*+"([!-~]{1,255}?)"')
_MOST_KEYS = 10

Id = Annotated[str, Meta(max_length=255)] | int | float | bool | None
_EMPTY = (None, "")
_ODD_NAMES = OURS | {""}


class _Object(Struct, gc=False):
    """A JSON object whose content is not looked at."""


class Glance(Struct, rename="camel", gc=False):
    """What has to be right about an event, whatever else it holds; and what a call that is one event says beside it."""

    type: Scalar = None
    message_id: Id = None
    user_id: Id = None
    anonymous_id: Id = None
    previous_id: Id = None
    group_id: Id = None
    event: Scalar = None
    name: Scalar = None
    category: Scalar = None
    timestamp: Any = None
    original_timestamp: Any = None
    properties: _Object | None = None
    traits: _Object | None = None
    context: _Object | None = None
    sent_at: Any = None
    write_key: Any = None


class _Batch(Struct, rename="camel", gc=False):
    batch: list[Glance]
    sent_at: Any = None
    write_key: Any = None
    context: Any = None


class _Texts(Struct, gc=False):
    batch: list[Raw]


class _Parts(Struct, gc=False):
    traits: Raw = Raw(b"")
    properties: Raw = Raw(b"")
    context: Raw = Raw(b"")


class _Addressed(Struct, gc=False):
    email: Any = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an event is set aside: a short stable code, and a text for people."""

    code: str
    message: str


@dataclass(slots=True)
class Envelope:
    """A request that could be read: its events, as text and as seen at a glance, and what it says once for all of them."""

    texts: list[bytes]
    glances: list[Glance | Rejection]
    sent_at: Any
    write_key: Any
    context: Mapping[str, Any]


@dataclass(slots=True)
class Call:
    """Who sent a request, when we got it, and what its path says about its events."""

    type: str  # empty for a batch: each event says its own
    source: str
    trusted: bool
    historical: bool
    received_at: datetime
    id: str = ""  # names events without a `messageId` where the same request may be read again; else each reading names them anew


@dataclass(slots=True)
class Sifted:
    """What becomes of a request. `undated` counts the events whose timestamp could not be read: they happened on arrival."""

    parcels: Sequence[tuple[str, bytes]]
    accepted: int
    rejected: Sequence[tuple[int, Rejected]]
    undated: int


_decode_glance = msgspec.json.Decoder(Glance).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_texts = msgspec.json.Decoder(_Texts).decode
_decode_parts = msgspec.json.Decoder(_Parts).decode
_decode_addressed = msgspec.json.Decoder(_Addressed).decode


def keys_in(body: bytes) -> frozenset[str]:
    """What may be the body's `writeKey`, told without taking it apart: for a text of megabytes that costs milliseconds."""
    return frozenset(found[1].decode("ascii", "replace") for found in islice(_WRITE_KEY.finditer(body), _MOST_KEYS))


def read(body: bytes, *, is_batch: bool) -> Envelope:
    """The events of a body. Raises InvalidMessage where the body as a whole is none of ours."""
    envelope = _strictly(body, is_batch=is_batch) or _loosely(body, is_batch=is_batch)
    if envelope.context:
        _check_context(encode(envelope.context), len(envelope.texts))
    for index in too_deep(envelope.texts):
        envelope.glances[index] = Rejection("too_deep", f"an event nested more than {DEEPEST} levels deep")
    return envelope


def _check_count(events: int) -> None:
    """Asked before anything is done for each event: a small request may unfold into millions of empty ones."""
    if events > MOST_EVENTS:
        raise InvalidMessage("too_many_events", f"a batch of {events} events; send at most {MOST_EVENTS} at once")


def _check_context(context: bytes, events: int) -> None:
    if len(context) > LARGEST_EVENT:
        raise InvalidMessage("too_large", f"the batch's context is larger than {LARGEST_EVENT} bytes")
    if len(context) * events > LARGEST_SPREAD:
        advice = f"send at most {LARGEST_SPREAD // len(context)} at once, or a smaller context"
        raise InvalidMessage("too_large", f"a context of {len(context)} bytes for each of {events} events; {advice}")
    if too_deep([context], DEEPEST - 1):  # it stands inside of each event
        raise InvalidMessage("too_deep", f"the batch's context is nested more than {DEEPEST - 1} levels deep")


def addresses_in(envelope: Envelope) -> frozenset[str]:
    """The email addresses that the events name, wherever an address of a lead may stand: in traits, properties, the context's traits."""
    found = {_address(_part(encode(envelope.context), "traits"))} if envelope.context else set()
    for text in envelope.texts:
        if b"mail" in text or b"\\u" in text:  # nearly none
            context = _part(text, "context")
            found |= {_address(_part(text, "traits")), _address(_part(text, "properties")), _address(_part(context, "traits"))}
    return frozenset(found - {""})


def _part(text: bytes, name: str) -> bytes:
    """The text of an object's part; empty where there is none."""
    try:
        return bytes(getattr(_decode_parts(text), name))
    except msgspec.MsgspecError:
        return b""


def _address(text: bytes) -> str:
    try:
        found = _decode_addressed(text).email
    except (msgspec.MsgspecError, RecursionError):
        return ""
    return found.strip().lower() if isinstance(found, str) and "@" in found else ""


def sift(envelope: Envelope, call: Call) -> Sifted:
    """Parts the events that can be taken from those that cannot: one bad event spoils no other."""
    refusals = [_refuse(text, glance, call.type) for text, glance in zip(envelope.texts, envelope.glances, strict=True)]
    texts, seen = _taken(envelope, refusals)
    if call.trusted and any(glance.write_key is not None for glance in seen):
        texts = [*map(_without_key, texts)]
    parcels = [_parcel(part, seen, envelope, call) for part in _parts(texts)]
    rejected = [(index, _rejected(refusal, envelope.texts[index], call)) for index, refusal in enumerate(refusals) if refusal is not None]
    return Sifted(parcels, len(texts), rejected, _count_undated(seen))


def _taken(envelope: Envelope, refusals: Sequence[Rejection | None]) -> tuple[Sequence[bytes], Sequence[Glance]]:
    """What is not refused: nearly always all of it."""
    if not any(refusals):
        return envelope.texts, envelope.glances  # type: ignore[return-value]  # a rejection is always refused
    kept = [index for index, refusal in enumerate(refusals) if refusal is None]
    return [envelope.texts[index] for index in kept], [envelope.glances[index] for index in kept]  # type: ignore[misc]


def read_again(rejected: Rejected) -> Sequence[tuple[str, bytes]] | Rejection:
    """A rejected event under today's rules: its parcel, or why not."""
    call = Call(rejected.type, rejected.source, rejected.trusted, rejected.historical, rejected.received_at, rejected.id)
    try:
        sifted = sift(read(rejected.payload.encode(), is_batch=False), call)
    except InvalidMessage:
        return Rejection(rejected.code, rejected.message)
    return sifted.parcels or Rejection(sifted.rejected[0][1].code, sifted.rejected[0][1].message)


def unreadable(why: InvalidMessage, text: bytes, call: Call) -> Rejected:
    """A text that is none of ours, to be kept with its reason."""
    harmless = text.decode("utf-8", "replace").replace("\0", "")
    return _rejected(Rejection(why.code, str(why)), harmless.encode(), call)


def _strictly(body: bytes, *, is_batch: bool) -> Envelope | None:
    """The body by msgspec, which takes only what is right; None where it must be read loosely."""
    if b"\\" in body and b"\\u0000" in body:
        return None
    try:
        if not body.isascii():
            body.decode()
        if is_batch:
            raw = _decode_texts(body).batch
            _check_count(len(raw))
            batch = _decode_batch(body)
            texts = [*map(bytes, raw)]
            return Envelope(texts, [*batch.batch], _moment(batch.sent_at), batch.write_key, _object(batch.context))
        single = _decode_glance(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Envelope([body], [single], _moment(single.sent_at), single.write_key, {})


def _loosely(body: bytes, *, is_batch: bool) -> Envelope:
    found = loose.parse(body)
    if not isinstance(found, dict):
        raise InvalidMessage("not_an_object", "the body must be a JSON object")
    listed = found.get("batch") if is_batch else [found]
    if not isinstance(listed, list):
        raise InvalidMessage("no_batch", "a batch needs `batch`, a list of events")
    _check_count(len(listed))
    context = _object(found.get("context")) if is_batch else {}
    return Envelope([*map(encode, listed)], [*map(_glance, listed)], _moment(found.get("sentAt")), found.get("writeKey"), context)


def _glance(found: Any) -> Glance | Rejection:
    try:
        return msgspec.convert(found, Glance)
    except msgspec.ValidationError as error:
        return Rejection("invalid", str(error))


def _moment(value: Any) -> str | None:
    """What may be a moment; anything else would only swell the parcel."""
    return value if isinstance(value, str) and len(value) <= LONGEST_MOMENT else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _refuse(text: bytes, glance: Glance | Rejection, said: str) -> Rejection | None:
    """Why an event cannot be taken; None where it can."""
    if len(text) > LARGEST_EVENT and len(encode(loose.parse(text))) > LARGEST_EVENT:
        return Rejection("too_large", f"an event of more than {LARGEST_EVENT} bytes")
    if isinstance(glance, Rejection):
        return glance
    kind = said or glance.type
    if kind not in TYPES:
        return Rejection("unknown_type", f"an event's `type` is one of {', '.join(sorted(TYPES))}; not {str(kind)[:40]!r}")
    if glance.user_id in _EMPTY and glance.anonymous_id in _EMPTY:
        return Rejection("no_identity", "an event needs `userId` or `anonymousId`")
    if kind == "track":
        name = glance.event if isinstance(glance.event, str) else text_of(glance.event) or ""
        return _refuse_name(name) if name in _ODD_NAMES or name.isspace() else None
    if kind == "alias" and glance.previous_id in _EMPTY:
        return Rejection("no_previous_id", "an alias call needs `previousId`")
    if kind == "group" and glance.group_id in _EMPTY:
        return Rejection("no_group_id", "a group call needs `groupId`")
    return None


def _refuse_name(name: str) -> Rejection:
    if name in OURS:
        return Rejection("reserved_name", f"{name!r} is a name that only Dripline itself uses")
    return Rejection("no_event", "a track call needs `event`, the name of what happened")


def _parts(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    if items and sum(map(len, items)) <= LARGEST_PARCEL:
        yield items
        return
    part: list[bytes] = []
    size = 0
    for item in items:
        if part and size + len(item) > LARGEST_PARCEL:
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item)
    if part:
        yield part


def _parcel(items: Sequence[bytes], seen: Sequence[Glance], envelope: Envelope, call: Call) -> tuple[str, bytes]:
    """A parcel and its key, that of the request's first event."""
    nameless = any(glance.message_id in _EMPTY for glance in seen)
    parcel = Parcel(
        id=(call.id or uuid.uuid4().hex) if nameless else "",
        type=call.type,
        source=call.source,
        trusted=call.trusted,
        historical=call.historical,
        received_at=call.received_at,
        sent_at=envelope.sent_at,
        context=envelope.context,
        items=Raw(b"[%b]" % b",".join(items)),
    )
    return text_of(seen[0].anonymous_id) or text_of(seen[0].user_id) or "", encode(parcel)


def _count_undated(seen: Sequence[Glance]) -> int:
    said = [glance.timestamp if glance.original_timestamp is None else glance.original_timestamp for glance in seen]
    try:
        for moment in said:
            datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return sum(moment is not None and moment_of(moment) is None for moment in said)
    return 0


def _without_key(item: bytes) -> bytes:
    """The event without the key it was sent with: secret keys are written down nowhere."""
    if b"writeKey" not in item:
        return item
    try:
        found = loose.parse(item)
    except InvalidMessage:  # kept as it is only where its key is a write key
        return item
    return encode({name: value for name, value in found.items() if name != "writeKey"}) if isinstance(found, dict) else item


def _rejected(refusal: Rejection, text: bytes, call: Call) -> Rejected:
    """Its id is that of the source and the text. What is too large keeps only its beginning, and whom it is of."""
    payload = _without_key(text).decode()
    return Rejected(
        id=blake2b(f"{call.source}\0{payload}".encode(), digest_size=16).hexdigest(),
        code=refusal.code,
        message=refusal.message,
        payload=payload if len(payload) <= LARGEST_EVENT else _beginning(payload),
        source=call.source,
        received_at=call.received_at,
        type=call.type,
        trusted=call.trusted,
        historical=call.historical,
    )


_WHOSE = ("type", "event", "userId", "anonymousId", "previousId", "messageId", "timestamp", "originalTimestamp")


def _beginning(payload: str) -> str:
    """As much of an event as is kept of one too large, what says whose it is before anything else."""
    found = loose.parse(payload.encode())
    if not isinstance(found, dict):
        return payload[:LARGEST_EVENT]
    first = {name: found[name] for name in _WHOSE if name in found}
    return encode(first | found).decode()[:LARGEST_EVENT]
