"""docs/playbook.md, "When two things meet": each rule, as far as this release reaches, by its number."""

import pytest

from services.journeys.enrollment import Visit
from services.journeys.entering import Entered, Refused
from shared.wire import EventHistory, Withdraw
from tests.builders import NOON, a_lead, an_activity, an_event
from tests.unit.journeys.stage import Stage, later

CART = """
journey: cart
trigger: {event: Cart Updated, key: event.properties.cart, where: "event.properties.value >= 20"}
reentry: always
on_repeat: reset_timer
exit_when:
  - {event: Cart Updated, match_key: event.properties.cart, where: "event.properties.value < 20"}
goal: {event: Order Completed, match_key: event.properties.cart, within: 7d}
steps:
  - wait: 1h
  - {id: reminder, send: cart-1}
  - wait: 1d
  - send: cart-2
"""

WELCOME = """
journey: welcome
trigger: {event: Signed Up}
steps:
  - {id: hello, send: hello, if_unreachable: exit}
  - {id: pause, wait: 2d}
  - branch:
      - {if: "lead.readiness >= 7", do: [{handoff: sales, note: "=lead.email"}]}
      - {else: [{send: tips, max_age: 12h}]}
  - wait: 1d
  - {id: last, send: last}
"""


def test_rule_01_an_event_may_end_one_walk_and_begin_another():
    stage = Stage(
        "journey: a\ntrigger: {event: Signed Up}\nexit_when: {event: Order Completed}\nsteps: [{wait: 9d}]",
        "journey: b\ntrigger: {event: Order Completed}\nsteps: [{send: thanks}]",
    )
    stage.happens("Signed Up")
    stage.happens("Order Completed")
    assert stage.ended == {"a": "exit_when"}
    assert stage.sent == ["thanks"]


def test_rule_01_a_walk_may_end_and_begin_anew_by_one_event():
    stage = Stage("journey: a\ntrigger: {event: Order Completed}\nreentry: always\ngoal: {event: Order Completed}\nsteps: [{wait: 9d}]")
    stage.happens("Order Completed", order=1)
    stage.passes("1h")
    stage.happens("Order Completed", order=2)
    first, second = stage.walks
    assert (first.reason, second.active) == ("goal", True)


def test_rule_01_conditions_see_the_lead_as_it_is_after_the_event():
    stage = Stage("journey: a\ntrigger: {event: Webinar Attended, where: 'lead.readiness >= 8'}\nsteps: [{send: hot}]")
    stage.becomes(readiness=8)
    stage.happens("Webinar Attended")
    assert stage.sent == ["hot"]


def test_rule_02_a_goal_that_overtook_its_trigger_counts():
    stage = Stage(CART)
    stage.happens("Order Completed", ago="1m", cart="c1")
    stage.happens("Cart Updated", ago="5m", cart="c1", value=50)
    assert (stage.walk.reason, stage.walk.converted_at) == ("goal", later("0s") - (later("1m") - NOON))
    stage.passes("10d")
    assert stage.sent == []


def test_rule_02_an_exit_that_overtook_its_trigger_counts():
    stage = Stage(CART)
    stage.happens("Cart Updated", ago="1m", cart="c1", value=5)
    stage.happens("Cart Updated", ago="5m", cart="c1", value=50)
    assert stage.ended == {"cart": "exit_when"}


def test_rule_02_a_goal_that_happened_before_the_entry_does_not_count():
    stage = Stage(CART)
    stage.happens("Order Completed", ago="5m", cart="c1")
    stage.happens("Cart Updated", ago="1m", cart="c1", value=50)
    assert stage.walk.active
    assert stage.walk.converted_at is None


def test_rule_02_an_exit_that_arrives_late_but_happened_before_the_entry_does_not_count():
    stage = Stage(CART)
    stage.happens("Cart Updated", ago="1m", cart="c1", value=50)
    stage.happens("Order Completed", ago="5m", cart="c1")
    assert stage.walk.active


def test_rule_02_of_two_events_at_one_instant_the_later_arrival_is_the_later_event():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=5)
    stage.happens("Cart Updated", cart="c1", value=50)
    assert stage.walk.active
    stage.happens("Cart Updated", cart="c1", value=5)
    assert stage.ended == {"cart": "exit_when"}


