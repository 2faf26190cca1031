"""Two replicas of journeys have one lead in hand: a trigger and an exit, a merge and the other lead's activity, a wake and an exit."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.journeys.tables import ENROLLMENTS
from shared import wire
from tests.builders import a_lead
from tests.integration.replicas.gates import meet
from tests.journeys_house import House

CART = """
journey: cart
trigger: {event: Cart Updated}
exit_when: {event: Order Completed}
steps: [{id: pause, wait: 1h}, {id: reminder, send: reminder}]
"""
BOTH_ORDERS = pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
Two = tuple[House, House]


@pytest.fixture
async def two(tmp_path: Path, database_kind: str) -> AsyncIterator[Two]:
    """Two replicas on one database that go by one clock; at the end the books must balance."""
    one, other = House(tmp_path, CART), House(tmp_path)
    other.clock = one.clock
    other.build()
    await one.open()
    yield one, other
    await one.audit()
    for house in (one, other):
        await house.database.close()


def sent(two: Two) -> list[str]:
    return [*two[0].sent, *two[1].sent]


async def statuses(two: Two) -> list[tuple[str, str | None]]:
    return sorted((row.status, row.reason) for row in await two[0].rows(ENROLLMENTS))


async def end_of_day(two: Two) -> None:
    """Whatever was to be woken is."""
    two[0].passes("1d")
    for house in two:
        await house.tick()


@BOTH_ORDERS
async def test_an_exit_that_overtakes_its_trigger_ends_the_walk_or_keeps_it_from_beginning(two: Two, turned: bool) -> None:
    one, other = two
    trigger, leaving = one.an_activity("Cart Updated", ago="2m"), one.an_activity("Order Completed", ago="1m")
    ahead, behind = (trigger, leaving) if turned else (leaving, trigger)
    await meet(one.outbox, lambda: one.handle(ahead), lambda: other.handle(behind), other.database)
    await end_of_day(two)
    assert sent(two) == []
    assert [status for status, _ in await statuses(two)] in ([], ["exited"])


@BOTH_ORDERS
async def test_a_merge_while_the_other_leads_activity_is_in_flight_leaves_one_walk_of_the_survivor(two: Two, turned: bool) -> None:
    one, other = two
    begun = one.an_activity("Cart Updated", lead=a_lead(id="anonymous"))
    merge = wire.replace(one.an_activity("Lead Merged", lead=a_lead(id="known")), merged_from="anonymous")
    ahead, behind = (merge, begun) if turned else (begun, merge)
    await meet(one.outbox, lambda: one.handle(ahead), lambda: other.handle(behind), other.database)
    assert [(row.lead_id, row.status) for row in await one.rows(ENROLLMENTS)] == [("known", "active")]
    await end_of_day(two)
    assert [send.lead_id for house in two for send in house.sends] == ["known"]


@BOTH_ORDERS
async def test_a_wake_against_an_exit_mails_before_it_or_not_at_all(two: Two, turned: bool) -> None:
    one, other = two
    await one.happens("Cart Updated")
    one.passes("1h")
    leaving = one.an_activity("Order Completed")

    async def leave() -> None:
        await one.handle(leaving)

    async def wake() -> None:
        await other.tick()

    if turned:
        await meet(one.outbox, leave, wake, other.database)
        assert sent(two) == []
    else:
        await meet(other.outbox, wake, leave, one.database)
        assert sent(two) == ["reminder"]
    await end_of_day(two)
    assert len(sent(two)) == (0 if turned else 1)
    assert [status for status, _ in await statuses(two)] in (["exited"], ["finished"], ["completed"])


async def test_what_one_replica_wakes_the_other_leaves_alone_and_takes_the_rest(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two
    monkeypatch.setattr("services.journeys.scheduler.AT_ONCE", 3)
    await one.handle(*(one.an_activity("Cart Updated", lead=a_lead(id=f"l{number}")) for number in range(6)))
    one.passes("1h")
    await meet(one.outbox, one.tick, other.tick, other.database)
    assert (len(one.sent), len(other.sent)) in ((3, 2), (3, 3))  # a claim also looks at the next one
    await other.tick()
    assert len(sent(two)) == 6
    assert len({send.lead_id for house in two for send in house.sends}) == 6


async def test_where_all_that_is_due_is_in_hand_a_replica_comes_back_soon_and_does_not_wait(two: Two) -> None:
    one, other = two
    if one.url.startswith("sqlite"):
        pytest.skip("SQLite has one writer: the second waits for the first")
    await one.happens("Cart Updated")
    one.passes("1h")
    told = []

    async def wake() -> None:
        told.append(await other.tick())

    await meet(one.outbox, one.tick, wake, other.database)
    assert told[0] is not None
    assert 0 < (told[0] - one.clock.now()).total_seconds() < 1
    assert sent(two) == ["reminder"]
