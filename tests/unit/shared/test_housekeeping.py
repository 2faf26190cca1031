"""Chores are rung again and again; one that fails stops neither itself nor another."""

import asyncio
from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from shared.errors import Outage
from shared.housekeeping import Chore, keep_house, ringing

OFTEN = timedelta(milliseconds=10)


class Rung:
    """Counts its rings, and fails as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times = 0
        self.thrice = asyncio.Event()
        self._error = error

    async def __call__(self) -> None:
        self.times += 1
        if self.times >= 3:
            self.thrice.set()
        if self._error is not None:
            raise self._error


async def test_every_chore_is_rung_again_whatever_becomes_of_it():
    chores = [Rung(), Rung(Outage("the disk is full")), Rung(ZeroDivisionError())]
    with capture_logs() as logs:
        house = asyncio.create_task(keep_house([Chore(str(number), OFTEN, rung) for number, rung in enumerate(chores)]))
        async with asyncio.timeout(10):
            for rung in chores:
                await rung.thrice.wait()
        house.cancel()
        await asyncio.gather(house, return_exceptions=True)
    told = {(entry["event"], entry["chore"]) for entry in logs}
    assert told == {("chore.held", "1"), ("chore.failed", "2")}


def test_replicas_begun_together_do_not_ring_together() -> None:
    now = datetime(2027, 3, 1, tzinfo=UTC)
    rings = [ringing(timedelta(seconds=5), 0.2).get_next_fire_time(now, now) for _ in range(20)]
    assert len(set(rings)) > 1
    assert all(timedelta(seconds=4) <= ring - now <= timedelta(seconds=6) for ring in rings)


def test_alone_it_rings_on_time() -> None:
    now = datetime(2027, 3, 1, tzinfo=UTC)
    assert ringing(timedelta(seconds=5), 0).get_next_fire_time(now, now) == now + timedelta(seconds=5)
