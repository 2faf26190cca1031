"""What travels between services: a reader ignores what it does not know, and knows a version to come from one that it can read."""

from datetime import UTC, datetime

import msgspec
import pytest

from shared import wire

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
EVENT = wire.Event(id="e", type="track", name="Ebook Downloaded", at=NOW, received_at=NOW, source="pk_1", properties={"v": 7})
LEAD = wire.Lead(id="l", created_at=NOW, last_seen_at=NOW)
SEND = wire.Send(id="m", kind="email", lead_id="l", version="1", reached_at=NOW, entered_at=NOW, entry=wire.Entry(at=NOW))
REJECTED = wire.Rejected(id="r", code="c", message="m", payload="{}", source="pk_1", received_at=NOW)

RECORDS = {
    "event": (EVENT, wire.decode_event),
    "activity": (wire.Activity(sequence=1, event=EVENT, lead=LEAD), wire.decode_activity),
    "send": (SEND, wire.decode_message),
    "withdraw": (wire.Withdraw(id="m", lead_id="l", reason="left", at=NOW), wire.decode_message),
    "rejected": (REJECTED, wire.decode_rejected),
    "erasure": (wire.Erasure(erased="l", at=NOW, lead_ids=["l"], marks=[]), wire.decode_erasure),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_field_that_a_reader_does_not_know_is_ignored(name: str):
    record, decode = RECORDS[name]
    told = msgspec.json.decode(wire.encode(record)) | {"of_a_later_minor": {"v": 9, "deep": [1]}, "and": None}
    assert decode(msgspec.json.encode(told)) == record


@pytest.mark.parametrize("name", RECORDS)
def test_what_says_no_version_is_of_the_first(name: str):
    record, _ = RECORDS[name]
    assert wire.version_of(wire.encode(record)) == 1


def test_only_the_outermost_version_is_a_records_own():
    assert wire.version_of(b'{"v":1,"properties":{"v":3}}') == 1
    assert wire.version_of(b'{"v":2}') == 2
    assert wire.version_of(b'{"id":"x","lead":{"v":3}, "v": 4}') == 4
    assert wire.version_of(b'{"parcel":2,"items":[]}') == 2
    assert wire.version_of(b'{"v":"two"}') == wire.version_of(b'{"v":') == wire.version_of(b"\xff") == 1
