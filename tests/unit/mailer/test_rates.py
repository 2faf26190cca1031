"""GCRA by slots: whoever takes them, and however often, no more go than the rate allows, and as many as it allows can go."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.mailer.rates import LEEWAY, SECOND, Share, lease

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
RATES = st.sampled_from([0.05, 0.5, 1, 3, 7, 20, 60, 333])


class Sender:
    """A replica as the rate sees it: asks when it has nothing left, and sends what it may."""

    def __init__(self, per_second: float, most: int) -> None:
        self.per_second, self.most = per_second, most
        self.share = Share(NOON, SECOND, 0)
        self.sent: list[datetime] = []

    def go(self, free_from: datetime | None, now: datetime) -> datetime | None:
        if self.share.fresh(now).count == 0:
            self.share = lease(self.per_second, free_from, now, self.most)
            free_from = self.share.end
        number = self.share.open(now)
        self.sent += [now] * number
        self.share = self.share.fresh(now).spent(number)
        return free_from


def most_in(sent: list[datetime], stretch: timedelta) -> int:
    return max((sum(1 for at in sent if since <= at < since + stretch) for since in set(sent)), default=0)


@settings(deadline=None)
@given(RATES, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 900)), min_size=1, max_size=150), st.integers(1, 60))
def test_however_replicas_take_turns_no_stretch_holds_more_than_the_rate(rate: float, beats: list[tuple[int, int]], most: int) -> None:
    senders = [Sender(rate, most) for _ in range(3)]
    now, free_from = NOON, None
    for who, pause in beats:
        now += pause * MILLISECOND
        free_from = senders[who].go(free_from, now)
    sent = sorted(at for sender in senders for at in sender.sent)
    for stretch in (SECOND / 10, SECOND, 5 * SECOND):
        assert most_in(sent, stretch) <= rate * (stretch + LEEWAY).total_seconds() + 1


@settings(deadline=None, max_examples=40)
@given(RATES, st.integers(1, 4), st.integers(10, 97))
def test_who_always_has_something_to_send_reaches_the_rate(rate: float, replicas: int, beat: int) -> None:
    senders = [Sender(rate, 60) for _ in range(replicas)]
    now, free_from, end = NOON, None, NOON + 20 * SECOND
    while now < end:
        for sender in senders:
            free_from = sender.go(free_from, now)
        now += beat * MILLISECOND
    sent = sum(len(sender.sent) for sender in senders)
    assert sent >= int(rate * 20) - replicas * max(1, int(rate * 0.1))


@given(RATES, st.integers(0, 5000), st.integers(1, 60))
def test_slots_are_evenly_apart_and_none_is_given_twice(rate: float, later: int, most: int) -> None:
    one = lease(rate, None, NOON, most)
    two = lease(rate, one.end, NOON + later * MILLISECOND, most)
    slots = [share.first + number * share.every for share in (one, two) for number in range(share.count)]
    assert all(after - before >= SECOND / rate for before, after in pairwise(slots))


@given(RATES, st.integers(0, 100_000))
def test_nobody_takes_more_than_a_second_ahead(rate: float, late: int) -> None:
    now = NOON + late * MILLISECOND
    share = lease(rate, NOON, now, 10_000)
    assert share.end <= now + SECOND + share.every


def test_what_nobody_used_is_lost_soon_after_its_second() -> None:
    share = lease(20, None, NOON, 60)
    assert (share.count, share.fresh(NOON + SECOND).count, share.fresh(NOON + 2 * SECOND).count) == (20, 5, 0)
    assert lease(20, share.end, NOON + 10 * SECOND, 60).first == NOON + 10 * SECOND - LEEWAY


def test_a_slower_rate_of_yesterday_keeps_nobody_waiting_today() -> None:
    slow = lease(0.01, None, NOON, 60)
    assert slow.end == NOON + 100 * SECOND
    assert lease(20, slow.end, NOON, 60).count == 0
    assert lease(20, lease(20, slow.end, NOON, 60).end, NOON + SECOND, 60).count > 0


def test_slots_come_one_after_the_other_and_are_used_some_at_a_time() -> None:
    share = lease(20, None, NOON, 60)
    assert [share.open(NOON + number * 50 * MILLISECOND) for number in range(4)] == [0, 2, 3, 4]
    assert share.opens_at(NOON) == NOON + 50 * MILLISECOND
    last = share.spent(19)
    assert (last.open(NOON + 950 * MILLISECOND), last.spent(1).opens_at(NOON)) == (1, None)