def test_rule_02_a_late_event_begins_nothing():
    stage = Stage(CART)
    stage.happens("Cart Updated", ago="2d", late=True, cart="c1", value=50)
    assert stage.walks == []


def test_rule_02_a_late_event_still_ends_a_walk():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("30m")
    stage.happens("Order Completed", ago="10m", late=True, cart="c1")
    assert stage.ended == {"cart": "goal"}


def test_rule_02_a_late_event_resets_no_timer():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("30m")
    stage.happens("Cart Updated", ago="10m", late=True, cart="c1", value=60)
    assert stage.walk.due_at == later("1h")


def test_rule_03_goal_and_exit_at_once_is_converted():
    stage = Stage(
        "journey: a\ntrigger: {event: Seen}\nexit_when: [{event: Order Completed}]\ngoal: {event: Order Completed}\nsteps: [{wait: 9d}]"
    )
    stage.happens("Seen")
    stage.passes("1h")
    stage.happens("Order Completed")
    assert stage.walk.reason == "goal"
    assert stage.walk.converted_at == stage.now


def test_rule_03_an_event_ends_only_the_walk_of_its_key():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.happens("Cart Updated", cart="c2", value=50)
    stage.passes("10m")
    stage.happens("Order Completed", cart="c2")
    assert [(one.key, one.active) for one in stage.walks] == [("c1", True), ("c2", False)]


def test_rule_03_an_event_that_lacks_its_match_key_ends_all_keys():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.happens("Cart Updated", cart="c2", value=50)
    stage.passes("10m")
    stage.happens("Order Completed")
    assert [one.reason for one in stage.walks] == ["goal", "goal"]


def test_rule_03_a_condition_true_at_entry_prevents_entry():
    stage = Stage("journey: a\ntrigger: {event: Signed Up}\nexit_when: {when: lead.hot}\nsteps: [{send: x}]", lead=a_lead(hot=True))
    stage.happens("Signed Up")
    assert stage.walks == []


def test_rule_05_a_repeat_resets_the_timer_and_renews_the_entry():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("40m")
    stage.happens("Cart Updated", cart="c1", value=70)
    stage.passes("59m")
    assert stage.sent == []
    stage.passes("1m")
    assert stage.sent == ["cart-1"]
    assert stage.messages[0].entry.properties["value"] == 70


def test_rule_05_a_repeat_is_the_same_trigger_where_and_key():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("40m")
    stage.happens("Cart Updated", cart="c2", value=50)
    assert stage.walks[0].due_at == later("1h")


def test_rule_05_at_a_send_step_a_reset_is_an_update():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("1h")
    before = stage.walk
    stage.happens("Cart Updated", cart="c1", value=70)
    assert (stage.walk.step, stage.walk.message, stage.walk.entry.properties["value"]) == (before.step, before.message, 70)
    stage.settles()
    assert stage.walk.step == "steps.2"


def test_rule_05_a_repeat_that_happened_before_the_entry_changes_nothing():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    before = stage.walk
    stage.happens("Cart Updated", ago="5m", cart="c1", value=20)
    assert stage.walk == before


@pytest.mark.parametrize(("policy", "step", "value"), [("ignore", "steps.1", 1), ("update", "steps.1", 2), ("restart", "first", 2)])
def test_rule_05_each_way_to_meet_a_repeat(policy, step, value):
    stage = Stage(f"journey: a\ntrigger: {{event: Seen}}\non_repeat: {policy}\nsteps: [{{id: first, wait: 1h}}, {{wait: 1h}}]")
    stage.happens("Seen", n=1)
    stage.passes("1h")
    stage.happens("Seen", n=2)
    assert (stage.walk.step, stage.walk.entry.properties["n"]) == (step, value)


def test_rule_05_a_restart_takes_back_the_mail_under_way():
    stage = Stage("journey: a\ntrigger: {event: Seen}\non_repeat: restart\nsteps: [{send: one}, {wait: 1d}]")
    stage.happens("Seen")
    stage.passes("1m")
    stage.happens("Seen")
    assert stage.sent == ["one", "one"]
    assert stage.withdrawn == {"one": "restarted"}
    assert len({message.id for message in stage.messages}) == 2


