"""An outbox's blob: what is packed is what is unpacked, small where its records are alike."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.work import pack_blob, unpack_blob


@given(st.lists(st.tuples(st.text(), st.binary())))
def test_what_was_packed_is_unpacked(pairs: list[tuple[str, bytes]]):
    assert unpack_blob(pack_blob(pairs)) == pairs


@given(st.lists(st.tuples(st.text(), st.binary())))
def test_a_blob_from_before_they_were_compressed_is_read(pairs: list[tuple[str, bytes]]):
    assert unpack_blob(msgspec.msgpack.encode(pairs)) == pairs


def test_records_that_are_alike_take_little_room():
    pairs = [
        (f"lead-{number}", b'{"type":"send","lead_id":"lead-%d","journey":"welcome","step":"hello"}' % number) for number in range(500)
    ]
    assert len(pack_blob(pairs)) * 3 < len(msgspec.msgpack.encode(pairs))
