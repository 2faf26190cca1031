"""The sweep beside another replica: what that one holds is left to it, without asking over and over."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from services.scoring.store import LEADS
from tests.builders import an_event
from tests.databases import KIND
from tests.scoring_house import House


async def test_while_another_replica_holds_what_is_due_the_sweep_comes_back_a_second_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KIND, "postgresql")  # SQLite locks no rows
    house = House(tmp_path)
    await house.open()
    await house.handle(an_event("Ebook Downloaded"))
    house.clock.advance(timedelta(days=365))
    now = house.clock.now()
    async with house.database.transaction() as another:
        await another.execute(select(LEADS.c.id).with_for_update())
        assert await house.sweep(now) == now + timedelta(seconds=1)
    due = await house.sweep(now)
    assert due is None or due > now + timedelta(seconds=1)
    await house.close()
