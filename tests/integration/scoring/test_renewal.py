"""Rules that change: every lead is folded anew, in the background, while events come, over restarts; and nobody becomes hot by it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.scoring import store
from shared.wire import Activity, Event
from tests.builders import A_READINESS_YAML, NOON, an_event
from tests.scoring_house import House

DAY = timedelta(days=1)
MORE = """\
hot: 9
rearm_below: 8
hold: 14d
rules:
  - {id: demo, event: Demo Watched, add: 0.5}
  - {id: talk, event: Talked, add: 5}
  - {id: ebook, event: Ebook Downloaded, at_least: 9, half_life: 45d}
"""
"""Against the rules of the playbook guide: two rules more, and an e-book is worth 9 instead of 7."""


def now(house: House, name: str, id: str, **overrides: Any) -> Event:
    moment = house.clock.now()
    return an_event(name, id=id, at=moment, received_at=moment, **overrides)


def since(house: House, told: int) -> list[tuple[str, bool]]:
    return [(activity.event.name, activity.late) for activity in house.activities[told:]]


def changes(activities: list[Activity]) -> list[tuple[int, int]]:
    return [tuple(activity.event.properties.values()) for activity in activities if activity.event.name == "Readiness Changed"]


async def test_stored_events_count_under_new_rules_and_nobody_becomes_hot(house: House):
    await house.handle(an_event(id="a"), an_event("Demo Watched", id="b"), an_event("Ebook Downloaded", id="c", user_id="u2"))
    told = len(house.activities)
    await house.change_rules(MORE)
    await house.renew()
    lead = await house.lead()
    assert (lead["readiness"], lead["points"], lead["hot"]) == (10, 9.5, False)
    assert [(reason["rule"], reason["count"]) for reason in lead["reasons"]] == [("ebook", 1), ("demo", 1)]
    assert since(house, told) == [("Readiness Changed", True)] * 2
    await house.audit()


async def test_what_stands_above_hot_by_new_rules_becomes_hot_only_by_doing_something_that_counts(house: House):
    await house.handle(an_event(id="a"))
    await house.change_rules(MORE)
    await house.handle(now(house, "Page Viewed", "b"))
    assert not (await house.lead())["hot"]
    told = len(house.activities)
    await house.handle(now(house, "Demo Watched", "c"))
    assert since(house, told) == [("Demo Watched", False), ("Readiness Changed", False)]
    assert (await house.lead())["hot"]


async def test_an_event_on_a_lead_that_was_not_folded_anew_yet_finds_it_renewed(house: House):
    """The old evidence under the new rules must make nobody hot, nor start what waits for a readiness."""
    await house.handle(an_event(id="a"), an_event("Talked", id="t"))
    told = len(house.activities)
    await house.change_rules(MORE)
    await house.handle(now(house, "Page Viewed", "b"))
    assert since(house, told) == [("Readiness Changed", True), ("Page Viewed", False)]
    assert not house.activities[-1].lead.hot
    assert house.activities[-1].lead.points == 14


async def test_a_hot_lead_that_is_not_any_more_can_become_hot_again(house: House):
    await house.handle(an_event("Link Clicked", properties={"paid": True}))
    assert (await house.lead())["hot"]
    await house.change_rules(A_READINESS_YAML.replace("at_least: 9", "at_least: 5"))
    await house.renew()
    assert not (await house.lead())["hot"]
    await house.change_rules(A_READINESS_YAML)
    await house.renew()
    lead = await house.lead()
    assert (lead["readiness"], lead["hot"]) == (9, False)
    assert changes(house.activities) == [(1, 9), (9, 5), (5, 9)]


async def test_a_hot_lead_that_stays_so_stays_hot_and_nothing_is_told(house: House):
    await house.handle(an_event("Link Clicked", properties={"paid": True}))
    told = len(house.activities)
    await house.change_rules(A_READINESS_YAML.replace("at_least: 7", "at_least: 6"))
    await house.renew()
    assert (await house.lead())["hot"]
    assert since(house, told) == []


async def test_all_leads_are_renewed_a_few_at_a_time_and_the_rest_after_a_restart(house: House, tmp_path: Path):
    await house.handle(*[an_event("Talked", id=f"e{number}", user_id=f"u{number}") for number in range(250)])
    await house.change_rules(MORE)
    begun = await house.renewal.step(house.clock.now())
    assert begun is not None
    house.clock.advance(begun - house.clock.now())
    await house.renewal.step(house.clock.now())
    (line,) = [check for check in (await house.get("/api/audit"))["checks"] if check["name"] == "leads renewed after a change of rules"]
    assert line["detail"].startswith("150 ")
    other = House(tmp_path, house.clock)
    await other.handle(now(other, "Demo Watched", "late-comer", user_id="u249"))
    await other.renew()
    assert len(changes(other.activities)) == 151
    assert {tuple(change) for change in changes(house.activities + other.activities)} == {(1, 5), (5, 6)}
    await other.close()


async def test_a_record_of_many_pages_is_renewed_whole(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "PAGE", 3)
    await house.handle(*[an_event("Talked", id=f"e{number}", at=NOON - timedelta(hours=number % 4)) for number in range(20)])
    await house.change_rules(MORE)
    assert [reason["count"] for reason in (await house.lead())["reasons"]] == [20]


async def test_both_looks_at_a_lead_are_by_the_new_rules_at_once(house: House):
    await house.handle(an_event("Talked", id="a"))
    await house.change_rules(MORE)
    told = len(house.activities)
    (item,) = (await house.get("/api/leads", user_id="u1"))["items"]
    assert (item["points"], (await house.lead())["points"]) == (5, 5)
    assert len(house.activities) == told


async def test_fading_that_comes_before_the_renewal_is_by_the_new_rules_and_late(house: House):
    await house.handle(an_event(id="a"))
    await house.change_rules(MORE)
    await house.pass_time(20 * DAY)
    assert [(activity.event.properties["after"], activity.late) for activity in house.activities[-2:]] == [(9, True), (8, False)]


async def test_orders_are_reckoned_anew_when_their_rule_changes(house: House):
    await house.handle(an_event("Order Completed", id="a", properties={"total": 30, "net": 25}), an_event("Order Completed", id="b"))
    rule = "orders: {event: Order Completed, amount: event.properties.%s}\n"
    for amount, expected in (("total", 30.0), ("net", 25.0)):
        await house.change_rules(A_READINESS_YAML, rule % amount)
        await house.renew()
        assert (await house.lead())["orders"] == {"count": 2, "total": expected, "last_at": "2027-03-01T12:00:00Z"}


async def test_another_comment_in_the_file_renews_nobody(house: House):
    await house.handle(an_event(id="a"))
    await house.renew()
    told = len(house.activities)
    await house.change_rules("# as it was\n" + A_READINESS_YAML.replace("hot: 9 ", "hot:   9 "))
    assert await house.renewal.step(house.clock.now()) is None
    assert len(house.activities) == told


async def test_a_merged_lead_is_renewed_with_what_both_did(house: House):
    await house.handle(an_event("Talked", id="a"), an_event("Demo Watched", id="b", user_id=None, anonymous_id="d"))
    await house.change_rules(MORE)
    await house.handle(now(house, "", "tie", type="identify", anonymous_id="d"))
    assert (await house.lead())["points"] == 5.5
    await house.renew()
    assert (await house.lead())["points"] == 5.5


async def test_consent_and_traits_stay_as_they_were_said(house: House):
    said = {"email": "ana@example.com", "consent": True, "plan": "pro"}
    await house.handle(an_event("", id="a", type="identify", traits=said, trusted=True))
    before = await house.lead()
    await house.change_rules(MORE)
    await house.renew()
    assert await house.lead() == before
    assert before["created_at"] == NOON.isoformat().replace("+00:00", "Z")
