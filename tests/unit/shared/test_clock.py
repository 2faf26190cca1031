"""Clocks: sped up, carried on from elsewhere, and never backwards."""

from datetime import UTC, datetime, timedelta

from shared.clock import FakeClock, SystemClock

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


class Wall:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.seconds = START.timestamp()

    def __call__(self) -> float:
        return self.seconds


def test_a_day_passes_in_a_minute():
    wall = Wall()
    clock = SystemClock(1440, wall=wall)
    wall.seconds += 60
    assert clock.now() == START + timedelta(days=1)
    assert clock.seconds_until(START + timedelta(days=2)) == 60


def test_a_wall_clock_set_back_stops_time_until_it_has_caught_up():
    wall = Wall()
    clock = SystemClock(wall=wall)
    wall.seconds += 100
    late = clock.now()
    wall.seconds -= 50
    assert clock.now() == late
    wall.seconds += 51
    assert clock.now() == late + timedelta(seconds=1)


def test_it_goes_on_from_where_another_clock_was():
    wall = Wall()
    clock = SystemClock(2, START + timedelta(days=365), wall)
    wall.seconds += 10
    assert clock.now() == START + timedelta(days=365, seconds=20)


def test_what_has_passed_is_not_slept_for():
    assert SystemClock(wall=Wall()).seconds_until(START - timedelta(days=1)) == 0
    assert FakeClock(START).seconds_until(START - timedelta(days=1)) == 0


def test_a_fake_clock_moves_when_told():
    clock = FakeClock(START)
    clock.advance(timedelta(hours=1))
    assert clock.now() == START + timedelta(hours=1)
    assert clock.seconds_until(START + timedelta(hours=2)) == 3600