def test_rule_06_a_condition_is_judged_at_each_event_of_the_lead():
    stage = Stage("journey: a\ntrigger: {event: Signed Up}\nexit_when: {when: \"'customer' in lead.tags\"}\nsteps: [{wait: 9d}]")
    stage.happens("Signed Up")
    stage.becomes(tags=["customer"])
    stage.happens("Page Viewed")
    assert stage.ended == {"a": "exit_when"}


def test_rule_06_a_condition_that_speaks_of_time_is_also_judged_hourly():
    stage = Stage("journey: a\ntrigger: {event: Signed Up}\nexit_when: {when: 'hours_since(entered_at) > 5'}\nsteps: [{wait: 9d}]")
    stage.happens("Signed Up")
    stage.passes("5h")
    assert stage.walk.active
    stage.passes("1h")
    assert stage.walk.ended_at == later("6h")


@pytest.mark.parametrize("name", ["Email Sent", "Email Suppressed", "Email Failed", "Email In Doubt"])
def test_rule_07_a_send_is_over_when_its_mail_has_ended_and_the_next_wait_counts_from_there(name):
    stage = Stage(WELCOME)
    stage.happens("Signed Up")
    stage.passes("3h")
    assert stage.walk.step == "hello"
    stage.settles(name)
    assert (stage.walk.step, stage.walk.due_at) == ("pause", later("2d3h"))
    assert stage.walk.steps is not None
    assert stage.walk.steps["hello"]["event"]["name"] == name


def test_rule_07_a_walk_that_ends_takes_its_mail_back():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("1h")
    stage.happens("Order Completed", cart="c1")
    assert stage.withdrawn == {"cart-1": "goal"}


def test_rule_07_a_mail_that_was_sent_is_not_taken_back():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("1h")
    stage.settles()
    stage.happens("Order Completed", cart="c1")
    assert stage.withdrawn == {}


def test_rule_07_the_outcome_of_another_walks_mail_ends_nothing():
    stage = Stage(WELCOME)
    stage.happens("Signed Up")
    stage.happens("Email Sent", enrollment_id="another", transition=stage.walk.message)
    stage.happens("Email Sent", enrollment_id=stage.walk.id, transition=99)
    assert stage.walk.step == "hello"


def test_rule_08_a_refused_entry_does_not_count_for_once():
    stage = Stage("journey: a\ntrigger: {event: Seen}\naudience: lead.hot\nsteps: [{send: x}]")
    stage.happens("Seen")
    stage.becomes(hot=True)
    stage.happens("Seen")
    assert stage.sent == ["x"]


def test_rule_08_a_holdout_entry_counts_for_once():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nholdout: 100%\nsteps: [{send: x}]")
    stage.happens("Seen")
    stage.passes("1h")
    stage.happens("Seen")
    assert (len(stage.walks), stage.walk.holdout, stage.walk.status) == (1, True, "completed")


def test_rule_08_in_the_holdout_waits_and_branches_are_walked_and_the_rest_does_nothing():
    stage = Stage(WELCOME.replace("steps:", "holdout: 100%\nsteps:", 1), lead=a_lead(readiness=9))
    stage.happens("Signed Up")
    stage.passes("4d")
    assert stage.sent == []
    assert stage.visits == [
        ("hello", "holdout", ""),
        ("pause", "waited", ""),
        ("steps.2", "branched", "1"),
        ("steps.2.branch.0.do.0", "holdout", ""),
        ("steps.3", "waited", ""),
        ("last", "holdout", ""),
    ]
    assert stage.walk.ended_at == later("3d")


def test_rule_08_the_holdout_converts_too():
    stage = Stage(CART.replace("goal:", "holdout: 100%\ngoal:"))
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("3d")
    stage.happens("Order Completed", cart="c1")
    assert (stage.walk.status, stage.walk.converted_at) == ("completed", stage.now)


