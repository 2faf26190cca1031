"""A parcel comes apart the same way every time, and what is no parcel stays what it is."""

import msgspec
import pytest
from msgspec import Raw

from shared.log import Record
from shared.parcel import Parcel, unpack
from shared.wire import decode_event, encode
from tests.builders import NOON, an_event


def a_parcel(items: bytes, **overrides: object) -> Parcel:
    fields: dict[str, object] = {
        "type": "",
        "source": "pk_1",
        "trusted": False,
        "historical": False,
        "received_at": NOON,
        "items": Raw(items),
    }
    return Parcel(**(fields | overrides))  # type: ignore[arg-type]


def test_an_event_is_handed_on_as_it_is() -> None:
    record = Record("k", encode(an_event()), NOON)
    assert unpack(record) == (record,)


@pytest.mark.parametrize("value", [b"", b'{"parcel":', b'{"parcel":1}', b'{"parcel":1,"items":7}', b"\xff", b'{"parcel":' + b"[" * 100_000])
def test_what_cannot_be_unpacked_is_handed_on_for_its_reader_to_set_aside(value: bytes) -> None:
    record = Record("k", value, NOON)
    assert unpack(record) == (record,)


def test_each_event_has_its_own_key_and_the_parcel_s_time() -> None:
    items = b'[{"type":"track","event":"A","userId":"u","messageId":"1"},{"type":"identify","anonymousId":"a","messageId":"2"}]'
    records = unpack(Record("u", encode(a_parcel(items)), NOON))
    assert [(record.key, record.at) for record in records] == [("u", NOON), ("a", NOON)]
    assert [decode_event(record.value).type for record in records] == ["track", "identify"]


def test_a_number_that_no_float_holds_spoils_nothing() -> None:
    items = b'[{"type":"track","event":"A","userId":"u","properties":{"n":1e999,"m":2}},{"type":"track","event":"B","userId":"u"}]'
    first, second = (decode_event(record.value) for record in unpack(Record("u", encode(a_parcel(items)), NOON)))
    assert first.properties == {"n": None, "m": 2}
    assert second.name == "B"


@pytest.mark.parametrize("bad", [b'{"type":"teleport","userId":"x"}', b"7", b'{"type":[]}', b'{"parcel":1}'])
def test_an_item_beyond_reading_is_handed_on_alone_and_comes_back_the_same(bad: bytes) -> None:
    good = b'{"type":"track","event":"A","userId":"u"}'
    first, alone, last = unpack(Record("u", encode(a_parcel(b"[%b,%b,%b]" % (good, bad, good), id="p")), NOON))
    assert [decode_event(record.value).message_id for record in (first, last)] == ["p.0", "p.2"]
    with pytest.raises(msgspec.DecodeError):
        decode_event(alone.value)
    assert bad in alone.value
    assert unpack(alone) == [alone]


def test_an_item_alone_is_read_once_it_can_be_and_is_none_of_its_neighbours() -> None:
    alone = unpack(Record("u", encode(a_parcel(b'[7,{"type":"teleport","userId":"u"}]', id="p")), NOON))[1]
    (mended,) = unpack(Record("u", alone.value.replace(b"teleport", b"identify"), NOON))
    assert decode_event(mended.value).message_id == "p.1.0"
