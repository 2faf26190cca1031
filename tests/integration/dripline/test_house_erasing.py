"""The house forgets in rounds: each ends however much is appended, redoes nothing, and notes nobody whose traces it has not reached."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from dripline.erasing import SERVICES, HouseErasing
from services.console.pages import IsTheirs
from shared.clock import FakeClock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.erasing import Marks, bury
from shared.errors import Outage
from shared.signing import Signer
from shared.wire import Erasure

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


class Place:
    """How far a group is, moved by hand."""

    offset = 0

    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return self.offset


class Room:
    """Something beside database and log that may refuse; it counts how often it was asked in earnest."""

    def __init__(self) -> None:
        self.refuses = False
        self.forgot = 0

    def forget(self, is_theirs: IsTheirs) -> int:
        if self.refuses:
            raise Outage("not now")
        self.forgot += 1
        return 1


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(f"sqlite+aiosqlite:///{folder / 'state.db'}")
        clock = FakeClock(START)
        self.log = EmbeddedLog(folder / "log", clock)
        self.mailbox, self.sales = Room(), Room()
        self.place = Place()
        self.log.subscribe("scoring", "events", self.place)
        rooms = {"Mailbox": self.mailbox.forget, "Sales inbox": self.sales.forget}
        self.erasing = HouseErasing(self.database, self.log, clock, Marks(Signer(b"secret")), rooms)

    async def say(self, *lead_ids: str) -> None:
        for lead_id in lead_ids:
            await self.log.append("events", [(lead_id, b'{"about":"%s"}' % lead_id.encode())])

    async def erased_by_all_services(self, lead_id: str) -> None:
        async with self.database.transaction() as connection:
            for service in SERVICES:
                await bury(connection, service, Erasure(erased=lead_id, at=START, lead_ids=[lead_id], marks=[]), {}, START)

    async def removed(self, lead_id: str) -> dict[str, int] | None:
        found = await self.erasing.of(lead_id)
        return found["removed"] if found else None

    def segments(self) -> list[int]:
        return sorted(int(path.stem) for path in (self.folder / "log" / "events" / "0").glob("*.log"))

    async def has_to_wait(self) -> None:
        with pytest.raises(Outage):
            await self.erasing.look()


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = Home(tmp_path)
    async with home.database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    yield home
    await home.log.close()
    await home.database.close()


async def test_steady_traffic_keeps_no_erasing_waiting(home: Home) -> None:
    await home.say("ana", "bob")
    await home.erased_by_all_services("ana")
    for handled in (0, 1, 2, 3):  # the reader is always behind the log's end
        home.place.offset = handled
        assert await home.removed("ana") is None
        await home.has_to_wait()
        await home.say("bob")
    home.place.offset = 4
    await home.erasing.look()
    assert await home.removed("ana") == {"Mailbox": 1, "Sales inbox": 1, "log": 1}
    assert len(home.segments()) == 2


async def test_who_becomes_due_in_the_midst_of_a_round_is_forgotten_with_all_that_lies_behind_its_end(home: Home) -> None:
    await home.say("ana")
    await home.erased_by_all_services("ana")
    await home.has_to_wait()
    await home.say("eve")
    await home.erased_by_all_services("eve")
    home.place.offset = 1
    await home.has_to_wait()
    await home.say("eve")
    home.place.offset = 2
    await home.erasing.look()
    assert await home.removed("ana") is not None
    assert await home.removed("eve") is None
    home.place.offset = 3
    await home.erasing.look()
    assert await home.removed("eve") == {"Mailbox": 1, "Sales inbox": 1, "log": 2}


async def test_what_is_done_of_a_round_is_not_done_again_while_the_rest_waits(home: Home) -> None:
    await home.say("ana")
    home.place.offset = 1
    await home.erased_by_all_services("ana")
    home.sales.refuses = True
    for _ in range(3):
        await home.has_to_wait()
        await home.say("bob")
    assert home.segments() == [0, 1]
    home.sales.refuses = False
    await home.erasing.look()
    assert (home.mailbox.forgot, home.sales.forgot, home.segments()) == (1, 1, [0, 1])
    assert await home.removed("ana") == {"Mailbox": 1, "Sales inbox": 1, "log": 1}


async def test_a_restart_begins_a_round_anew(home: Home) -> None:
    await home.say("ana")
    await home.erased_by_all_services("ana")
    await home.has_to_wait()
    home.place.offset = 1
    rooms = {"Mailbox": home.mailbox.forget}
    again = HouseErasing(home.database, home.log, FakeClock(START), Marks(Signer(b"secret")), rooms)
    await again.look()
    assert await home.removed("ana") == {"Mailbox": 1, "log": 1}