def test_rule_08_arms_are_sticky_and_as_large_as_asked_for():
    arms = {}
    for number in range(400):
        stage = Stage(
            "journey: a\ntrigger: {event: Seen}\nholdout: 25%\nreentry: always\nsteps: [{exit: done}]", lead=a_lead(id=f"lead-{number}")
        )
        stage.happens("Seen")
        stage.passes("1h")
        stage.happens("Seen")
        assert len({one.holdout for one in stage.walks}) == 1
        arms[number] = stage.walks[0].holdout
    assert 60 <= sum(arms.values()) <= 140


def test_rule_09_one_event_begins_the_transactional_journey_first_then_by_priority():
    journey = "journey: {0}\ntrigger: {{event: Seen}}\n{1}\nsteps: [{{send: {0}}}]"
    stage = Stage(
        journey.format("a", "priority: 50"),
        journey.format("b", "priority: 10"),
        journey.format("c", "category: transactional"),
        journey.format("d", ""),
    )
    stage.happens("Seen")
    assert stage.sent == ["c", "b", "a", "d"]


def test_rule_10_an_open_hand_off_is_not_ended_by_an_exit():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nexit_when: {event: Order Completed}\nsteps: [{handoff: sales}, {wait: 9d}]")
    stage.happens("Seen")
    stage.happens("Order Completed")
    assert (stage.sent, stage.withdrawn, stage.ended) == (["sales"], {}, {"a": "exit_when"})


def test_rule_10_max_age_counts_from_reaching_the_step():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{send: x, max_age: 12h}]")
    stage.happens("Seen")
    assert stage.messages[0].expires_at == later("12h")


@pytest.mark.parametrize(
    ("name", "properties", "reason"),
    [
        ("Unsubscribed", {}, "unsubscribed"),
        ("Unsubscribed", {"topic": "offers"}, "unsubscribed"),
        ("Unsubscribed", {"topic": "digest"}, None),
        ("Email Bounced", {"kind": "hard"}, "bounced"),
        ("Email Bounced", {"kind": "soft"}, None),
        ("Email Marked as Spam", {}, "complaint"),
    ],
)
def test_rule_10_what_ends_a_marketing_journey_by_itself(name, properties, reason):
    journey = "journey: {}\ntopic: offers\ncategory: {}\ntrigger: {{event: Seen}}\nsteps: [{{wait: 9d}}]"
    stage = Stage(journey.format("ads", "marketing"), journey.format("bills", "transactional"))
    stage.happens("Seen")
    stage.passes("1m")
    stage.happens(name, **properties)
    assert stage.ended == ({"ads": reason} if reason else {})


@pytest.mark.parametrize(
    ("consent", "trusted", "ends"),
    [
        (False, True, True),
        ({"marketing": False, "source": "phone"}, True, True),
        ({"topics": {"offers": False}}, True, True),
        ({"topics": {"digest": False}}, True, False),
        (True, True, False),
        (False, False, False),
        (None, True, False),
    ],
)
def test_rule_10_consent_withdrawn_by_somebody_believed_ends_a_marketing_journey(consent, trusted, ends):
    journey = "journey: {}\ntopic: offers\ncategory: {}\ntrigger: {{event: Seen}}\nsteps: [{{wait: 9d}}]"
    stage = Stage(journey.format("ads", "marketing"), journey.format("bills", "transactional"))
    stage.happens("Seen")
    stage.passes("1m")
    event = an_event("", id="e9", type="identify", at=stage.now, trusted=trusted, traits={"consent": consent})
    stage.arrives(an_activity(sequence=2, event=event, lead=stage.lead))
    assert stage.ended == ({"ads": "unsubscribed"} if ends else {})


@pytest.mark.parametrize(("reason", "ended"), [("no_address", True), ("no_consent", True), ("suppressed", True), ("frequency_cap", False)])
def test_rule_10_unreachable_is_no_address_no_consent_or_suppressed(reason, ended):
    stage = Stage(WELCOME)
    stage.happens("Signed Up")
    stage.settles("Email Suppressed", reason=reason)
    assert stage.ended == ({"welcome": "unreachable"} if ended else {})


