"""Clocks: sped up, carried on from elsewhere, and never backwards."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import FakeClock, SystemClock

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


class Machine:
    """A machine whose wall clock somebody sets and whose monotonic clock nobody can."""

    def __init__(self) -> None:
        self.wall = START.timestamp()
        self.steady = 5000.0

    def clock(self, speed: float = 1.0, origin: datetime | None = None) -> SystemClock:
        return SystemClock(speed, origin, lambda: self.wall, lambda: self.steady)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def jumps(self, by: timedelta) -> None:
        self.wall += by.total_seconds()


def after(**parts: float) -> datetime:
    return START + timedelta(**parts)


def test_a_day_passes_in_a_minute():
    machine = Machine()
    clock = machine.clock(1440)
    machine.passes(60)
    assert clock.now() == after(days=1)
    assert clock.seconds_until(after(days=2)) == 60


def test_a_wall_set_back_a_little_stops_time_until_it_has_caught_up():
    machine = Machine()
    clock = machine.clock()
    machine.passes(100)
    late = clock.now()
    machine.jumps(timedelta(seconds=-50))
    assert clock.now() == late
    machine.passes(51)
    assert clock.now() == late + timedelta(seconds=1)


def test_a_wall_set_ahead_a_little_is_followed_at_once():
    machine = Machine()
    clock = machine.clock()
    machine.jumps(timedelta(seconds=60))
    assert clock.now() == after(seconds=60)


def test_a_wall_that_jumps_ahead_and_back_is_never_followed():
    machine = Machine()
    clock = machine.clock()
    machine.jumps(timedelta(days=8))
    assert clock.now() == START
    machine.passes(59)
    assert clock.now() == after(seconds=59)
    machine.jumps(timedelta(days=-8))
    machine.passes(3600)
    assert clock.now() == after(seconds=3659)


def test_a_wall_that_stays_ahead_for_a_minute_is_followed_as_after_a_machines_sleep():
    machine = Machine()
    clock = machine.clock()
    machine.jumps(timedelta(days=8))
    clock.now()
    machine.passes(60)
    assert clock.now() == after(days=8, seconds=60)
    machine.passes(5)
    assert clock.now() == after(days=8, seconds=65)


def test_a_wall_that_keeps_jumping_has_its_minute_begin_anew():
    machine = Machine()
    clock = machine.clock()
    for _ in range(10):
        machine.jumps(timedelta(days=1))
        clock.now()
        machine.passes(50)
    assert clock.now() == after(seconds=500)
    machine.passes(10)
    assert clock.now() == after(days=10, seconds=510)


def test_each_jump_has_to_prove_itself():
    machine = Machine()
    clock = machine.clock()
    for day in (1, 2):
        machine.jumps(timedelta(days=1))
        assert clock.now() < after(days=day)
        machine.passes(60)
        assert clock.now() > after(days=day)


def test_a_wall_set_far_back_neither_stops_time_nor_turns_it():
    machine = Machine()
    clock = machine.clock()
    machine.passes(100)
    machine.jumps(timedelta(days=-8))
    assert clock.now() == after(seconds=100)
    machine.passes(3600)
    assert clock.now() == after(seconds=3700)
    machine.jumps(timedelta(days=8, seconds=10))
    assert clock.now() == after(seconds=3710)


def test_a_jump_holds_at_any_speed():
    machine = Machine()
    clock = machine.clock(1440)
    machine.jumps(timedelta(hours=1))
    machine.passes(1)
    assert clock.now() == after(minutes=24)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 100)), max_size=30), st.sampled_from([0.5, 1.0, 1440.0]))
def test_time_never_runs_backwards_whatever_the_wall_does(story: list[tuple[float, float]], speed: float):
    machine = Machine()
    clock = machine.clock(speed)
    latest = clock.now()
    for jump, seconds in story:
        machine.jumps(timedelta(seconds=jump))
        machine.passes(seconds)
        now = clock.now()
        assert now >= latest
        latest = now


def test_it_goes_on_from_where_another_clock_was():
    machine = Machine()
    clock = machine.clock(2, after(days=365))
    machine.passes(10)
    assert clock.now() == after(days=365, seconds=20)


def test_what_has_passed_is_not_slept_for():
    assert Machine().clock().seconds_until(START - timedelta(days=1)) == 0
    assert FakeClock(START).seconds_until(START - timedelta(days=1)) == 0


def test_a_fake_clock_moves_when_told():
    clock = FakeClock(START)
    clock.advance(timedelta(hours=1))
    assert clock.now() == START + timedelta(hours=1)
    assert clock.seconds_until(START + timedelta(hours=2)) == 3600
