"""Two leads turn out to be one person: their walks, their history and what they did lately become one, whatever comes first.

What scoring tells of a merge and what it tells of the other lead lie in two partitions: either may be handled first, by either replica.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import pytest

from services.journeys.tables import LEADS, RECENT
from shared import wire
from tests.builders import a_lead
from tests.journeys_house import House

CART = """
journey: cart
trigger: {event: Cart Updated, key: event.properties.cart}
reentry: always
on_repeat: reset_timer
goal: {event: Order Completed, match_key: event.properties.cart, within: 7d}
steps: [{wait: 1h}, {id: reminder, send: cart-1}, {wait: 1d}, {send: cart-2}]
"""
WELCOME = "journey: welcome\ntrigger: {event: Signed Up}\nsteps: [{send: hello}]"
WEEKLY = "journey: weekly\ntrigger: {event: Read, key: event.properties.page}\nreentry: always\ngap: 7d\nsteps: [{send: more}]"
KNOWN, ANONYMOUS = "known", "anonymous"


class Replicas:
    """Two journeys on one database, as two replicas are."""

    def __init__(self, one: House, two: House) -> None:
        self.one, self.two = one, two

    def an_activity(self, name: str, lead: str, **more: object) -> wire.Activity:
        return self.one.an_activity(name, lead=a_lead(id=lead), **more)  # type: ignore[arg-type]

    def a_merge(self) -> wire.Activity:
        return wire.replace(self.an_activity("Lead Merged", KNOWN), merged_from=ANONYMOUS)

    @property
    def sends(self) -> list[wire.Send]:
        return [*self.one.sends, *self.two.sends]


@pytest.fixture
async def replicas(tmp_path: Path, database_kind: str) -> AsyncIterator[Replicas]:
    one, two = House(tmp_path, CART, WELCOME, WEEKLY), House(tmp_path)
    two.clock = one.clock
    two.build()
    await one.open()
    yield Replicas(one, two)
    await one.audit()
    for house in (one, two):
        await house.database.close()


async def test_what_the_two_did_counts_as_one_leads_doing(replicas: Replicas) -> None:
    house = replicas.one
    await house.happens("Signed Up", lead=a_lead(id=ANONYMOUS))
    await house.happens("Read", lead=a_lead(id=ANONYMOUS), page="a")
    await house.handle(replicas.a_merge())
    for lead in (KNOWN, ANONYMOUS):
        await house.happens("Signed Up", lead=a_lead(id=lead))
        await house.happens("Read", lead=a_lead(id=lead), page="b")
    walks = {(row.journey, row.lead_id, row.key) for row in await house.enrollments()}
    assert walks == {("welcome", KNOWN, None), ("weekly", KNOWN, "a")}
    house.passes("7d")
    await house.happens("Read", lead=a_lead(id=KNOWN), page="c")
    assert house.sent == ["hello", "more", "more"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_a_merge_and_what_both_did_may_be_handled_in_any_order_by_any_replica(replicas: Replicas, order: tuple[int, ...]) -> None:
    batches = [
        [replicas.an_activity("Cart Updated", ANONYMOUS, cart="c1", value=50), replicas.an_activity("Page Viewed", ANONYMOUS)],
        [replicas.an_activity("Page Viewed", KNOWN), replicas.an_activity("Cart Updated", KNOWN, ago="10m", cart="c1", value=20)],
        [replicas.a_merge()],
    ]
    for turn, number in enumerate(order):
        await (replicas.one, replicas.two)[turn % 2].handle(*batches[number])
    for number in order:
        await replicas.two.handle(*batches[number])  # redelivered
    rows = await replicas.one.rows(LEADS)
    assert {row.lead_id: (row.sequence, row.gaps, row.merged_into) for row in rows} == {KNOWN: (3, "", None), ANONYMOUS: (2, "", KNOWN)}
    active = [row for row in await replicas.one.enrollments() if row.status == "active"]
    assert [(row.lead_id, row.key) for row in active] == [(KNOWN, "c1")]
    replicas.one.passes("1h")
    for house in (replicas.two, replicas.one):
        await house.tick()
    (send,) = replicas.sends
    assert (send.lead_id, send.entry.properties["value"]) == (KNOWN, 50)


async def test_activities_of_the_other_lead_keep_their_own_numbers_after_the_merge(replicas: Replicas) -> None:
    first, second, third = (replicas.an_activity("Cart Updated", ANONYMOUS, cart=f"c{number}", value=50) for number in range(3))
    await replicas.one.handle(third)
    await replicas.one.handle(replicas.a_merge())
    (row,) = [row for row in await replicas.one.rows(LEADS) if row.lead_id == ANONYMOUS]
    assert (row.sequence, row.gaps) == (3, "[[1, 2]]")
    await replicas.two.handle(second)
    await replicas.one.handle(second, first)
    (row,) = [row for row in await replicas.one.rows(LEADS) if row.lead_id == ANONYMOUS]
    assert (row.sequence, row.gaps) == (3, "")
    assert sorted((one.lead_id, one.key) for one in await replicas.one.enrollments()) == [(KNOWN, f"c{number}") for number in range(3)]


@pytest.mark.parametrize("first", ["the wake-up", "the merge"])
async def test_a_wake_up_and_a_merge_may_come_in_either_order(replicas: Replicas, first: str) -> None:
    await replicas.one.handle(replicas.an_activity("Cart Updated", ANONYMOUS, cart="c1", value=50))
    await replicas.one.handle(replicas.an_activity("Cart Updated", KNOWN, cart="c2", value=50))
    replicas.one.passes("1h")
    steps = [replicas.two.tick(), replicas.one.handle(replicas.a_merge())]
    for step in steps if first == "the wake-up" else reversed(steps):
        await step
    await replicas.one.tick()
    assert sorted(send.key or "" for send in replicas.sends) == ["c1", "c2"]
    assert {row.lead_id for row in await replicas.one.enrollments()} == {KNOWN}
    await replicas.one.handle(replicas.an_activity("Order Completed", ANONYMOUS, cart="c1"))
    ended = {row.key: (row.status, row.reason) for row in await replicas.one.enrollments()}
    assert ended == {"c1": ("exited", "goal"), "c2": ("active", None)}


@pytest.mark.parametrize("told_of", [KNOWN, ANONYMOUS])
async def test_a_mail_asked_for_before_the_merge_is_settled_by_either_id(replicas: Replicas, told_of: str) -> None:
    await replicas.one.handle(replicas.an_activity("Cart Updated", ANONYMOUS, cart="c1", value=50))
    replicas.one.passes("1h")
    await replicas.one.tick()
    await replicas.two.handle(replicas.a_merge())
    (send,) = replicas.one.sends
    told = {"enrollment_id": send.enrollment_id, "transition": send.transition}
    await replicas.one.handle(replicas.an_activity("Email Sent", told_of, **told))
    (row,) = await replicas.one.enrollments()
    assert (row.lead_id, row.step, row.wake_at) == (KNOWN, "steps.2", replicas.one.clock.now() + timedelta(days=1))


async def test_a_purchase_kept_of_the_other_lead_is_kept_of_the_survivor(replicas: Replicas) -> None:
    await replicas.one.handle(replicas.an_activity("Order Completed", ANONYMOUS, cart="c1"))
    await replicas.two.handle(replicas.a_merge())
    assert [row.lead_id for row in await replicas.one.rows(RECENT)] == [KNOWN]
    await replicas.one.handle(replicas.an_activity("Cart Updated", KNOWN, ago="1h", cart="c1", value=50))
    (row,) = await replicas.one.enrollments()
    assert (row.status, row.reason) == ("exited", "goal")


async def test_three_leads_that_become_one_within_a_batch_leave_everything_with_the_last(replicas: Replicas) -> None:
    house = replicas.one
    for lead in ("one", "two", "three"):
        await house.happens("Cart Updated", lead=a_lead(id=lead), cart=lead, value=50)
        await house.happens("Order Completed", lead=a_lead(id=lead), cart=f"{lead}'s")
    two = wire.replace(house.an_activity("Lead Merged", lead=a_lead(id="two")), merged_from="one")
    three = wire.replace(house.an_activity("Lead Merged", lead=a_lead(id="three")), merged_from="two")
    await house.handle(two, three)
    for table in (await house.enrollments(), await house.rows(RECENT)):
        assert {row.lead_id for row in table} == {"three"}


async def test_two_hundred_pairs_that_merge_while_they_shop_lose_nothing(replicas: Replicas) -> None:
    houses = (replicas.one, replicas.two)
    pairs = [(f"k{number}", f"a{number}") for number in range(200)]
    carts = [replicas.one.an_activity("Cart Updated", lead=a_lead(id=lead), cart=lead, value=50) for pair in pairs for lead in pair]
    merges = [
        wire.replace(replicas.one.an_activity("Lead Merged", lead=a_lead(id=known)), merged_from=anonymous) for known, anonymous in pairs
    ]
    bought = [replicas.one.an_activity("Order Completed", lead=a_lead(id=anonymous), cart=anonymous) for _, anonymous in pairs]
    records = [*carts[::2], *merges[::2], *bought, *carts[1::2], *merges[1::2]]
    for place in range(0, len(records), 90):
        await houses[place // 90 % 2].handle(*records[place : place + 90])
    replicas.one.passes("1h")
    for house in houses:
        await house.tick()
    rows = await replicas.one.enrollments()
    assert {row.lead_id for row in rows} == {known for known, _ in pairs}
    assert {row.key for row in rows if row.status == "active"} == {known for known, _ in pairs}
    assert sorted(send.key or "" for send in replicas.sends) == sorted(known for known, _ in pairs)
