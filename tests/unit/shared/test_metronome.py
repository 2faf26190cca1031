"""The beat of the schedulers: on time, woken early, and stopped by nothing that a beat may meet."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from shared.clock import FakeClock
from shared.errors import Outage
from shared.metronome import LONGEST_SLEEP, Metronome

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
SHORT = LONGEST_SLEEP / 2


class Beats:
    """A tick that remembers when it was called, and answers what the test says."""

    def __init__(self, answer: Callable[[int], datetime | None] = lambda _: None) -> None:
        self.at: list[datetime] = []
        self._answer = answer
        self._called = asyncio.Condition()

    async def __call__(self, now: datetime) -> datetime | None:
        async with self._called:
            self.at.append(now)
            self._called.notify_all()
        return self._answer(len(self.at))

    async def reach(self, count: int, seconds: float) -> None:
        """Returns at the `count`th call; raises TimeoutError where it does not come in time."""
        async with asyncio.timeout(seconds), self._called:
            await self._called.wait_for(lambda: len(self.at) >= count)


@asynccontextmanager
async def running(tick: Beats, clock: FakeClock, changes: Callable[[], int | None] = lambda: None) -> AsyncIterator[Metronome]:
    metronome = Metronome("test", clock, tick, changes)
    task = asyncio.create_task(metronome.run())
    try:
        yield metronome
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_beats_at_once_and_tells_the_time_of_its_clock():
    beats = Beats()
    async with running(beats, FakeClock(START)):
        await beats.reach(1, SHORT)
    assert beats.at == [START]


async def test_a_commit_wakes_it_before_anything_is_due():
    clock = FakeClock(START)
    beats = Beats()
    async with running(beats, clock) as metronome:
        await beats.reach(1, SHORT)
        clock.advance(timedelta(minutes=1))
        metronome.wake()
        await beats.reach(2, SHORT)
    assert beats.at == [START, START + timedelta(minutes=1)]


async def test_another_thread_may_wake_it():
    beats = Beats()
    async with running(beats, FakeClock(START)) as metronome:
        await beats.reach(1, SHORT)
        await asyncio.to_thread(metronome.wake)
        await beats.reach(2, SHORT)


async def test_what_is_due_soon_is_not_slept_over():
    beats = Beats(lambda _: START + timedelta(milliseconds=20))
    async with running(beats, FakeClock(START)):
        await beats.reach(3, SHORT)


async def test_an_outage_and_a_bug_are_told_and_stop_it_not():
    def answer(count: int) -> datetime | None:
        if count == 1:
            raise Outage("the database is away")
        if count == 2:
            raise ZeroDivisionError
        return None

    beats = Beats(answer)
    with capture_logs() as logs:
        async with running(beats, FakeClock(START)) as metronome:
            for count in (1, 2, 3):
                await beats.reach(count, SHORT)
                metronome.wake()
    assert [entry["event"] for entry in logs[:2]] == ["metronome.held", "metronome.beat_failed"]


async def test_while_nothing_is_written_and_nothing_is_due_beats_are_left_out():
    beats, changes = Beats(), [7]
    async with running(beats, FakeClock(START), lambda: changes[0]):
        await beats.reach(1, SHORT)
        with pytest.raises(TimeoutError):
            await beats.reach(2, LONGEST_SLEEP * 1.5)
        changes[0] = 8
        await beats.reach(2, LONGEST_SLEEP * 1.5)


async def test_what_comes_due_is_done_though_nothing_is_written():
    clock = FakeClock(START)
    beats = Beats(lambda count: START + timedelta(minutes=1) if count == 1 else None)
    async with running(beats, clock, lambda: 7):
        await beats.reach(1, SHORT)
        clock.advance(timedelta(minutes=1))
        await beats.reach(2, LONGEST_SLEEP * 1.5)


async def test_a_beat_that_failed_is_made_good_though_nothing_is_written():
    def answer(count: int) -> datetime | None:
        if count == 1:
            raise Outage("the database is away")
        return None

    beats = Beats(answer)
    async with running(beats, FakeClock(START), lambda: 7):
        await beats.reach(2, LONGEST_SLEEP * 1.5)


def test_one_that_never_ran_can_be_woken():
    Metronome("test", FakeClock(START), Beats()).wake()
