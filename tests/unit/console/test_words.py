"""How the pages say things."""

from datetime import timedelta

import pytest

from services.console.words import ago, plain, points, stamp, who
from tests.builders import NOON


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(hours=23), "23 hours ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(seconds=-5), "in a moment"),
        (-timedelta(hours=47, minutes=59), "in 2 days"),
        (-timedelta(hours=23), "in 1 day"),
        (-timedelta(hours=13), "in 13 hours"),
    ],
)
def test_a_moment_is_said_coarsely(before, said):
    assert ago((NOON - before).isoformat(), NOON) == said


def test_what_never_happened_is_never():
    assert ago(None, NOON) == "never"
    assert stamp(None) == ""


def test_a_lead_is_called_by_the_best_name_it_has():
    assert who({"traits": {"name": "Ana Horvat"}, "email": "ana@example.com"}) == "Ana Horvat"
    assert who({"traits": {"first_name": "Ana", "last_name": "Horvat"}}) == "Ana Horvat"
    assert who({"traits": {}, "email": "ana@example.com", "user_id": "u1"}) == "ana@example.com"
    assert who({"user_id": "u1"}) == "u1"
    assert who({"id": "0123456789"}) == "Visitor 01234567"


@pytest.mark.parametrize(("value", "said"), [(7.0, "+7"), (0.75, "+0.75"), (-0.5, "−0.5"), (0, "+0"), (None, "+0"), (100.0, "+100")])
def test_points_are_signed_and_short(value, said):
    assert points(value) == said


def test_json_reads_like_words():
    assert plain({"paid": True, "tags": ["a", None], "n": 2}) == "paid: yes, tags: a, none, n: 2"
