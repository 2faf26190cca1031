"""How much may come with a browser's key: by key, by network, by address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.limits import Limiter, Limits, Rate, caller_of, network_of

FREE = Rate(0, 60)


def test_what_a_minute_allows_may_come_at_once_and_then_evenly():
    limiter = Limiter(Rate(60, 60))
    for _ in range(60):
        assert limiter.wait("k", 1, 1000.0) == 0
        limiter.take("k", 1, 1000.0)
    assert limiter.wait("k", 1, 1000.0) == pytest.approx(1)
    assert limiter.wait("k", 5, 1002.0) == pytest.approx(3)
    assert limiter.wait("k", 5, 1005.0) == pytest.approx(0)
    assert limiter.wait("other", 60, 1000.0) == 0


def test_who_waits_as_long_as_he_is_told_gets_in():
    limiter = Limiter(Rate(7, 60))
    limiter.take("k", 7, 0.0)
    wait = limiter.wait("k", 3, 0.0)
    assert limiter.wait("k", 3, wait + 1e-6) == 0


def test_more_than_ever_passes_at_once_waits_until_all_is_free_and_then_passes():
    limiter = Limiter(Rate(10, 60))
    assert limiter.wait("k", 2500, 0.0) == 0
    limiter.take("k", 2500, 0.0)
    assert limiter.wait("k", 2500, 0.0) == pytest.approx(60)
    assert limiter.wait("k", 2500, 60.0) == pytest.approx(0)


def test_what_was_refused_costs_nothing():
    limits = Limits(per_key=Rate(10, 60), per_ip=Rate(5, 60), per_address=Rate(1, 3600))
    assert limits.admit("k", "1", ["a@x"], 1, 0.0) == 0
    assert limits.admit("k", "2", ["a@x"], 5, 0.0) == pytest.approx(3600)
    assert limits.admit("k", "1", [], 5, 0.0) == pytest.approx(12)
    assert limits.admit("k", "2", ["b@x"], 5, 0.0) == 0
    assert limits.admit("k", "3", [], 4, 0.0) == 0
    assert limits.admit("k", "4", [], 1, 0.0) == pytest.approx(6)


def test_a_mailbox_has_one_limit_whatever_its_tags():
    limits = Limits(FREE, FREE, per_address=Rate(2, 3600))
    assert limits.admit("k", "1", ["ana+1@x", "Ana+2@x"], 2, 0.0) == 0
    assert limits.admit("k", "1", ["ana+3@x"], 1, 0.0) == pytest.approx(1800)
    assert limits.admit("k", "1", ["anab@x"], 1, 0.0) == 0


def test_no_limit_is_no_limit():
    limits = Limits(FREE, FREE, FREE)
    assert [limits.admit("k", "1", ["a@x"], 10_000, 0.0) for _ in range(100)] == [0.0] * 100


def test_only_so_many_names_are_remembered_and_those_heard_of_last():
    limiter = Limiter(Rate(1, 60), most=3)
    for name in ("a", "b", "c", "a", "d"):
        limiter.take(name, 1, 0.0)
    assert [limiter.wait(name, 1, 0.0) > 0 for name in ("a", "b", "c", "d")] == [True, False, True, True]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20)), max_size=60))
def test_no_window_ever_sees_more_than_twice_its_count(calls: list[tuple[float, int]]):
    """A full burst just before a window, and what flows in evenly during it."""
    limiter, now, passed = Limiter(Rate(20, 60)), 0.0, list[tuple[float, int]]()
    for pause, cost in calls:
        now += pause
        if not limiter.wait("k", cost, now):
            limiter.take("k", cost, now)
            passed.append((now, cost))
    for start, _ in passed:
        assert sum(cost for at, cost in passed if start <= at < start + 60) <= 40


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("nobody", "nobody"),
        ("x" * 500, "x" * 64),
    ],
)
def test_a_network_is_what_one_subscriber_has(ip: str, network: str):
    assert network_of(ip) == network


@pytest.mark.parametrize(
    ("proxies", "forwarded", "caller"),
    [
        (0, "192.0.2.1", "10.0.0.1"),
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        (2, "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, "192.0.2.1", "10.0.0.1"),
        (1, "", "10.0.0.1"),
        (1, " , ", "10.0.0.1"),
    ],
)
def test_a_caller_cannot_say_where_he_is(proxies: int, forwarded: str, caller: str):
    assert caller_of("10.0.0.1", forwarded, proxies) == caller
