"""Chores that keep the house small and fresh: retention, key reloads, saved clocks. APScheduler rings; nothing a lead waits for is here."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]  # it ships no stubs

from shared.errors import Outage
from shared.telemetry import log as logger


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often; it must bear being late, skipped and repeated."""

    name: str
    every: timedelta
    do: Callable[[], Awaitable[object]]


async def keep_house(chores: Sequence[Chore]) -> None:
    """Ring the chores until cancelled; one that fails is logged and rung again next time."""
    scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None})
    for chore in chores:
        scheduler.add_job(_careful(chore), "interval", seconds=chore.every.total_seconds(), id=chore.name)
    scheduler.start()
    try:
        await asyncio.Event().wait()
    finally:
        scheduler.shutdown(wait=False)


def _careful(chore: Chore) -> Callable[[], Awaitable[None]]:
    async def ring() -> None:
        try:
            await chore.do()
        except Outage as outage:
            logger.warning("chore.held", chore=chore.name, why=str(outage))
        except Exception:  # noqa: BLE001 - a failing chore is tried again, and stops no other
            logger.exception("chore.failed", chore=chore.name)

    return ring
