"""Which events are taken, which are not and why; and what becomes of those that are."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import pytest

from services.ingest.segment import LARGEST_EVENT, LARGEST_PARCEL, MOST_EVENTS, Call, Rejection, Sifted, read, read_again, sift
from shared.errors import InvalidMessage
from shared.log import Record
from shared.nesting import DEEPEST
from shared.parcel import unpack
from shared.wire import OURS, Event, decode_event, replace
from tests.ingest_house import NOON, a_track

Json = dict[str, Any]


def a_call(**overrides: Any) -> Call:
    fields: Json = {"type": "", "source": "pk_1", "trusted": False, "historical": False, "received_at": NOON}
    return Call(**(fields | overrides))


def batch(*items: Any, call: Call | None = None, **beside: Any) -> Sifted:
    return sift(read(json.dumps({"batch": items} | beside).encode(), is_batch=True), call or a_call())


def single(kind: str, item: Json | bytes, call: Call | None = None) -> Sifted:
    body = item if isinstance(item, bytes) else json.dumps(item).encode()
    return sift(read(body, is_batch=False), call or a_call(type=kind))


def events_of(sifted: Sifted) -> list[Event]:
    return [decode_event(record.value) for key, value in sifted.parcels for record in unpack(Record(key, value, NOON))]


def the_event(sifted: Sifted) -> Event:
    (event,) = events_of(sifted)
    return event


def the_code(sifted: Sifted) -> str:
    ((_, rejected),) = sifted.rejected
    assert not sifted.parcels
    return rejected.code


def test_a_track_call_becomes_an_event() -> None:
    item = a_track(properties={"title": "Tea"}, context={"page": {"path": "/"}}, anonymousId="a1", timestamp="2027-03-01T11:00:00Z")
    event = the_event(single("track", item))
    assert event == Event(
        id=blake2b(b"pk_1\0m1", digest_size=16).hexdigest(),
        type="track",
        name="Ebook Downloaded",
        at=datetime(2027, 3, 1, 11, tzinfo=UTC),
        received_at=NOON,
        source="pk_1",
        message_id="m1",
        user_id="u1",
        anonymous_id="a1",
        properties={"title": "Tea"},
        context={"page": {"path": "/"}},
    )


def test_the_key_is_the_anonymous_id_or_else_the_user_id() -> None:
    def key(item: Json) -> str:
        (pair,) = single("track", item).parcels
        (record,) = unpack(Record(*pair, NOON))
        assert record.key == pair[0]
        return record.key

    assert key(a_track(anonymousId="a1")) == "a1"
    assert key(a_track(anonymousId="")) == "u1"
    assert key(a_track(anonymousId=None, userId=7)) == "7"


def test_the_same_message_is_the_same_event_for_one_key_and_another_for_another() -> None:
    first, again, elsewhere = (
        the_event(single("track", a_track(), a_call(type="track", source=source))).id for source in ("pk_1", "pk_1", "pk_2")
    )
    assert first == again
    assert first != elsewhere


def test_an_event_without_a_message_id_gets_one_that_reading_again_does_not_change() -> None:
    sifted = batch(a_track(messageId=None), a_track(messageId=""))
    first, second = events_of(sifted)
    assert first.message_id != second.message_id
    assert [first, second] == events_of(sifted)
    assert the_event(single("track", a_track(messageId=None))).id != the_event(single("track", a_track(messageId=None))).id


def test_the_path_says_the_type_of_a_single_call() -> None:
    assert the_event(single("identify", a_track(traits={"plan": "pro"}))).type == "identify"


def test_page_and_screen_calls_have_our_names_and_keep_their_own_as_properties() -> None:
    page = the_event(single("page", {"userId": "u", "messageId": "m", "name": "Pricing", "category": "Shop", "properties": {"path": "/p"}}))
    assert (page.name, page.properties) == ("Page Viewed", {"name": "Pricing", "category": "Shop", "path": "/p"})
    screen = the_event(single("screen", {"userId": "u", "messageId": "m", "name": "Home", "properties": {"name": "House"}}))
    assert (screen.name, screen.properties) == ("Screen Viewed", {"name": "House"})


def test_traits_are_taken_from_identify_and_group_alone() -> None:
    assert the_event(single("identify", {"userId": "u", "traits": {"email": "a@b.example"}})).traits == {"email": "a@b.example"}
    group = the_event(single("group", {"userId": "u", "groupId": 7, "traits": {"name": "Acme"}}))
    assert (group.group_id, group.traits) == ("7", {"name": "Acme"})
    assert the_event(single("track", a_track(traits={"email": "a@b.example"}))).traits == {}


def test_alias_ties_a_previous_id() -> None:
    event = the_event(single("alias", {"userId": "u2", "previousId": "u1"}))
    assert (event.user_id, event.previous_id, event.name) == ("u2", "u1", "")


def test_import_makes_history_and_a_secret_key_makes_trust() -> None:
    event = the_event(batch(a_track(), call=a_call(trusted=True, historical=True)))
    assert event.trusted
    assert event.historical


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (7.0, "7"), (7.5, "7.5"), (True, "true"), (10**25, str(10**25)), ("", None), (None, None), ("x", "x")]
)
def test_ids_become_text_and_empty_ones_are_absent(value: object, text: str | None) -> None:
    assert the_event(single("track", a_track(anonymousId=value))).anonymous_id == text


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (a_track(userId=None), "no_identity"),
        (a_track(userId="", anonymousId=""), "no_identity"),
        (a_track(type="purchase"), "unknown_type"),
        (a_track(type=None), "unknown_type"),
        (a_track(type={}), "invalid"),
        (a_track(event=None), "no_event"),
        (a_track(event="  "), "no_event"),
        (a_track(event=[]), "invalid"),
        ({"type": "group", "userId": "u"}, "no_group_id"),
        ({"type": "alias", "userId": "u", "previousId": ""}, "no_previous_id"),
        (a_track(userId="u" * 256), "invalid"),
        (a_track(messageId="m" * 256), "invalid"),
        (a_track(userId={"$oid": 1}), "invalid"),
        (a_track(properties=[1]), "invalid"),
        (a_track(context="web"), "invalid"),
        (a_track(properties={"text": "x" * LARGEST_EVENT}), "too_large"),
        (7, "invalid"),
        (None, "invalid"),
        ([], "invalid"),
    ],
)
def test_a_bad_event_is_rejected_with_its_reason_and_its_neighbours_pass(item: Any, code: str) -> None:
    sifted = batch(a_track(messageId="before"), item, a_track(messageId="after"))
    ((index, rejected),) = sifted.rejected
    assert (index, rejected.code) == (1, code)
    assert rejected.message
    assert json.loads(rejected.payload) == item if code != "too_large" else rejected.payload.startswith("{")
    assert [event.message_id for event in events_of(sifted)] == ["before", "after"]
    assert sifted.accepted == 2


@pytest.mark.parametrize("name", sorted(OURS))
def test_names_of_ours_are_reserved(name: str) -> None:
    assert the_code(single("track", a_track(event=name))) == "reserved_name"


def test_viewed_pages_and_screens_may_be_tracked_by_name() -> None:
    assert the_event(single("track", a_track(event="Page Viewed"))).name == "Page Viewed"


def test_zero_and_false_are_ids_as_good_as_any() -> None:
    assert the_event(single("track", a_track(userId=0))).user_id == "0"
    assert the_event(single("track", a_track(userId=False))).user_id == "false"


def test_an_event_of_exactly_the_largest_size_is_taken() -> None:
    room = LARGEST_EVENT - len(json.dumps(a_track(properties={"text": ""}), separators=(",", ":")))
    fits, over = (a_track(properties={"text": "x" * size}) for size in (room, room + 1))
    assert single("track", fits).accepted == 1
    assert the_code(single("track", over)) == "too_large"
    assert single("track", json.dumps(fits, indent=9).encode()).accepted == 1  # blanks do not count


def test_what_is_too_large_keeps_only_its_beginning() -> None:
    sifted = batch(a_track(properties={"text": "é" * LARGEST_EVENT}))
    assert len(sifted.rejected[0][1].payload) == LARGEST_EVENT


def test_a_batch_of_too_many_is_refused_whole() -> None:
    with pytest.raises(InvalidMessage) as refused:
        batch(*[a_track()] * (MOST_EVENTS + 1))
    assert refused.value.code == "too_many_events"
    assert batch(*[a_track()] * MOST_EVENTS).accepted == MOST_EVENTS


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[]", "not_an_object"),
        (b"7", "not_an_object"),
        (b"null", "not_an_object"),
    ],
)
@pytest.mark.parametrize("is_batch", [True, False])
def test_a_body_that_is_no_object_is_refused(body: bytes, code: str, is_batch: bool) -> None:
    with pytest.raises(InvalidMessage) as refused:
        read(body, is_batch=is_batch)
    assert refused.value.code == code


@pytest.mark.parametrize("listed", [None, {}, "x", 7])
def test_a_batch_needs_a_list(listed: Any) -> None:
    with pytest.raises(InvalidMessage) as refused:
        read(json.dumps({"batch": listed}).encode(), is_batch=True)
    assert refused.value.code == "no_batch"


def test_an_empty_batch_is_fine() -> None:
    assert batch() == Sifted([], 0, [], 0)


def test_the_batch_s_context_is_shared_and_an_item_s_own_goes_before() -> None:
    sifted = batch(a_track(context={"ip": "2"}), a_track(), context={"ip": "1", "locale": "en"})
    assert [event.context for event in events_of(sifted)] == [{"ip": "2", "locale": "en"}, {"ip": "1", "locale": "en"}]


def test_a_huge_shared_context_is_refused() -> None:
    with pytest.raises(InvalidMessage) as refused:
        batch(a_track(), context={"text": "x" * LARGEST_EVENT})
    assert refused.value.code == "too_large"


def test_a_large_batch_is_kept_in_parts_that_any_log_takes() -> None:
    items = [a_track(messageId=f"m{number}", properties={"text": "x" * 30_000}) for number in range(60)]
    sifted = batch(*items)
    assert len(sifted.parcels) > 1
    assert all(len(value) < LARGEST_PARCEL * 1.1 for _, value in sifted.parcels)
    assert [event.message_id for event in events_of(sifted)] == [item["messageId"] for item in items]


def test_keys_are_written_down_nowhere() -> None:
    body = json.dumps(a_track(writeKey="sk_secret")).encode()
    kept = sift(read(body, is_batch=False), a_call(type="track", trusted=True))
    refused = sift(read(json.dumps({"writeKey": "sk_secret"}).encode(), is_batch=False), a_call(type="track", trusted=True))
    inside = batch(a_track(writeKey="sk_secret"), {"writeKey": "sk_secret"}, call=a_call(trusted=True), writeKey="sk_secret")
    for sifted in (kept, refused, inside):
        assert all(b"sk_secret" not in value for _, value in sifted.parcels)
        assert all("sk_secret" not in rejected.payload for _, rejected in sifted.rejected)
    assert the_event(kept).message_id == "m1"


# What clients really send, made harmless.


def test_nan_and_the_infinities_become_null() -> None:
    event = the_event(single("track", b'{"event":"E","userId":"u","properties":{"a":NaN,"b":[Infinity,-Infinity],"c":1}}'))
    assert event.properties == {"a": None, "b": [None, None], "c": 1}


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400, "9" * 5000])
def test_numbers_that_nothing_holds_become_null_or_stay_what_they_are(number: str) -> None:
    event = the_event(single("track", b'{"event":"E","userId":"u","properties":{"a":%b,"b":1}}' % number.encode()))
    assert event.properties["a"] in (None, int("9" * 400))
    assert event.properties["b"] == 1


def test_lone_surrogates_and_broken_utf_8_become_replacement_characters() -> None:
    event = the_event(single("track", b'{"event":"E","userId":"u\\ud83d","properties":{"a":"x\\ude00y","b":"\\ud83d\\ude00","c":"\xff"}}'))
    assert event.user_id == "u\ufffd"
    assert event.properties == {"a": "x\ufffdy", "b": "😀", "c": "\ufffd"}


def test_nul_is_dropped_from_keys_and_values() -> None:
    event = the_event(batch(a_track(userId="u\0", properties={"a\0b": "c\0d", "e": ["\0"]})))
    assert event.user_id == "u"
    assert event.properties == {"ab": "cd", "e": [""]}


def test_a_byte_order_mark_does_no_harm() -> None:
    assert the_event(single("track", b"\xef\xbb\xbf" + json.dumps(a_track()).encode())).user_id == "u1"


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_an_event_of_exactly_the_deepest_nesting_is_taken() -> None:
    event = b'{"event":"E","userId":"u","properties":{"wide":[%b],"quoted":"%b","deep":%b}}'
    parts = b",".join([b"[]"] * 50), b"[" * 99
    assert the_event(single("track", event % (*parts, nested(DEEPEST - 2)))).name == "E"
    assert the_code(single("track", event % (*parts, nested(DEEPEST - 1)))) == "too_deep"


@pytest.mark.parametrize("levels", [40, 200, *range(900, 1000, 3), 3000, 100_000])
def test_an_event_nested_beyond_reading_spoils_no_neighbour(levels: int) -> None:
    body = b'{"batch":[{"type":"track","event":"Good","userId":"u"},{"type":"track","event":"E","userId":"u","properties":{"a":%b}}]}'
    sifted = sift(read(body % nested(levels), is_batch=True), a_call())
    assert [event.name for event in events_of(sifted)] == ["Good"]
    ((index, rejected),) = sifted.rejected
    assert (index, rejected.code) == (1, "too_deep")
    assert read_again(rejected) == Rejection(rejected.code, rejected.message)


@pytest.mark.parametrize("levels", [40, *range(900, 1000, 3), 3000])
def test_a_context_or_a_moment_nested_beyond_reading_never_reaches_a_parcel(levels: int) -> None:
    body = b'{"sentAt":%b,"batch":[{"type":"track","event":"Good","userId":"u"}],"context":{"a":%b}}'
    with pytest.raises(InvalidMessage, match="nested more than 31 levels"):
        read(body % (b"1", nested(levels)), is_batch=True)
    assert the_event(sift(read(body % (nested(levels), b"1"), is_batch=True), a_call())).name == "Good"


def test_a_context_that_many_events_would_multiply_is_refused() -> None:
    context = {"junk": "x" * 4000}
    assert batch(*[a_track()] * 1000, context=context).accepted == 1000
    with pytest.raises(InvalidMessage, match="send at most 10") as refused:
        batch(*[a_track()] * 1100, context=context)
    assert refused.value.code == "too_large"


def test_duplicate_keys_take_the_last_as_everywhere() -> None:
    assert the_event(single("track", b'{"event":"E","userId":"u","userId":"v"}')).user_id == "v"


# When it happened.

SENT = NOON - timedelta(hours=2)  # the client's clock is two hours behind


@pytest.mark.parametrize(
    ("said", "happened"),
    [
        ({"timestamp": "2027-03-01T09:59:00Z"}, NOON - timedelta(minutes=1)),
        ({"timestamp": "2027-03-01T10:59:00+01:00"}, NOON - timedelta(minutes=1)),
        ({"timestamp": "2027-03-01T09:59:00"}, NOON - timedelta(minutes=1)),
        ({"timestamp": "2027-03-01T09:59:00.123456789Z"}, NOON - timedelta(minutes=1) + timedelta(microseconds=123456)),
        ({"originalTimestamp": "2027-03-01T09:59:00Z", "timestamp": "2001-01-01"}, NOON - timedelta(minutes=1)),
        ({"timestamp": "2027-03-01T10:00:01Z"}, NOON),  # after it was sent
        ({}, NOON),
    ],
)
def test_a_client_s_clock_is_corrected_by_when_it_sent(said: Json, happened: datetime) -> None:
    sifted = batch(a_track(**said), sentAt=SENT.isoformat())
    assert the_event(sifted).at == happened
    assert sifted.undated == 0


def test_a_single_call_carries_its_own_sent_at() -> None:
    item = a_track(timestamp="2027-03-01T09:59:00Z", sentAt=SENT.isoformat())
    assert the_event(single("track", item)).at == NOON - timedelta(minutes=1)


@pytest.mark.parametrize("sent_at", [None, "yesterday", 5, {}, ""])
def test_without_a_good_sent_at_the_timestamp_stands(sent_at: Any) -> None:
    assert the_event(batch(a_track(timestamp="2027-03-01T09:59:00Z"), sentAt=sent_at)).at == datetime(2027, 3, 1, 9, 59, tzinfo=UTC)


@pytest.mark.parametrize("said", ["tomorrow", 1234567890, {}, "", "2027-13-45", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_an_unreadable_timestamp_is_the_moment_of_arrival_and_is_counted(said: Any) -> None:
    sifted = batch(a_track(timestamp=said), a_track())
    assert events_of(sifted)[0].at == NOON
    assert sifted.undated == 1


def test_an_absurd_correction_is_the_moment_of_arrival() -> None:
    assert the_event(batch(a_track(timestamp="0001-01-02"), sentAt="9999-01-01")).at == NOON


def test_a_timestamp_in_the_future_is_the_moment_of_arrival() -> None:
    assert the_event(single("track", a_track(timestamp="2031-01-01"))).at == NOON


def test_history_keeps_its_timestamps() -> None:
    sifted = batch(a_track(timestamp="2020-01-01T00:00:00Z"), call=a_call(historical=True), sentAt=SENT.isoformat())
    assert the_event(sifted).at == datetime(2020, 1, 1, tzinfo=UTC)


# Set aside, and looked at again.


def test_the_same_event_refused_twice_has_one_id() -> None:
    first, again = (batch(a_track(event="Email Sent")).rejected[0][1].id for _ in range(2))
    assert first == again


def test_reading_a_rejected_event_again_finds_the_same_fault() -> None:
    rejected = batch(a_track(event="Email Sent")).rejected[0][1]
    assert read_again(rejected) == Rejection(rejected.code, rejected.message)
    too_large = batch(a_track(properties={"text": "x" * LARGEST_EVENT})).rejected[0][1]
    assert read_again(too_large) == Rejection("too_large", too_large.message)


def test_a_rejected_event_that_is_good_today_becomes_an_event() -> None:
    rejected = single("track", a_track(event="Email Sent"), a_call(type="track", trusted=True)).rejected[0][1]
    found = read_again(replace(rejected, payload=json.dumps(a_track())))
    assert not isinstance(found, Rejection)
    ((key, value),) = found
    (record,) = unpack(Record(key, value, NOON))
    event = decode_event(record.value)
    assert (event.type, event.trusted, event.received_at) == ("track", True, NOON)


def test_a_rejected_event_read_again_twice_is_the_same_event_though_it_has_no_message_id() -> None:
    without_id = {key: value for key, value in a_track().items() if key != "messageId"}
    rejected = replace(batch(a_track(event="Email Sent")).rejected[0][1], payload=json.dumps(without_id))
    assert read_again(rejected) == read_again(rejected)


@pytest.mark.parametrize("item", [b"{}", b"0", b"[]"])
def test_millions_of_empty_events_are_counted_before_any_is_looked_at(item: bytes) -> None:
    body = b'{"batch":[' + b",".join([item] * (MOST_EVENTS + 1)) + b"]}"
    with pytest.raises(InvalidMessage) as refused:
        read(body, is_batch=True)
    assert refused.value.code == "too_many_events"
