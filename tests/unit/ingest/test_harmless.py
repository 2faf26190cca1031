"""Whatever is posted, the answer is one of ours, and what was taken can be read by everybody behind us."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.segment import Call, read, sift
from shared.errors import InvalidMessage
from shared.log import Record
from shared.parcel import unpack
from shared.wire import decode_event, decode_rejected, encode
from tests.ingest_house import NOON, Ingest

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
names = st.sampled_from(
    ["type", "event", "userId", "anonymousId", "messageId", "previousId", "groupId", "timestamp", "originalTimestamp", "sentAt"]
) | st.sampled_from(["name", "category", "properties", "traits", "context", "integrations", "writeKey", "batch"])
kinds = st.sampled_from(["track", "identify", "page", "screen", "group", "alias", "", None, "x"])
items = st.dictionaries(names, values, max_size=8).flatmap(
    lambda item: kinds.map(lambda kind: {"type": kind, "userId": "u", "event": "E"} | item if kind else item)
)
bodies = st.fixed_dictionaries({"batch": st.lists(items | values, max_size=4)}, optional={"sentAt": values, "context": values, "x": values})


def _spoilt(text: bytes, cuts: list[tuple[int, bytes]]) -> bytes:
    for at, piece in cuts:
        place = at % (len(text) + 1)
        text = text[:place] + piece + text[place + 1 :]
    return text


splinters = st.sampled_from(
    [
        b"",
        b"\\",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\xff",
        b"\xc3",
        b"\0",
        b"\\u0000",
        b"\\ud800",
        b"1e999",
        b"NaN",
        b"-",
        b"0",
        b".",
    ]
)
spoilt = st.builds(
    _spoilt,
    (bodies | items).map(lambda value: json.dumps(value).encode()),
    st.lists(st.tuples(st.integers(0, 5000), splinters), max_size=4),
)
anything = st.binary(max_size=200) | spoilt


def taken(body: bytes, *, is_batch: bool) -> None:
    """Reads and sifts as the API does; everything accepted must come out as events, everything refused as dead letters."""
    try:
        envelope = read(body, is_batch=is_batch)
    except InvalidMessage:
        return
    sifted = sift(envelope, Call("" if is_batch else "track", "pk_1", False, False, NOON))
    records = [record for key, value in sifted.parcels for record in unpack(Record(key, value, NOON))]
    events = [decode_event(record.value) for record in records]
    assert len(events) == sifted.accepted
    assert len(events) + len(sifted.rejected) == len(envelope.texts)
    assert all(event.at <= NOON and (event.user_id or event.anonymous_id) for event in events)
    assert all("\0" not in record.value.decode() and b"\\u0000" not in record.value for record in records)
    assert all(decode_rejected(encode(rejected)) == rejected for _, rejected in sifted.rejected)


@given(anything)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_events_or_dead_letters_or_refused_as_a_whole(body: bytes) -> None:
    taken(body, is_batch=True)
    taken(body, is_batch=False)


@given(bodies)
@settings(max_examples=300, deadline=None)
def test_any_batch_is_read_whole(body: Any) -> None:
    taken(json.dumps(body).encode(), is_batch=True)


paths = st.sampled_from(["/v1/track", "/v1/identify", "/v1/page", "/v1/group", "/v1/alias", "/v1/batch", "/v1/import", "/v1/screen/"])
headers = st.dictionaries(
    st.sampled_from(["authorization", "content-encoding", "content-type", "x-retry-count"]),
    st.text(st.characters(max_codepoint=255), max_size=20) | st.sampled_from(["gzip", "Basic cGtfdGVzdDo=", "Basic é", "1"]),
    max_size=4,
)


@given(paths, anything, headers)
@settings(max_examples=200, deadline=None)
async def test_no_request_is_answered_with_a_failure_of_ours(path: str, body: bytes, given_headers: dict[str, str]) -> None:
    ingest = Ingest()
    answer = await ingest.post(path, body, headers={"authorization": "Basic cGtfdGVzdDo="} | given_headers)
    assert answer.status in (200, 400, 401)
    assert answer.headers["content-type"] == "application/json"
    assert answer.status != 200 or answer.json["success"] is True
