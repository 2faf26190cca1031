from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.durations import LONGEST, format_duration, parse_duration, parse_offset


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
        ("1d12h", timedelta(hours=36)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "5", "d", "2 d", "2D", "-1d", "1.5h", "12h1d", "1d1d", "1y", "٣d", "2d\n", "9" * 30 + "d", "1M"])
def test_what_is_no_duration_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="1d12h"):
        parse_duration(text)


def test_a_duration_is_at_most_ten_years() -> None:
    with pytest.raises(ValueError, match="longer than ten years"):
        parse_duration("3661d")


@given(st.integers(0, int(LONGEST.total_seconds())))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(hours=36), "1d12h"),
        (timedelta(0), "0s"),
        (timedelta(milliseconds=3), "0s"),
        (-timedelta(days=8), "-1w1d"),
        (-timedelta(milliseconds=3), "0s"),
    ],
)
def test_a_duration_is_written_from_large_to_small(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("text", "days", "rest"),
    [
        ("-1d", -1, timedelta(0)),
        ("1w", 7, timedelta(0)),
        ("1d12h", 1, timedelta(hours=12)),
        ("-2d30m", -2, -timedelta(minutes=30)),
        ("36h", 0, timedelta(hours=36)),
        ("0s", 0, timedelta(0)),
    ],
)
def test_an_offset_keeps_days_of_the_calendar_apart(text: str, days: int, rest: timedelta) -> None:
    assert parse_offset(text) == (days, rest)


@pytest.mark.parametrize("text", ["--1d", "-", "+1d", "yesterday", "- 1d"])
def test_what_is_no_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1d12h"):
        parse_offset(text)
