"""The ladder of a new sender."""

from datetime import date, timedelta

from services.mailer.warm_up import LADDER, Climb, climb

MONDAY = date(2027, 3, 1)
DAY = timedelta(days=1)


def test_a_new_sender_begins_on_the_first_rung() -> None:
    assert climb(None, MONDAY) == Climb(MONDAY, 0, 0)
    assert climb(None, MONDAY).left == LADDER[0]


def test_a_day_that_used_half_of_its_rung_earns_the_next() -> None:
    assert climb(Climb(MONDAY, 2, LADDER[2] // 2), MONDAY + DAY) == Climb(MONDAY + DAY, 3, 0)
    assert climb(Climb(MONDAY, 2, LADDER[2] // 2 - 1), MONDAY + DAY) == Climb(MONDAY + DAY, 2, 0)


def test_days_without_mail_earn_nothing() -> None:
    assert climb(Climb(MONDAY, 4, 0), MONDAY + 30 * DAY) == Climb(MONDAY + 30 * DAY, 4, 0)


def test_a_full_day_has_nothing_left_and_never_less_than_nothing() -> None:
    assert (Climb(MONDAY, 0, LADDER[0]).left, Climb(MONDAY, 0, LADDER[0] + 3).left) == (0, 0)


def test_past_the_last_rung_nothing_binds() -> None:
    top = climb(Climb(MONDAY, len(LADDER) - 1, LADDER[-1]), MONDAY + DAY)
    assert top.left is None
    assert climb(top, MONDAY + 9 * DAY).left is None


def test_a_day_before_the_last_one_known_is_that_day_still() -> None:
    today = Climb(MONDAY, 1, 7)
    assert climb(today, MONDAY - DAY) == today
    assert climb(today, MONDAY) == today
