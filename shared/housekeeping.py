"""Chores that keep the house small and fresh: retention, key reloads, saved clocks. APScheduler rings; nothing a lead waits for is here."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]  # it ships no stubs
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

from shared.errors import Outage
from shared.instant import EPOCH
from shared.telemetry import log as logger


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often; it must bear being late, skipped and repeated."""

    name: str
    every: timedelta
    do: Callable[[], Awaitable[object]]


MEASURED = timedelta(seconds=5)
"""How often what Prometheus cannot ask for itself is measured; a period that other chores have, too."""

NIGHT = timedelta(hours=3)
"""When chores of a day or longer ring, by UTC: in all processes at the same moment, so that those that need only be done once are."""

Ring = Callable[[], Awaitable[None]]


async def keep_house(chores: Sequence[Chore], spread: float = 0.0) -> None:
    """Ring the chores until cancelled; one that fails is logged and rung again next time.

    `spread` is the share of its period by which each ring may come sooner or later, so that replicas begun together do not ring together.
    """
    scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None})
    for every in {chore.every for chore in chores}:
        together = [_careful(chore) for chore in chores if chore.every == every]
        scheduler.add_job(_all_of(together), ringing(every, spread), id=str(every))
    scheduler.start()
    try:
        await asyncio.Event().wait()
    finally:
        scheduler.shutdown(wait=False)


def ringing(every: timedelta, spread: float) -> IntervalTrigger:
    """When to ring; what has its hour has it in all replicas."""
    seconds = every.total_seconds()
    if every >= timedelta(days=1):
        return IntervalTrigger(seconds=seconds, start_date=EPOCH + NIGHT, timezone="UTC")
    return IntervalTrigger(seconds=seconds, jitter=seconds * spread or None, timezone="UTC")


def _all_of(rings: Sequence[Ring]) -> Ring:
    """What is rung equally often is rung together: a house at rest wakes up less."""

    async def ring() -> None:
        await asyncio.gather(*(ring() for ring in rings))

    return ring


def _careful(chore: Chore) -> Ring:
    async def ring() -> None:
        try:
            await chore.do()
        except Outage as outage:
            logger.warning("chore.held", chore=chore.name, why=str(outage))
        except Exception:  # noqa: BLE001 - a failing chore is tried again, and stops no other
            logger.exception("chore.failed", chore=chore.name)

    return ring
