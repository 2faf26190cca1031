"""The database's time is everybody's under `serve`, also where this machine's own clock is wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from shared.clock import real_now
from shared.database_clock import DatabaseClock


class FakeDatabase:
    """Says how late it is, so far ahead of this machine."""

    def __init__(self, ahead: timedelta) -> None:
        self.ahead = ahead

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["FakeDatabase"]:
        yield self

    async def execute(self, _: Any) -> "FakeDatabase":
        return self

    def scalar_one(self) -> datetime:
        return real_now() + self.ahead


def is_ahead(clock: DatabaseClock, by: timedelta) -> bool:
    return abs(clock.now() - real_now() - by) < timedelta(seconds=5)


async def test_what_the_database_says_first_is_believed_at_once():
    hour = timedelta(hours=1)
    for ahead in (hour, -hour):
        clock = DatabaseClock(FakeDatabase(ahead))  # type: ignore[arg-type]
        await clock.look()
        assert is_ahead(clock, ahead)


async def test_a_later_jump_of_the_database_is_not_believed_at_once():
    database = FakeDatabase(timedelta(seconds=10))
    clock = DatabaseClock(database)  # type: ignore[arg-type]
    await clock.look()
    database.ahead = timedelta(hours=1)
    await clock.look()
    assert is_ahead(clock, timedelta(seconds=10))