def test_rule_11_of_two_walks_with_one_key_the_earlier_stays_and_takes_the_newer_entry():
    known, anonymous = Stage(CART), Stage(CART, lead=a_lead(id="l2"))
    anonymous.happens("Cart Updated", cart="c1", value=50)
    known.passes("30m")
    known.happens("Cart Updated", cart="c1", value=70)
    known.merges(anonymous)
    by_status = {one.status: one for one in known.walks}
    assert by_status["exited"].reason == "merged"
    assert by_status["exited"].entered_at == later("30m")
    assert by_status["active"].entered_at == NOON
    assert by_status["active"].entry.properties["value"] == 70
    assert {one.lead_id for one in known.walks} == {"l1"}


def test_rule_11_the_walk_that_ends_takes_its_mail_back_and_counts_no_goal():
    known, anonymous = Stage(CART), Stage(CART, lead=a_lead(id="l2"))
    anonymous.happens("Cart Updated", cart="c1", value=50)
    known.passes("30m")
    known.happens("Cart Updated", cart="c1", value=70)
    known.passes("1h")
    known.merges(anonymous)
    assert known.withdrawn == {"cart-1": "merged"}
    known.happens("Order Completed", cart="c1")
    assert [one.converted_at is not None for one in known.walks if one.reason == "merged"] == [False]


def test_rule_11_walks_with_other_keys_go_on():
    known, anonymous = Stage(CART), Stage(CART, lead=a_lead(id="l2"))
    anonymous.happens("Cart Updated", cart="c2", value=50)
    known.happens("Cart Updated", cart="c1", value=70)
    known.merges(anonymous)
    assert [one.active for one in known.walks] == [True, True]


def test_rule_11_once_counts_both_leads():
    once = "journey: a\ntrigger: {event: Seen}\nsteps: [{exit: done}]"
    known, anonymous = Stage(once), Stage(once, lead=a_lead(id="l2"))
    known.happens("Page Viewed")
    anonymous.happens("Seen")
    known.merges(anonymous)
    known.happens("Seen")
    assert len(known.walks) == 1


@pytest.mark.parametrize("the_walker_stays", [True, False])
@pytest.mark.parametrize(("name", "reason"), [("Order Completed", "goal"), ("Cart Updated", "exit_when")])
def test_rule_11_what_one_lead_did_after_the_entry_ends_the_others_walk(the_walker_stays: bool, name: str, reason: str):
    walker, other = Stage(CART), Stage(CART, lead=a_lead(id="l2"))
    walker.happens("Cart Updated", cart="c1", value=50)
    for stage in (walker, other):
        stage.passes("2h")
    other.happens(name, ago="5m", cart="c1", value=10)
    survivor, merged = (walker, other) if the_walker_stays else (other, walker)
    survivor.merges(merged)
    assert (survivor.walk.status, survivor.walk.reason, survivor.walk.lead_id) == ("exited", reason, survivor.lead.id)
    assert survivor.walk.converted_at == (later("1h55m") if reason == "goal" else None)
    assert [effect.reason for effect in survivor.effects if isinstance(effect, Withdraw)] == [reason]


def test_rule_11_what_one_lead_did_before_the_entry_or_with_another_key_leaves_the_others_walk_alone():
    walker, buyer = Stage(CART), Stage(CART, lead=a_lead(id="l2"))
    buyer.happens("Order Completed", cart="c1")
    for stage in (walker, buyer):
        stage.passes("5m")
    walker.happens("Cart Updated", cart="c1", value=50)
    buyer.passes("5m")
    buyer.happens("Order Completed", cart="c2")
    walker.merges(buyer)
    assert walker.walk.active


def test_rule_11_a_walk_that_the_merge_ends_is_no_rival():
    buyer, walker = Stage(CART), Stage(CART, lead=a_lead(id="l2"))
    walker.happens("Cart Updated", cart="c1", value=50)
    buyer.passes("10m")
    buyer.happens("Order Completed", cart="c1")
    buyer.passes("10m")
    buyer.happens("Cart Updated", cart="c1", value=70)
    buyer.merges(walker)
    assert [(one.reason, one.entry.properties["value"]) for one in buyer.walks] == [(None, 70), ("goal", 50)]


def test_rule_12_the_entry_of_a_readiness_trigger_holds_before_and_after():
    stage = Stage("journey: a\ntrigger: {readiness: {rises_to: 9}}\nsteps: [{handoff: sales}]")
    stage.happens("Readiness Changed", before=8, after=9)
    assert stage.messages[0].entry.properties == {"before": 8, "after": 9}
    assert stage.messages[0].entry.event == "Readiness Changed"


