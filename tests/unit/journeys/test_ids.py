"""The id of an enrollment: the same for the same entry, and beside those of the walks that began before and after it."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from services.journeys.enrollment import enrollment_id, message_id
from shared.wire import Entry
from tests.builders import NOON

TEXTS = st.text(max_size=20)
LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=400_000)).map(lambda since: LONG_AGO + since)
A_WHILE = st.timedeltas(timedelta(milliseconds=1), timedelta(days=999))


def an_entry(at: datetime = NOON, event_id: str = "e1") -> Entry:
    return Entry(at=at, event_id=event_id)


@given(journey=TEXTS, lead_id=TEXTS, key=st.none() | TEXTS, event_id=TEXTS, at=MOMENTS)
def test_an_enrollment_id_is_a_uuid_of_version_8(journey: str, lead_id: str, key: str | None, event_id: str, at: datetime) -> None:
    said = enrollment_id(journey, lead_id, key, an_entry(at, event_id))

    assert UUID(said).variant == RFC_4122
    assert UUID(said).version == 8
    assert str(UUID(said)) == said


def test_the_same_entry_has_the_same_id() -> None:
    assert enrollment_id("welcome", "l1", None, an_entry()) == enrollment_id("welcome", "l1", None, an_entry())


def test_whatever_differs_makes_another_id() -> None:
    entries = [
        ("welcome", "l1", None, an_entry()),
        ("cart", "l1", None, an_entry()),
        ("welcome", "l2", None, an_entry()),
        ("welcome", "l1", "", an_entry()),
        ("welcome", "l1", "a", an_entry()),
        ("welcome", "l1", None, an_entry(event_id="e2")),
        ("welcome", "l1", None, an_entry(NOON + timedelta(milliseconds=1))),
    ]

    assert len({enrollment_id(*entry) for entry in entries}) == len(entries)


@given(at=MOMENTS.filter(lambda at: at.year >= 1970), later=A_WHILE)
def test_ids_stand_in_the_order_of_the_entries(at: datetime, later: timedelta) -> None:
    assert enrollment_id("welcome", "l1", None, an_entry(at)) < enrollment_id("welcome", "l2", None, an_entry(at + later, "e2"))


def test_the_id_tells_the_millisecond_of_the_entry() -> None:
    assert UUID(enrollment_id("welcome", "l1", None, an_entry())).int >> 80 == int(NOON.timestamp() * 1000)


def test_what_happened_before_1970_has_an_id_too() -> None:
    assert UUID(enrollment_id("welcome", "l1", None, an_entry(LONG_AGO))).int >> 80 == 0


@given(walk=st.uuids(), transition=st.integers(0, 1 << 31))
def test_a_message_id_is_uuid5_of_enrollment_and_transition(walk: UUID, transition: int) -> None:
    assert message_id(str(walk), transition) == str(uuid5(walk, str(transition)))


def test_a_message_id_is_the_same_for_the_same_enrollment_and_transition() -> None:
    walk = enrollment_id("welcome", "l1", None, an_entry())

    assert message_id(walk, 1) == message_id(walk, 1)
    assert len({message_id(walk, 1), message_id(walk, 2), message_id(enrollment_id("cart", "l1", None, an_entry()), 1)}) == 3
