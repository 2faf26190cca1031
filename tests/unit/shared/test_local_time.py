"""Clock times where somebody lives: the nights on which the clocks change are the ones that matter."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.local_time import moment_of


def at(zone: str, day: str, clock: str) -> str:
    return moment_of(date.fromisoformat(day), time.fromisoformat(clock), ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize(
    ("zone", "day", "clock", "instant"),
    [
        ("Asia/Kolkata", "2027-01-01", "09:00", "2027-01-01T03:30:00+00:00"),
        ("Europe/Dublin", "2027-07-01", "09:00", "2027-07-01T08:00:00+00:00"),
    ],
)
def test_a_local_time_is_an_instant(zone: str, day: str, clock: str, instant: str) -> None:
    assert at(zone, day, clock) == instant


@pytest.mark.parametrize(
    ("zone", "day", "clock", "instant"),
    [
        ("Europe/Dublin", "2027-03-28", "01:30", "2027-03-28T01:00:00+00:00"),
        ("America/Santiago", "2027-09-05", "00:00", "2027-09-05T04:00:00+00:00"),
        ("Asia/Tehran", "2022-03-22", "00:30", "2022-03-21T20:30:00+00:00"),
        ("Pacific/Apia", "2011-12-30", "09:00", "2011-12-30T10:00:00+00:00"),
    ],
)
def test_a_local_time_that_does_not_exist_is_the_first_that_does(zone: str, day: str, clock: str, instant: str) -> None:
    assert at(zone, day, clock) == instant


def test_a_local_time_that_exists_twice_is_the_first() -> None:
    assert at("Europe/Dublin", "2027-10-31", "01:30") == "2027-10-31T00:30:00+00:00"


@given(st.dates(date(1980, 1, 1), date(2036, 12, 31)), st.times(), st.sampled_from(["Europe/Dublin", "Asia/Tehran", "Pacific/Apia"]))
def test_every_local_time_has_its_instant_and_none_comes_before_it(day: date, clock: time, zone: str) -> None:
    clock = clock.replace(microsecond=0)
    found = moment_of(day, clock, ZoneInfo(zone))
    shown = found.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert found.tzinfo is UTC
    assert shown >= datetime.combine(day, clock)
