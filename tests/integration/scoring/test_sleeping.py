"""Who sleeps: found when the time has come, told once, awake again with the event, and no storm when rules or imports come."""

from datetime import timedelta

import pytest

from shared.wire import Activity, Event
from tests.builders import A_READINESS_YAML, NOON, an_event
from tests.scoring_house import House

DAY = timedelta(days=1)
RULES = A_READINESS_YAML + "sleeping: {event: Order Completed, silent_for: 90d}\n"


@pytest.fixture
async def awake(house: House) -> House:
    await house.change_rules(RULES)
    return house


def bought(id: str = "o1", days_ago: float = 0, **overrides: object) -> Event:
    at = NOON - days_ago * DAY
    return an_event("Order Completed", id=id, at=at, received_at=overrides.pop("received_at", at), **overrides)


def falls(house: House) -> list[Activity]:
    return [activity for activity in house.activities if activity.event.name == "Lead Asleep"]


async def test_a_lead_that_bought_and_then_nothing_for_90_days_falls_asleep_once(awake: House):
    await awake.handle(bought(), an_event(id="other", user_id="never-bought"))
    await awake.pass_time(timedelta(days=89, hours=23))
    assert falls(awake) == []
    assert not (await awake.lead())["sleeping"]
    await awake.pass_time(timedelta(days=100))
    (fall,) = falls(awake)
    assert (fall.event.at - NOON, fall.event.properties, fall.lead.sleeping, fall.late) == (
        90 * DAY,
        {"last_at": "2027-03-01T12:00:00Z"},
        True,
        False,
    )
    assert [item["user_id"] for item in (await awake.get("/api/leads", sleeping=True))["items"]] == ["u1"]
    assert [item["user_id"] for item in (await awake.get("/api/leads", sleeping=False))["items"]] == ["never-bought"]


async def test_the_next_purchase_wakes_it_and_90_days_later_it_sleeps_again(awake: House):
    await awake.handle(bought())
    await awake.pass_time(91 * DAY)
    await awake.handle(bought("o2", days_ago=-91))
    assert not (await awake.lead())["sleeping"]
    assert not awake.activities[-1].lead.sleeping
    await awake.pass_time(91 * DAY)
    assert [fall.event.properties["last_at"][:10] for fall in falls(awake)] == ["2027-03-01", "2027-05-31"]


async def test_a_purchase_that_arrives_late_counts_when_it_happened(awake: House):
    await awake.handle(bought("new", days_ago=10))
    await awake.handle(bought("old", days_ago=200, received_at=NOON))
    assert falls(awake) == []
    await awake.pass_time(81 * DAY)
    (fall,) = falls(awake)
    assert fall.event.at == NOON + 80 * DAY


async def test_an_imported_past_puts_to_sleep_without_starting_anything(awake: House):
    await awake.handle(bought("old", days_ago=200, received_at=NOON, historical=True))
    assert [(fall.late, fall.lead.sleeping) for fall in falls(awake)] == [(True, True)]
    await awake.handle(bought("newer", days_ago=60, received_at=NOON, historical=True))
    assert not (await awake.lead())["sleeping"]
    await awake.pass_time(31 * DAY)
    assert [fall.late for fall in falls(awake)] == [True, False]


async def test_who_slept_already_when_the_rule_came_is_told_as_late(house: House):
    await house.handle(bought(days_ago=100), bought("o2", days_ago=50, user_id="u2"))
    await house.change_rules(RULES)
    await house.renew()
    assert [(fall.lead.user_id, fall.late) for fall in falls(house)] == [("u1", True)]
    await house.pass_time(41 * DAY)
    assert [(fall.lead.user_id, fall.late) for fall in falls(house)] == [("u1", True), ("u2", False)]


async def test_a_longer_silence_asked_for_wakes_who_has_not_been_silent_that_long(awake: House):
    await awake.handle(bought())
    await awake.pass_time(91 * DAY)
    await awake.change_rules(RULES.replace("90d", "120d"))
    await awake.renew()
    assert not awake.activities[-1].lead.sleeping
    assert awake.activities[-1].late
    await awake.pass_time(30 * DAY)
    assert len(falls(awake)) == 2


async def test_of_two_leads_that_become_one_the_one_that_bought_last_says_whether_they_sleep(awake: House):
    await awake.handle(bought(days_ago=200, received_at=NOON, historical=True), bought("o2", user_id=None, anonymous_id="d"))
    assert (await awake.lead())["sleeping"]
    await awake.handle(an_event("", id="tie", type="identify", anonymous_id="d"))
    assert not (await awake.lead())["sleeping"]
    await awake.pass_time(91 * DAY)
    assert [fall.late for fall in falls(awake)] == [True, False]


async def test_a_past_moment_shows_who_slept_then(awake: House):
    await awake.handle(bought())
    await awake.pass_time(91 * DAY)
    await awake.handle(bought("o2", days_ago=-91))
    lead = await awake.lead()
    asked = [(await awake.get(f"/api/leads/{lead['id']}", as_of=(NOON + days * DAY).isoformat()))["sleeping"] for days in (89, 90.5)]
    assert asked == [False, True]
