"""The journeys that the tests of this folder work on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.journeys_house import House

Opens = Callable[..., Awaitable[House]]


@pytest.fixture
async def opens(tmp_path: Path, database_kind: str) -> AsyncIterator[Opens]:
    """Opens a house with these journeys published; at the end its books must balance."""
    opened: list[House] = []

    async def open_house(*texts: str) -> House:
        house = House(tmp_path, *texts)
        await house.open()
        opened.append(house)
        return house

    yield open_house
    for house in opened:
        if house.books_balance:
            await house.audit()
        await house.database.close()
