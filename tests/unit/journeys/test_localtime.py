"""Times on the lead's own clock: also on the days when it is set forward or back."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.journeys.localtime import EVERY_DAY, moment_named, next_clock, next_within, zone_of
from shared.durations import Offset, parse_offset
from shared.local_time import moment_of
from tests.builders import NOON, a_lead

DUBLIN, TEHRAN, APIA = ZoneInfo("Europe/Dublin"), ZoneInfo("Asia/Tehran"), ZoneInfo("Pacific/Apia")
NEXT_TO_NOTHING = timedelta(microseconds=1)
ZONES = st.sampled_from([ZoneInfo(name) for name in ("UTC", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")])
CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DAYS = st.frozensets(st.integers(0, 6), min_size=1)
ZERO = Offset(0, timedelta(0))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "clock", "expected"),
    [
        ("2027-03-01T12:00", "13:00", "2027-03-01T13:00"),
        ("2027-03-01T12:00", "12:00", "2027-03-02T12:00"),  # not this moment: the next one
        ("2027-03-27T12:00", "01:30", "2027-03-28T01:00"),  # the clocks jump over half past one
        ("2027-10-30T12:00", "01:30", "2027-10-31T00:30"),  # half past one comes twice
        ("2027-10-31T00:45", "01:30", "2027-11-01T01:30"),
    ],
)
def test_a_clock_time_is_the_next_such_moment(after, clock, expected):
    assert next_clock(utc(after), time.fromisoformat(clock), EVERY_DAY, DUBLIN) == utc(expected)


def test_a_clock_time_waits_for_one_of_its_days():
    assert next_clock(utc("2027-03-01T12:00"), time(9), frozenset({0, 2}), DUBLIN) == utc("2027-03-03T09:00")


def test_a_day_that_a_zone_left_out_ends_where_it_would_have_begun():
    assert next_clock(utc("2011-12-30T08:00"), time(9), frozenset({4}), APIA) == utc("2011-12-30T10:00")


@pytest.mark.parametrize(
    ("since", "opens", "closes", "expected"),
    [
        ("2027-03-01T12:00", "09:00", "17:00", "2027-03-01T12:00"),
        ("2027-03-01T09:00", "09:00", "17:00", "2027-03-01T09:00"),
        ("2027-03-01T17:00", "09:00", "17:00", "2027-03-02T09:00"),
        ("2027-03-01T08:59", "09:00", "17:00", "2027-03-01T09:00"),
        ("2027-03-01T03:00", "22:00", "06:00", "2027-03-01T03:00"),
        ("2027-03-01T12:00", "22:00", "06:00", "2027-03-01T22:00"),
        ("2027-03-01T12:00", "00:00", "00:00", "2027-03-01T12:00"),
        ("2027-03-28T00:30", "01:10", "01:50", "2027-03-29T00:10"),  # a window that the clocks jump over does not open
    ],
)
def test_a_window_is_passed_inside_and_waited_for_outside(since, opens, closes, expected):
    found = next_within(utc(since), time.fromisoformat(opens), time.fromisoformat(closes), EVERY_DAY, DUBLIN)
    assert found == utc(expected)


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens():
    sunday = frozenset({6})
    assert next_within(utc("2027-03-01T03:00"), time(22), time(6), sunday, DUBLIN) == utc("2027-03-01T03:00")
    assert next_within(utc("2027-03-02T03:00"), time(22), time(6), sunday, DUBLIN) == utc("2027-03-07T22:00")


@given(MOMENTS, CLOCKS, DAYS, ZONES)
def test_no_clock_time_lies_between_now_and_the_next(after, clock, days, zone):
    found = next_clock(after, clock, days, zone)
    assert after < found <= after + timedelta(days=9)
    assert found.astimezone(zone).weekday() in days
    between = (moment_of(found.astimezone(zone).date() - timedelta(days=back), clock, zone) for back in range(1, 9))
    assert all(moment <= after or moment.astimezone(zone).weekday() not in days for moment in between)


@given(MOMENTS, CLOCKS, CLOCKS, DAYS, ZONES)
def test_a_window_once_reached_is_open(since, opens, closes, days, zone):
    found = next_within(since, opens, closes, days, zone)
    assert found >= since
    assert next_within(found, opens, closes, days, zone) == found


@pytest.mark.parametrize(
    ("value", "offset", "expected"),
    [
        ("2027-03-29T09:00:00+01:00", "-1d", "2027-03-28T08:00"),  # nine on the day before, over the night that has 23 hours
        ("2027-03-29T09:00:00+01:00", "-24h", "2027-03-28T08:00"),
        ("2027-03-28T09:00:00+01:00", "-1d", "2027-03-27T09:00"),
        ("2027-03-28T09:00:00+01:00", "-24h", "2027-03-27T08:00"),
        ("2027-03-01T09:00:00Z", "1w2h", "2027-03-08T11:00"),
        ("2027-07-01T09:00", "0s", "2027-07-01T08:00"),  # without an offset of its own: on the lead's clock
        ("2027-07-01", "0s", "2027-06-30T23:00"),
    ],
)
def test_a_moment_is_moved_by_days_of_the_calendar(value, offset, expected):
    assert moment_named(value, parse_offset(offset), DUBLIN) == utc(expected)


def test_a_moment_itself_is_a_moment():
    assert moment_named(NOON, ZERO, DUBLIN) == NOON


@pytest.mark.parametrize("value", [None, "", "soon", "tomorrow at nine", 20270301, True, ["2027-03-01"], "0001-01-01T00:00:00+14:00", "20"])
def test_what_is_no_moment_is_none(value):
    assert moment_named(value, parse_offset("-1d"), TEHRAN) is None


def test_a_moment_at_the_end_of_time_is_none():
    assert moment_named("9999-12-31", parse_offset("1w"), DUBLIN) is None


def test_the_trait_names_the_zone_before_the_context_and_that_before_the_playbook():
    both = a_lead(timezone="Asia/Tehran", traits={"timezone": "Pacific/Apia"})
    assert zone_of(both, DUBLIN) == APIA
    assert zone_of(a_lead(timezone="Asia/Tehran", traits={"timezone": "Nowhere/At all"}), DUBLIN) == TEHRAN
    assert zone_of(a_lead(timezone="../etc", traits={"timezone": 7}), DUBLIN) == DUBLIN


def test_an_instant_that_is_nearly_nine_waits_for_nine():
    nine = moment_of(date(2027, 3, 1), time(9), DUBLIN)
    assert next_clock(nine - NEXT_TO_NOTHING, time(9), EVERY_DAY, DUBLIN) == nine
