"""Two replicas of scoring have one lead in hand, from two partitions: whoever commits first, nothing of it is lost."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from shared.wire import Event
from tests.builders import an_event
from tests.integration.replicas.gates import meet, tried
from tests.scoring_house import House

Two = tuple[House, House]
A_VISIT = 0.5  # points
BOTH_ORDERS = pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])


@pytest.fixture
async def two(tmp_path: Path, database_kind: str) -> AsyncIterator[Two]:
    """Two replicas on one database; at the end the books must balance."""
    one, other = House(tmp_path), House(tmp_path)
    await one.open()
    await other.ports.keys.reload()
    yield one, other
    await one.audit()
    await one.close()
    await other.close()


async def collide(two: Two, first: Sequence[Event], second: Sequence[Event], *, turned: bool) -> None:
    """Each replica handles its batch, the one in the midst of the other's; `turned`: the other way round."""
    ahead, behind = (second, first) if turned else (first, second)
    one, other = two
    await meet(one.outbox, lambda: one.handle(*ahead), lambda: other.handle(*behind), other.database)


def tie() -> Event:
    return an_event("", id="tie", type="identify", user_id="u1", anonymous_id="d1")


def visit(id: str, **whose: str | None) -> Event:
    return an_event("Page Viewed", id=id, properties={"path": "/pricing"}, **whose)


@BOTH_ORDERS
async def test_a_first_sight_on_both_sides_makes_one_lead_with_both_events(two: Two, turned: bool) -> None:
    await collide(two, [visit("a", user_id="u1")], [visit("b", user_id="u1", anonymous_id="d1")], turned=turned)
    lead = await two[0].lead("u1")
    assert lead["points"] == pytest.approx(2 * A_VISIT)
    created = [activity.lead.id for house in two for activity in house.activities if activity.event.name == "Lead Created"]
    assert created == [lead["id"]]


@BOTH_ORDERS
async def test_a_merge_loses_no_evidence_that_comes_to_the_other_lead_meanwhile(two: Two, turned: bool) -> None:
    await two[0].handle(visit("known", user_id="u1"), visit("unknown", user_id=None, anonymous_id="d1"))
    await collide(two, [tie()], [visit("meanwhile", user_id=None, anonymous_id="d1")], turned=turned)
    lead = await two[0].lead("u1")
    assert lead["points"] == pytest.approx(3 * A_VISIT)
    ids = {item["id"] for item in (await two[0].get(f"/api/leads/{lead['id']}/events", limit=50))["items"]}
    assert ids >= {"known", "unknown", "meanwhile", "tie"}


@BOTH_ORDERS
async def test_the_same_event_on_both_sides_counts_once(two: Two, turned: bool) -> None:
    await collide(two, [visit("same", user_id="u1")], [visit("same", user_id="u1"), visit("next", user_id="u1")], turned=turned)
    assert (await two[0].lead("u1"))["points"] == pytest.approx(2 * A_VISIT)


@BOTH_ORDERS
async def test_activities_of_both_sides_are_numbered_without_holes(two: Two, turned: bool) -> None:
    await two[0].handle(visit("first", user_id="u1"))
    await collide(two, [visit("a", user_id="u1")], [visit("b", user_id="u1")], turned=turned)
    numbers = sorted(activity.sequence for house in two for activity in house.activities)
    assert numbers == list(range(1, len(numbers) + 1))


async def test_what_comes_while_a_lead_is_erased_is_either_erased_with_it_or_belongs_to_a_new_one(two: Two) -> None:
    one, other = two
    await one.handle(visit("before", user_id="u1"))
    lead = await one.lead("u1")

    async def erase() -> None:
        answer = await one.client.delete(f"/api/leads/{lead['id']}")
        assert answer.status_code in (200, 202, 204, 503), answer.text

    late = visit("late", user_id="u1")  # of the time before the erasure
    await meet(other.outbox, lambda: other.handle(late), erase, other.database)
    await tried(erase)
    assert (await one.get("/api/leads", user_id="u1"))["items"] == []
    await tried(lambda: other.handle(visit("later", user_id="u1")))
    assert (await one.get("/api/leads", user_id="u1"))["items"] == []
