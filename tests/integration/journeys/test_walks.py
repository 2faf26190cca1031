"""Walks on a real database: nothing is lost or done twice over restarts, redeliveries and races."""

from datetime import timedelta

import pytest

from services.journeys.tables import LEADS, RECENT
from shared import wire
from shared.dead_letters import list_dead_letters
from shared.errors import InvalidMessage, Outage
from shared.log import Record
from tests.builders import NOON, a_lead
from tests.integration.journeys.conftest import Opens

WELCOME = """
journey: welcome
trigger: {event: Signed Up}
steps:
  - {id: hello, send: hello}
  - {id: pause, wait: 2d}
  - branch:
      - {if: "lead.readiness >= 7", do: [{handoff: sales, note: "=lead.email"}]}
      - {else: [{send: tips}]}
  - wait: 1d
  - {id: last, send: last}
"""

CART = """
journey: cart
trigger: {event: Cart Updated, key: event.properties.cart, where: "event.properties.value >= 20"}
reentry: always
on_repeat: reset_timer
exit_when: [{event: Cart Emptied, match_key: event.properties.cart}]
goal: {event: Order Completed, match_key: event.properties.cart, within: 7d}
steps: [{wait: 1h}, {id: reminder, send: cart-1}, {wait: 1d}, {send: cart-2}]
"""


async def test_a_walk_goes_on_after_a_restart_at_every_step(opens: Opens) -> None:
    house = await opens(WELCOME)
    await house.happens("Signed Up", plan="pro")
    await house.restart()
    await house.settles()
    await house.restart()
    house.passes("2d")
    await house.tick()
    await house.restart()
    await house.settles()
    await house.restart()
    house.passes("1d")
    await house.tick()
    await house.restart()
    await house.settles()
    (row,) = await house.enrollments()
    assert (row.status, row.reason, row.wake_at) == ("completed", None, None)
    assert house.sent == ["hello", "tips", "last"]
    assert [send.transition for send in house.sends] == sorted({send.transition for send in house.sends})
    assert {send.entry.properties["plan"] for send in house.sends} == {"pro"}
    assert [step for step, _, _ in await house.visits()] == ["hello", "pause", "steps.2", "steps.2.branch.1.else.0", "steps.3", "last"]


async def test_a_redelivered_batch_changes_nothing(opens: Opens) -> None:
    house = await opens(WELCOME, CART)
    batch = [house.an_activity("Signed Up"), house.an_activity("Cart Updated", cart="c1", value=50), house.an_activity("Page Viewed")]
    await house.handle(*batch)
    before = (await house.enrollments(), await house.rows(LEADS), house.messages)
    await house.handle(*batch)
    await house.handle(batch[1], batch[0])
    assert (await house.enrollments(), await house.rows(LEADS), house.messages) == before


async def test_activities_in_the_wrong_order_are_each_handled_once(opens: Opens) -> None:
    house = await opens(WELCOME)
    first, second = house.an_activity("Signed Up"), house.an_activity("Page Viewed", lead=a_lead(readiness=5))
    await house.handle(second)
    (row,) = await house.rows(LEADS)
    assert (row.sequence, row.gaps) == (2, "[[1, 1]]")
    await house.handle(first)
    await house.handle(first)
    (row,) = await house.rows(LEADS)
    assert (row.sequence, row.gaps) == (2, "")
    assert wire.decode_activity(wire.encode(second)).lead.readiness == 5
    assert house.sent == ["hello"]


