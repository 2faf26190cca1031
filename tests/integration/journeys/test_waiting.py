"""The waiting steps on a real database: what they wait for, and what they remember, outlives every restart."""

import pytest

from services.journeys.tables import LEADS, RECENT
from shared import wire
from tests.builders import a_lead
from tests.integration.journeys.conftest import Opens
from tests.journeys_house import House

TASTING = """
journey: tasting
trigger: {event: Guide Taken, key: event.properties.tea}
on_repeat: reset_timer
steps:
  - {wait: 1h}
  - id: seat
    wait_for:
      - {event: Seat Taken, match_key: event.properties.tea, do: [{send: welcome}]}
      - {when: lead.hot, do: [{send: hot}]}
    timeout: 2d
    reset_on: {event: Page Viewed}
    on_timeout: [{send: reminder}]
  - {id: last, send: last}
"""

SALES = """
journey: sales
trigger: {event: Guide Taken}
steps:
  - {update: {traits: {stage: "=entry.properties.tea"}, tags: {add: [handed-over]}}}
  - {id: call, handoff: sales, sla: {within: 4h, hours: working}, do: [{send: accepted}], on_timeout: [{send: expired}]}
"""


async def a_waiting(opens: Opens) -> House:
    """A walk that stands in its wait for a seat."""
    house = await opens(TASTING)
    await house.happens("Guide Taken", tea="green")
    house.passes("1h")
    await house.tick()
    await house.restart()
    return house


async def test_an_event_ends_a_wait_that_a_restart_lies_in(opens: Opens) -> None:
    house = await a_waiting(opens)
    house.passes("5h")
    await house.happens("Seat Taken", tea="green")
    await house.restart()
    await house.settles()
    assert house.sent == ["welcome", "last"]
    (send,) = [send for send in house.sends if send.template == "last"]
    assert send.steps["seat"]["event"]["name"] == "Seat Taken"


async def test_a_timeout_is_kept_over_restarts_and_a_reset_begins_it_anew(opens: Opens) -> None:
    house = await a_waiting(opens)
    house.passes("47h")
    await house.happens("Page Viewed")
    await house.restart()
    house.passes("2h")
    await house.tick()
    assert house.sent == []
    house.passes("46h")
    await house.tick()
    assert house.sent == ["reminder"]


@pytest.mark.parametrize("late", [True, False])
async def test_rule_02_a_wait_looks_back_at_what_was_kept(opens: Opens, late: bool) -> None:
    house = await opens(TASTING)
    await house.happens("Guide Taken", tea="green")
    house.passes("90m")  # the wake-up is half an hour late, and the seat is taken meanwhile
    await house.handle(wire.replace(house.an_activity("Seat Taken", ago="5m", tea="green"), late=late))
    await house.restart()
    await house.tick()
    assert [bool(row.late) for row in await house.rows(RECENT)] == [late]
    assert house.sent == ([] if late else ["welcome"])


async def test_rule_05_a_repeat_of_the_trigger_restarts_the_timeout_over_a_restart(opens: Opens) -> None:
    house = await a_waiting(opens)
    house.passes("47h")
    await house.happens("Guide Taken", tea="green")
    await house.restart()
    house.passes("47h")
    await house.tick()
    assert house.sent == []
    house.passes("1h")
    await house.tick()
    assert house.sent == ["reminder"]


async def test_rule_11_what_the_anonymous_visitor_did_ends_the_wait_of_the_lead_it_turns_out_to_be(opens: Opens) -> None:
    house = await a_waiting(opens)
    house.passes("1h")
    await house.happens("Seat Taken", lead=a_lead(id="anonymous"), tea="green")
    await house.restart()
    await house.merge("l1", "anonymous")
    assert house.sent == ["welcome"]


async def test_an_update_goes_to_the_events_and_its_walk_sees_it_after_a_restart(opens: Opens) -> None:
    house = await opens(SALES, "journey: b\ntrigger: {event: Next}\naudience: lead.traits.stage == 'green'\nsteps: [{send: green}]")
    await house.happens("Guide Taken", tea="green")
    ((key, value),) = house.log.topics[wire.EVENTS]
    event = wire.decode_event(value)
    assert (key, event.traits, event.properties["tags"]["add"]) == ("l1", {"stage": "green"}, ["handed-over"])
    (row,) = await house.rows(LEADS)
    assert wire.decode_lead(row.lead).tags == ["handed-over"]
    assert house.sends[0].lead is not None
    assert house.sends[0].lead.traits == {"stage": "green"}
    await house.restart()
    await house.handle(house.an_activity("Next", lead=a_lead(traits={"stage": "green"})))
    assert "green" in house.sent


async def test_a_hand_off_is_answered_after_a_restart(opens: Opens) -> None:
    house = await opens(SALES)
    await house.happens("Guide Taken", tea="green")
    (send,) = house.sends
    assert send.sla_working
    await house.restart()
    house.passes("3d")
    assert await house.tick() is None
    told = {"enrollment_id": send.enrollment_id, "transition": send.transition}
    await house.happens("Handoff Snoozed", **told)
    await house.happens("Handoff Accepted", **told)
    await house.happens("Handoff Expired", **told)
    assert house.sent == ["sales", "accepted"]


async def test_a_move_that_is_lost_to_another_replica_says_nothing_twice(opens: Opens) -> None:
    house = await opens("journey: a\ntrigger: {event: Seen}\nsteps: [{wait: 1h}, {update: {tags: {add: [x]}}}, {wait: 1h}]")
    await house.happens("Seen")
    house.passes("1h")
    with pytest.raises(Exception, match="moved by another"):
        await house.tick_against_another()
    await house.tick()
    assert len(house.log.topics[wire.EVENTS]) == 1
