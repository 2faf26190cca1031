"""The SLA's clock: plain time, working time, and the nights on which clocks change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mailer.sla import LONGEST, Sla, WorkingHours

DUBLIN = ZoneInfo("Europe/Dublin")
HOUR = timedelta(hours=1)
OFFICE = WorkingHours(frozenset(range(5)), time(9), time(17, 30), DUBLIN)
TEHRAN = WorkingHours(frozenset({5, 6, 0, 1, 2}), time(9), time(17), ZoneInfo("Asia/Tehran"))
RIYADH = WorkingHours(frozenset({6, 0, 1, 2, 3}), time(8), time(16), ZoneInfo("Asia/Riyadh"))


def local(text: str, hours: WorkingHours = OFFICE) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=hours.zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("hours", "given_at", "length", "ends"),
    [
        (OFFICE, "2027-03-01T10:00", 4 * HOUR, "2027-03-01T14:00"),  # a Monday
        (OFFICE, "2027-03-01T17:00", HOUR, "2027-03-02T09:30"),
        (OFFICE, "2027-03-05T17:29", 2 * HOUR, "2027-03-08T10:59"),  # over a weekend
        (OFFICE, "2027-03-06T12:00", HOUR, "2027-03-08T10:00"),  # given on a Saturday
        (OFFICE, "2027-03-01T03:00", HOUR, "2027-03-01T10:00"),  # before they open
        (OFFICE, "2027-03-01T09:00", 8.5 * HOUR, "2027-03-01T17:30"),  # to the last minute of the day
        (OFFICE, "2027-03-01T09:00", 85 * HOUR, "2027-03-12T17:30"),  # two weeks
        (TEHRAN, "2027-03-03T16:00", 2 * HOUR, "2027-03-06T10:00"),  # Wednesday evening: on Saturday
        (TEHRAN, "2027-03-04T11:00", 2 * HOUR, "2027-03-06T11:00"),  # a Thursday is free
        (RIYADH, "2027-03-04T15:00", 2 * HOUR, "2027-03-07T09:00"),  # Thursday evening: on Sunday
        (RIYADH, "2027-03-05T15:00", 2 * HOUR, "2027-03-07T10:00"),  # a Friday is free
    ],
)
def test_working_time_passes_only_while_they_work(hours: WorkingHours, given_at: str, length: timedelta, ends: str) -> None:
    assert Sla(length, hours).ends(local(given_at, hours)) == local(ends, hours)


@pytest.mark.parametrize(("night", "length"), [("2027-03-28", 23), ("2027-10-31", 25), ("2027-05-02", 24)])
def test_the_clocks_may_change_within_a_shift(night: str, length: int) -> None:
    always = WorkingHours(frozenset(range(7)), time(0), time(0), DUBLIN)
    begins = local(f"{night}T00:00")
    ends = always.after(begins, length * HOUR)
    assert ends == begins + length * HOUR
    assert ends.astimezone(DUBLIN).time() == time(0)


def test_a_shift_that_begins_in_an_hour_that_does_not_exist_begins_with_the_next_that_does() -> None:
    early = WorkingHours(frozenset({6}), time(1, 30), time(4), DUBLIN)
    assert early.after(local("2027-03-27T12:00"), HOUR) == local("2027-03-28T03:00")


def test_a_shift_of_which_the_clocks_leave_nothing_is_passed_over() -> None:
    short = WorkingHours(frozenset({6}), time(1, 10), time(1, 50), DUBLIN)
    assert short.after(local("2027-03-27T12:00"), HOUR / 2) == local("2027-04-04T01:40")


def test_every_hour_counts_where_no_working_hours_are_asked_for() -> None:
    friday = local("2027-03-05T17:00")
    assert Sla(4 * HOUR).ends(friday) == friday + 4 * HOUR


@pytest.mark.parametrize("hours", [None, OFFICE])
def test_while_it_is_snoozed_the_clock_stands(hours: WorkingHours | None) -> None:
    sla = Sla(4 * HOUR, hours)
    given_at = local("2027-03-01T10:00")
    asked_at, until = given_at + HOUR, local("2027-03-03T10:00")
    assert sla.put_off(sla.ends(given_at), asked_at, until) == until + 3 * HOUR


def test_what_is_left_at_the_end_of_a_snooze_is_counted_in_working_time_again() -> None:
    sla = Sla(4 * HOUR, OFFICE)
    given_at = local("2027-03-01T15:30")  # two of its hours are left for Tuesday
    assert sla.put_off(sla.ends(given_at), local("2027-03-01T16:30"), local("2027-03-05T16:00")) == local("2027-03-08T10:30")


def test_no_sla_is_longer_than_anybody_waits() -> None:
    given_at = local("2027-03-01T10:00")
    minute_a_week = WorkingHours(frozenset({0}), time(9), time(9, 1), DUBLIN)
    assert Sla(timedelta.max).ends(given_at) == Sla(timedelta.max, minute_a_week).ends(given_at) == given_at + LONGEST


@given(
    st.integers(0, 365 * 24 * 60),
    st.timedeltas(timedelta(minutes=1), timedelta(hours=60)),
    st.sampled_from([OFFICE, TEHRAN, RIYADH]),
)
def test_between_a_start_and_its_end_lies_the_whole_sla(minute: int, length: timedelta, hours: WorkingHours) -> None:
    since = local("2027-01-01T00:00") + timedelta(minutes=minute)
    assert hours.between(since, hours.after(since, length)) == length
