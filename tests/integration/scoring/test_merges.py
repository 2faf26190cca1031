"""Merges under load from two sides: two replicas with databases of their own on one file, and nothing of anybody is lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import Outage
from shared.wire import Event
from tests.builders import NOON, an_event
from tests.scoring_house import House

USERS = ("u0", "u1", "u2")


@pytest.fixture
async def two(tmp_path: Path, database_kind: str) -> AsyncIterator[tuple[House, House]]:
    """Two replicas on one file; at the end the books must balance."""
    one, other = House(tmp_path), House(tmp_path)
    await one.open()
    await other.ports.keys.reload()
    yield one, other
    await one.audit()
    await one.close()
    await other.close()


async def work_through(house: House, events: Sequence[Event], size: int) -> None:
    for first in range(0, len(events), size):
        while not await tried(house, events[first : first + size]):
            pass


async def tried(house: House, events: Sequence[Event]) -> bool:
    """As a consumer does: what the other replica was faster at is an outage, and tried again."""
    try:
        await house.handle(*events)
    except Outage:
        return False
    return True


def identify(id: str, *, minute: int = 0, **fields: object) -> Event:
    at = NOON + timedelta(minutes=minute)
    return an_event("", id=id, type="identify", at=at, received_at=at, **fields)


def alias(id: str, user: str, previous: str) -> Event:
    return an_event("", id=id, type="alias", user_id=user, previous_id=previous, trusted=True)


def doings(chance: random.Random, count: int) -> list[Event]:
    """What three people do on six devices, here signed in and there not."""
    found = []
    for number in range(count):
        device = chance.randrange(6)
        ids = chance.choice([{"user_id": None}, {"anonymous_id": None}])
        fields = {"user_id": f"u{device % 3}", "anonymous_id": f"d{device}", "properties": {"path": "/pricing"}} | ids
        at = NOON - timedelta(hours=chance.randrange(500))
        name = chance.choice(["Ebook Downloaded", "Webinar Attended", "Page Viewed"])
        found.append(an_event(name, id=f"e{number}", at=at, received_at=at, **fields))
    return found


async def recorded(house: House, like: str) -> int:
    async with house.database.reading() as connection:
        found = await connection.exec_driver_sql(f"SELECT count(*) FROM scoring_event WHERE id LIKE '{like}' AND id NOT LIKE '%.%'")
        return int(found.scalar_one())


async def outcome(house: House) -> list[object]:
    leads = [await house.lead(user) for user in USERS]
    return [(lead["points"], lead["reasons"], lead["email"], lead["consent"]) for lead in leads]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_devices_that_join_from_two_sides_lose_neither_event_nor_consent(two: tuple[House, House], tmp_path: Path, seed: int):
    chance = random.Random(seed)
    ties = [identify(f"tie{device}", user_id=f"u{device % 3}", anonymous_id=f"d{device}") for device in range(6)]
    said = [{"email": f"{user}@example.com", "consent": True} for user in USERS]
    consents = [
        identify(f"said{number}", user_id=None, anonymous_id=f"d{number}", traits=said[number], trusted=True) for number in range(3)
    ]
    crowd = [*doings(chance, 150), *ties, *consents]
    (tmp_path / "straight").mkdir()
    straight = House(tmp_path / "straight")
    await straight.open()
    await straight.handle(*crowd)
    again = [*crowd, *chance.sample(crowd, 60)]
    chance.shuffle(again)
    await asyncio.gather(*(work_through(house, again[side::2], size) for side, (house, size) in enumerate(zip(two, (3, 5), strict=True))))
    assert await outcome(two[0]) == await outcome(straight)
    assert (await recorded(two[0], "e%"), await recorded(two[0], "tie%"), await recorded(two[0], "said%")) == (150, 6, 3)
    await straight.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_aliases_that_cross_and_chain_from_two_sides_make_one_lead_that_has_it_all(two: tuple[House, House], seed: int):
    chance = random.Random(seed)
    crowd = doings(chance, 90)
    chains = [alias("a1", "u1", "u0"), alias("a2", "u0", "u1"), alias("a3", "u2", "u1"), alias("a4", "u1", "u2")]
    ties = [identify(f"tie{device}", user_id=f"u{device % 3}", anonymous_id=f"d{device}") for device in range(6)]
    sides = ([*crowd[::2], *chains[::2], *ties[::2]], [*crowd[1::2], *chains[1::2], *ties[1::2]])
    for side in sides:
        chance.shuffle(side)
    await asyncio.gather(*(work_through(house, side, 2) for house, side in zip(two, sides, strict=True)))
    leads = {(await two[0].lead(user))["id"] for user in USERS}
    assert len(leads) == 1
    events = (await two[0].get(f"/api/leads/{leads.pop()}/events", limit=500))["items"]
    assert len([item for item in events if item["id"].startswith("e") and "." not in item["id"]]) == 90
    async with two[0].database.reading() as connection:
        living = (await connection.exec_driver_sql("SELECT count(*) FROM scoring_lead WHERE merged_into IS NULL")).scalar_one()
        assert (living, await recorded(two[0], "a_")) == (1, 4)


async def test_the_same_first_sight_on_both_sides_makes_one_lead(two: tuple[House, House]):
    first = [an_event("Webinar Attended", id=f"e{number}", user_id="u1", anonymous_id=f"d{number % 4}") for number in range(40)]
    await asyncio.gather(*(work_through(house, events, 1) for house, events in zip(two, (first, first[::-1]), strict=True)))
    created = [activity for house in two for activity in house.activities if activity.event.name == "Lead Created"]
    assert len({activity.lead.id for activity in created}) == len(created) == 1
    assert await recorded(two[0], "e%") == 40