def test_rule_12_the_entry_of_a_call_holds_what_the_caller_sent():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{send: x}]")
    stage.happens("Page Viewed")
    stage.asks("a", voucher="V1")
    assert stage.messages[0].entry.properties == {"voucher": "V1"}
    assert stage.messages[0].entry.at == NOON


def test_rule_13_while_paused_nobody_enters_and_no_step_is_taken():
    stage = Stage(WELCOME)
    stage.happens("Signed Up")
    stage.settles()
    stage.sets_status(welcome="paused")
    stage.passes("5d")
    assert stage.sent == ["hello"]
    assert stage.asks("welcome") == Refused("paused")


def test_rule_13_while_paused_ends_still_act():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.sets_status(cart="paused")
    stage.passes("2h")
    stage.happens("Order Completed", cart="c1")
    assert stage.ended == {"cart": "goal"}


def test_rule_13_on_resuming_what_is_overdue_runs_and_max_age_applies():
    stage = Stage(WELCOME)
    stage.happens("Signed Up")
    stage.settles()
    stage.sets_status(welcome="paused")
    stage.passes("5d")
    stage.sets_status(welcome="live")
    stage.wake()
    assert ("steps.2.branch.1.else.0", "skipped", "max_age") in stage.visits
    assert stage.walk.due_at == later("6d")


def test_a_visit_and_its_message_say_alike_when_the_step_was_reached():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{wait: 1h}, {send: x}]")
    stage.happens("Seen")
    stage.sets_status(a="paused")
    stage.passes("3h")
    stage.sets_status()
    stage.wake()
    (visit,) = [effect for effect in stage.effects if isinstance(effect, Visit) and effect.kind == "send"]
    assert visit.at == stage.messages[0].reached_at == later("1h")


def test_rule_13_a_mail_that_ends_during_a_pause_ends_its_step_and_the_wait_counts_from_there():
    stage = Stage(WELCOME)
    stage.happens("Signed Up")
    stage.sets_status(welcome="paused")
    stage.settles()
    assert (stage.walk.step, stage.walk.message, stage.walk.due_at) == ("pause", None, None)
    stage.passes("1d")
    stage.sets_status(welcome="live")
    stage.wake()
    assert stage.walk.due_at == later("2d")


def test_rule_13_a_draining_journey_takes_nobody_in_and_walks_on():
    stage = Stage(WELCOME)
    stage.happens("Signed Up")
    stage.settles()
    stage.sets_status(welcome="draining")
    stage.passes("2d")
    assert stage.sent == ["hello", "tips"]
    assert stage.asks("welcome") == Refused("draining")


def test_rule_14_past_16_effects_nothing_begins_and_the_loop_is_told():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nreentry: always\nsteps: [{exit: done}]")
    stage.happens("Seen", depth=16)
    stage.happens("Seen", depth=17)
    assert (len(stage.walks), stage.loops) == (1, ["a"])


def test_rule_14_a_mail_carries_the_depth_of_its_cause_and_a_long_wait_forgets_it():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{wait: 59m}, {send: one}, {wait: 1h}, {send: two}]")
    stage.happens("Seen", depth=5)
    stage.passes("59m")
    stage.settles()
    stage.passes("1h")
    assert [message.depth for message in stage.messages] == [5, 0]


def test_rule_14_an_event_past_16_still_ends_its_send_step():
    stage = Stage(WELCOME)
    stage.happens("Signed Up", depth=16)
    stage.happens("Email Sent", depth=17, enrollment_id=stage.walk.id, transition=stage.walk.message)
    assert stage.walk.step == "pause"


def test_rule_15_a_key_that_is_missing_enters_nobody():
    stage = Stage(CART)
    stage.happens("Cart Updated", value=50)
    assert stage.walks == []


def test_rule_15_what_is_missing_makes_no_condition_true():
    stage = Stage("journey: a\ntrigger: {event: Seen, where: 'event.properties.size < 5'}\nsteps: [{send: x}]")
    stage.happens("Seen")
    assert stage.walks == []