async def test_a_wait_does_not_fire_early(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    began = house.clock.now()
    house.passes("59m")
    assert await house.tick() == began + timedelta(hours=1)
    assert house.sent == []
    house.passes("1m")
    assert await house.tick() is None
    assert house.sent == ["cart-1"]


async def test_a_tick_with_nothing_waiting_asks_for_nothing(opens: Opens) -> None:
    assert await (await opens(CART)).tick() is None


async def test_what_is_due_together_goes_by_urgency(opens: Opens) -> None:
    journey = "journey: {0}\n{1}\ntrigger: {{event: Seen}}\nsteps: [{{wait: 1h}}, {{send: {0}}}]"
    house = await opens(
        journey.format("a", "priority: 50"),
        journey.format("b", "priority: 10"),
        journey.format("c", "category: transactional"),
        journey.format("d", ""),
    )
    for number in range(3):
        await house.happens("Seen", lead=a_lead(id=f"l{number}"))
        house.passes("1s")
    house.passes("1h")
    await house.tick()
    assert house.sent == ["c", "c", "c", "b", "b", "b", "a", "a", "a", "d", "d", "d"]
    assert [send.lead_id for send in house.sends[:3]] == ["l0", "l1", "l2"]


async def test_a_thousand_due_at_once_are_woken_in_bounded_ticks(opens: Opens) -> None:
    house = await opens(CART)
    await house.handle(*(house.an_activity("Cart Updated", lead=a_lead(id=f"l{number}"), cart="c1", value=50) for number in range(1100)))
    house.passes("1h")
    woken = []
    while (await house.tick()) is not None:
        woken.append(len(house.sent))
    assert (woken, len(house.sent), len({send.id for send in house.sends})) == ([500, 1000], 1100, 1100)


async def test_wakes_wait_while_activities_wait_longer_than_half_a_minute_but_at_most_a_quarter_of_an_hour(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    house.passes("1h")
    house.backlog_since = house.clock.now() - timedelta(seconds=31)
    assert await house.tick() == house.clock.now() + timedelta(seconds=1)
    house.passes("14m")
    await house.tick()
    assert house.sent == []
    house.passes("1m")
    await house.tick()
    assert house.sent == ["cart-1"]


async def test_the_purchase_that_scoring_has_not_folded_yet_keeps_the_mail_back(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    house.passes("2h")
    house.events_since = house.clock.now() - timedelta(hours=1)
    await house.tick()
    house.passes("1s")
    house.events_since, house.backlog_since = None, house.clock.now()
    await house.tick()
    assert house.sent == []
    await house.happens("Order Completed", cart="c1", ago="1h")
    house.backlog_since = None
    assert await house.tick() is None
    assert house.sent == []


async def test_the_purchase_that_waited_in_the_backlog_keeps_the_mail_back(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    house.passes("2h")
    house.backlog_since = house.clock.now() - timedelta(hours=1)
    await house.tick()
    await house.happens("Order Completed", cart="c1", ago="1h")
    house.backlog_since = None
    assert await house.tick() is None
    assert house.sent == []
    (row,) = await house.enrollments()
    assert (row.status, row.reason, row.converted_at) == ("exited", "goal", house.clock.now() - timedelta(hours=1))


async def test_an_exit_that_overtook_its_trigger_is_remembered_over_a_restart(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Emptied", cart="c1", ago="1m")
    await house.restart()
    await house.happens("Cart Updated", cart="c1", value=50, ago="5m")
    (row,) = await house.enrollments()
    assert (row.status, row.reason) == ("exited", "exit_when")


async def test_an_exit_that_overtook_its_trigger_within_one_batch_counts(opens: Opens) -> None:
    house = await opens(CART)
    await house.handle(
        house.an_activity("Cart Emptied", cart="c1", ago="1m"), house.an_activity("Cart Updated", cart="c1", value=50, ago="5m")
    )
    (row,) = await house.enrollments()
    assert (row.status, row.reason) == ("exited", "exit_when")


async def test_only_what_an_exit_or_goal_names_is_kept_and_not_for_ever(opens: Opens) -> None:
    house = await opens(CART)
    for name in ("Order Completed", "Page Viewed", "Unsubscribed"):
        await house.happens(name)
    assert len(await house.rows(RECENT)) == 2
    house.passes("8d")
    await house.chore("journeys recent events")
    assert await house.rows(RECENT) == []


async def test_a_goal_after_the_walk_is_counted(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    for wait in ("1h", "1d"):
        house.passes(wait)
        await house.tick()
        await house.settles()
    house.passes("1d")
    await house.happens("Order Completed", cart="c1")
    (row,) = await house.enrollments()
    assert (row.status, row.converted_at) == ("completed", house.clock.now())


async def test_a_walk_keeps_the_version_it_began_and_newcomers_get_the_newest(opens: Opens) -> None:
    house = await opens(WELCOME)
    await house.happens("Signed Up", lead=a_lead(id="old"))
    newest = await house.publish(WELCOME.replace("send: hello", "send: salut").replace("id: last, send: last", "id: last, send: adieu"))
    await house.restart()
    await house.happens("Signed Up", lead=a_lead(id="new"))
    assert house.sent == ["hello", "salut"]
    await house.settles()
    house.passes("9d")
    await house.happens(
        "Email Sent", lead=a_lead(id="old"), enrollment_id=house.sends[0].enrollment_id, transition=house.sends[0].transition
    )
    house.passes("2d")
    await house.tick()
    by_lead = {send.lead_id: send.version for send in house.sends}
    assert (by_lead["new"], by_lead["old"] != newest) == (newest, True)


async def test_a_journey_taken_out_of_the_playbook_drains(opens: Opens) -> None:
    house = await opens(WELCOME, CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    await house.publish(WELCOME)
    await house.restart()
    await house.happens("Cart Updated", cart="c2", value=50)
    house.passes("1h")
    await house.tick()
    assert house.sent == ["cart-1"]


async def test_a_version_that_cannot_be_read_stands_still_and_stops_nobody(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    await house.break_published()
    await house.publish(CART + "\n")
    await house.restart()
    await house.happens("Cart Updated", cart="c2", value=50)
    house.passes("1h")
    await house.tick()
    assert [send.key for send in house.sends] == ["c2"]


async def test_a_walk_that_cannot_move_is_put_off_and_stops_nobody(opens: Opens) -> None:
    house = await opens(CART)
    for cart in ("c1", "c2"):
        await house.happens("Cart Updated", cart=cart, value=50)
    await house.misplace("c1", step="gone")
    house.passes("1h")
    assert await house.tick() == house.clock.now() + timedelta(hours=1)
    assert [send.key for send in house.sends] == ["c2"]
    await house.misplace("c1", step="steps.0")
    house.passes("1h")
    await house.tick()
    assert [send.key for send in house.sends] == ["c2", "c1"]


async def test_a_merge_moves_enrollments_and_later_activities_of_the_old_id(opens: Opens) -> None:
    house = await opens(CART, WELCOME)
    anonymous, known = a_lead(id="anonymous", email=None), a_lead(id="known")
    await house.happens("Cart Updated", lead=anonymous, cart="c1", value=50)
    house.passes("10m")
    await house.happens("Cart Updated", lead=known, cart="c1", value=70)
    await house.merge("known", "anonymous")
    rows = await house.enrollments()
    assert {row.lead_id for row in rows} == {"known"}
    assert sorted((row.status, row.reason) for row in rows) == [("active", None), ("exited", "merged")]
    await house.restart()
    await house.happens("Signed Up", lead=anonymous)
    assert [(send.lead_id, send.template) for send in house.sends] == [("known", "hello")]
    await house.happens("Order Completed", lead=anonymous, cart="c1")
    assert [row.status for row in await house.enrollments() if row.journey == "cart"] == ["exited", "exited"]


@pytest.mark.parametrize(("survivor", "other"), [("phone", "laptop"), ("laptop", "phone")])
async def test_a_purchase_on_another_device_ends_the_walk_when_the_two_are_known_to_be_one(opens: Opens, survivor: str, other: str) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", lead=a_lead(id="phone"), cart="c1", value=50)
    house.passes("1h")
    await house.tick()
    await house.happens("Order Completed", lead=a_lead(id="laptop"), cart="c1")
    await house.restart()
    await house.merge(survivor, other)
    (row,) = await house.enrollments()
    assert (row.lead_id, row.reason, row.converted_at) == (survivor, "goal", house.clock.now())
    (withdrawn,) = [message for message in house.messages if isinstance(message, wire.Withdraw)]
    assert (withdrawn.id, withdrawn.lead_id, withdrawn.reason) == (house.sends[0].id, survivor, "goal")
    await house.audit()


async def test_a_merge_of_a_merged_lead_reaches_the_last_survivor(opens: Opens) -> None:
    house = await opens(CART)
    one = a_lead(id="one")
    await house.happens("Cart Updated", lead=one, cart="c1", value=50)
    await house.merge("three", "two")
    await house.merge("two", "one")
    assert [row.lead_id for row in await house.enrollments()] == ["three"]
    await house.happens("Order Completed", lead=one, cart="c1")
    (row,) = await house.enrollments()
    assert row.reason == "goal"


async def test_a_merge_within_one_batch_moves_what_the_batch_began(opens: Opens) -> None:
    house = await opens(CART)
    anonymous, known = a_lead(id="anonymous"), a_lead(id="known")
    await house.handle(
        house.an_activity("Cart Updated", lead=anonymous, cart="c1", value=50),
        wire.replace(house.an_activity("Lead Merged", lead=known), merged_from="anonymous"),
        house.an_activity("Cart Updated", lead=anonymous, cart="c1", value=90),
    )
    (row,) = await house.enrollments()
    assert row.lead_id == "known"
    house.passes("1h")
    await house.tick()
    assert house.sends[0].entry.properties["value"] == 90


async def test_a_move_that_was_lost_to_another_is_tried_again(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1", value=50)
    house.passes("1h")
    with pytest.raises(Outage, match="another replica"):
        await house.tick_against_another()
    assert house.sent == []


async def test_a_record_that_is_no_activity_is_refused_as_such(opens: Opens) -> None:
    house = await opens(CART)
    with pytest.raises(InvalidMessage) as refused:
        async with house.outbox.work() as work:
            await house.handler.handle(work, [Record("l1", b'{"sequence": "one"}', NOON)])
    assert refused.value.code == "bad_activity"


async def test_without_a_playbook_activities_wait(opens: Opens) -> None:
    house = await opens()
    await house.withdraw_playbooks()
    await house.restart()
    with pytest.raises(Outage, match="no playbook"):
        await house.happens("Signed Up")
    await house.publish(WELCOME)
    await house.restart()


async def test_a_loop_is_stopped_as_a_dead_letter(opens: Opens) -> None:
    house = await opens(WELCOME)
    activity = house.an_activity("Signed Up")
    await house.handle(wire.replace(activity, event=wire.replace(activity.event, depth=17)))
    async with house.database.reading() as connection:
        (letter,) = await list_dead_letters(connection, "journeys", 10)
    assert (letter["code"], letter["topic"]) == ("loop", wire.ACTIVITIES)
    assert house.sent == []


async def test_a_loop_that_is_replayed_begins_its_journey(opens: Opens) -> None:
    house = await opens(WELCOME)
    activity = house.an_activity("Signed Up")
    await house.handle(wire.replace(activity, event=wire.replace(activity.event, depth=17)))
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    await house.restart()
    house.passes("1h")
    status, shown = await house.post(f"/api/dead-letters/{letter['id']}/replay")
    assert (status, shown["replayed_at"]) == (200, house.clock.now().isoformat().replace("+00:00", "Z"))
    (send,) = house.sends
    assert (send.template, send.depth, send.entry.at) == ("hello", 0, activity.event.at)


async def test_a_loop_that_is_replayed_wakes_the_walk_that_waited_for_it(opens: Opens) -> None:
    house = await opens("journey: a\ntrigger: {event: Seen}\nmax_duration: 9d\nsteps: [{wait_for: {event: Came}, do: [{send: met}]}]")
    await house.happens("Seen")
    house.passes("1m")
    activity = house.an_activity("Came")
    await house.handle(wire.replace(activity, event=wire.replace(activity.event, depth=17)))
    assert house.sent == []
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    assert (await house.post(f"/api/dead-letters/{letter['id']}/replay"))[0] == 200
    assert house.sent == ["met"]


@pytest.mark.parametrize(
    ("then", "code"),
    [("begun meanwhile", "inside"), ("paused", "paused"), ("taken out", "no_trigger")],
)
async def test_a_loop_whose_replay_begins_nothing_stays_and_says_why(opens: Opens, then: str, code: str) -> None:
    house = await opens(WELCOME)
    activity = house.an_activity("Signed Up")
    await house.handle(wire.replace(activity, event=wire.replace(activity.event, depth=17)))
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    if then == "paused":
        await house.post("/api/journeys/welcome/pause")
    elif then == "taken out":
        await house.publish(CART)
        await house.restart()
    else:
        await house.happens("Signed Up")
    status, problem = await house.post(f"/api/dead-letters/{letter['id']}/replay")
    assert (status, problem["code"]) == (409, code)
    assert (await house.get(f"/api/dead-letters/{letter['id']}"))["replayed_at"] is None


async def test_any_other_letter_is_read_again(opens: Opens) -> None:
    house = await opens(WELCOME)
    async with house.outbox.work() as work:
        work.set_aside(wire.ACTIVITIES, "l1", b"{}", code="bad_activity", message="it is none")
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    assert (await house.post(f"/api/dead-letters/{letter['id']}/replay"))[0] == 200
    assert house.log.topics[wire.ACTIVITIES] == [("l1", b"{}")]


async def test_a_hand_off_carries_the_lead_as_it_was_decided_on(opens: Opens) -> None:
    house = await opens(
        "journey: hot\ntrigger: {readiness: {rises_to: 9}}\nsteps: [{id: call, handoff: sales, note: \"='readiness ' + '9'\"}]"
    )
    lead = a_lead(readiness=9, reasons=[wire.Reason("paid_link", "at_least", 9.0)])
    await house.happens("Page Viewed", lead=lead)
    await house.happens("Readiness Changed", lead=lead, before=8, after=9)
    (send,) = house.sends
    assert (send.kind, send.endpoint, send.note, send.sequence, send.step) == ("handoff", "sales", "readiness 9", 2, "call")
    assert send.lead == lead