def test_reentry_after_an_event_waits_for_that_event():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nreentry: {after_event: Order Completed}\nsteps: [{exit: done}]")
    stage.happens("Seen")
    stage.passes("1h")
    stage.happens("Seen")
    assert len(stage.walks) == 1
    stage.becomes(events={"Order Completed": EventHistory(count=1, last_at=stage.now)})
    stage.passes("1h")
    stage.happens("Seen")
    assert len(stage.walks) == 2


def test_reentry_after_a_while_counts_from_the_entry():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nreentry: {after: 30d}\nsteps: [{exit: done}]")
    stage.happens("Seen")
    stage.passes("29d")
    stage.happens("Seen")
    stage.passes("1d")
    stage.happens("Seen")
    assert len(stage.walks) == 2


def test_a_gap_lies_between_two_entries_whatever_the_key():
    stage = Stage(CART.replace("reentry:", "gap: 1d\nreentry:"))
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.passes("1h")
    stage.happens("Cart Updated", cart="c2", value=50)
    assert [one.key for one in stage.walks] == ["c1"]
    stage.passes("23h")
    stage.happens("Cart Updated", cart="c3", value=50)
    assert [one.key for one in stage.walks] == ["c1", "c3"]


def test_the_audience_is_asked_again_at_a_step_that_reaches_the_lead():
    stage = Stage(WELCOME.replace("steps:", "audience: not lead.traits.ticket\nsteps:", 1))
    stage.happens("Signed Up")
    stage.becomes(traits={"ticket": 7})
    stage.settles()
    stage.passes("4d")
    assert ("steps.2.branch.1.else.0", "skipped", "audience") in stage.visits
    assert ("last", "skipped", "audience") in stage.visits
    assert stage.walk.status == "completed"


def test_a_goal_counts_after_the_walk_within_its_time_only():
    stage = Stage(CART)
    stage.happens("Cart Updated", cart="c1", value=50)
    stage.happens("Cart Updated", cart="c2", value=50)
    stage.passes("1h")
    for _ in range(2):
        stage.settles()
    stage.passes("1d")
    for _ in range(2):
        stage.settles()
    assert [one.status for one in stage.walks] == ["completed", "completed"]
    stage.passes("3d")
    stage.happens("Order Completed", cart="c1")
    stage.passes("5d")
    stage.happens("Order Completed", cart="c2")
    assert [one.converted_at is not None for one in stage.walks] == [True, False]


def test_a_goal_that_does_not_exit_is_counted_and_the_walk_goes_on():
    stage = Stage("journey: a\ntrigger: {event: Seen}\ngoal: {event: Bought, exit: false}\nsteps: [{wait: 1d}, {send: thanks}]")
    stage.happens("Seen")
    stage.passes("1h")
    stage.happens("Bought")
    stage.passes("1d")
    assert stage.walk.converted_at == later("1h")
    assert stage.sent == ["thanks"]


def test_max_duration_ends_a_walk():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nmax_duration: 3d\nsteps: [{send: x}, {wait: 9d}]")
    stage.happens("Seen")
    stage.passes("5d")
    assert (stage.walk.reason, stage.walk.ended_at, stage.withdrawn) == ("max_duration", later("3d"), {"x": "max_duration"})


def test_readiness_triggers_react_to_the_crossing_alone():
    stage = Stage("journey: a\ntrigger: [{readiness: {rises_to: 8}}, {readiness: {falls_to: 3}}]\nreentry: always\nsteps: [{exit: done}]")
    for before, after in [(7, 7.5), (6, 7), (7, 9), (9, 10), (5, 4), (4, 2), (2, 1)]:
        stage.happens("Readiness Changed", before=before, after=after)
    assert [one.entry.properties for one in stage.walks] == [{"before": 7, "after": 9}, {"before": 4, "after": 2}]


def test_an_enrollment_over_the_api_obeys_audience_and_reentry():
    stage = Stage("journey: a\ntrigger: {event: Seen}\naudience: lead.hot\nsteps: [{exit: done}]")
    stage.happens("Page Viewed")
    assert stage.asks("a") == Refused("audience")
    stage.becomes(hot=True)
    stage.happens("Page Viewed")
    assert isinstance(stage.asks("a"), Entered)
    assert stage.asks("a") == Refused("reentry")
