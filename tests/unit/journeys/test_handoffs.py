"""Hand-offs whose answer the walk waits for, and those it does not."""

from datetime import timedelta

import pytest

from services.journeys.enrollment import message_id
from shared.wire import Withdraw
from tests.unit.journeys.stage import Stage, later

SALES = """
journey: sales
trigger: {event: Seen}
exit_when: {event: Order Completed}
steps:
  - id: call
    handoff: sales
    note: "='about ' + entry.properties.tea"
    sla: {within: 4h, hours: working}
    fallback: boss
    do: [{send: accepted}]
    on_rejected: [{send: rejected}]
    on_timeout: [{send: expired}]
  - {send: after}
"""


def handed_over(journey: str = SALES, **more) -> Stage:
    stage = Stage(journey, **more)
    stage.happens("Seen", tea="green")
    stage.passes("1h")
    return stage


def test_a_hand_off_says_how_long_sales_has_and_who_comes_after():
    (message,) = handed_over().messages
    assert (message.kind, message.endpoint, message.note) == ("handoff", "sales", "about green")
    assert (message.sla, message.sla_working, message.fallback) == (timedelta(hours=4), True, "boss")


def test_an_sla_round_the_clock_needs_no_fallback():
    (message,) = handed_over("journey: a\ntrigger: {event: Seen}\nsteps: [{handoff: sales, sla: 30m}]").messages
    assert (message.sla, message.sla_working, message.fallback) == (timedelta(minutes=30), False, "")


@pytest.mark.parametrize(("name", "sent"), [("Accepted", "accepted"), ("Rejected", "rejected"), ("Expired", "expired")])
def test_the_walk_waits_for_the_answer_and_goes_where_it_leads(name, sent):
    stage = handed_over()
    assert stage.sent == ["sales"]
    stage.answers(f"Handoff {name}", reason="busy")
    stage.settles()
    assert stage.sent == ["sales", sent, "after"]
    assert stage.walk.steps is not None
    assert stage.walk.steps["call"]["event"]["properties"]["reason"] == "busy"
    assert stage.messages[1].reached_at == later("1h")


def test_snoozing_leaves_the_walk_where_it_is():
    stage = handed_over()
    stage.answers("Handoff Snoozed", until="2027-03-02T09:00:00Z")
    assert (stage.walk.step, stage.sent) == ("call", ["sales"])
    stage.answers("Handoff Accepted")
    assert stage.sent == ["sales", "accepted"]


def test_no_time_wakes_it_for_mailer_runs_the_clock():
    stage = handed_over()
    stage.passes("9d")
    assert (stage.walk.step, stage.walk.wake_at) == ("call", None)


@pytest.mark.parametrize("properties", [{"enrollment_id": "another"}, {"transition": 99}])
def test_the_answer_to_another_hand_off_moves_nothing(properties):
    stage = handed_over()
    told = {"enrollment_id": stage.walk.id, "transition": stage.walk.awaits}
    stage.happens("Handoff Accepted", **(told | properties))
    assert stage.sent == ["sales"]


def test_rule_10_an_exit_ends_the_walk_that_waits_and_leaves_the_hand_off_with_sales():
    stage = handed_over()
    enrollment, transition = stage.walk.id, stage.walk.awaits
    stage.happens("Order Completed")
    assert stage.ended == {"sales": "exit_when"}
    assert not [effect for effect in stage.effects if isinstance(effect, Withdraw)]
    stage.happens("Handoff Accepted", enrollment_id=enrollment, transition=transition)
    assert stage.sent == ["sales"]


def test_without_an_sla_the_walk_does_not_wait():
    stage = handed_over("journey: a\ntrigger: {event: Seen}\nsteps: [{handoff: sales}, {send: after}]")
    assert stage.sent == ["sales", "after"]


def test_rule_05_at_a_hand_off_a_reset_is_an_update_and_a_restart_hands_over_again():
    stage = handed_over(SALES.replace("exit_when", "on_repeat: reset_timer\nexit_when"))
    stage.happens("Seen", tea="black")
    stage.answers("Handoff Accepted")
    assert stage.sent == ["sales", "accepted"]
    again = handed_over(SALES.replace("exit_when", "on_repeat: restart\nexit_when"))
    first = again.walk.awaits
    again.happens("Seen", tea="black")
    again.happens("Handoff Accepted", enrollment_id=again.walk.id, transition=first)
    assert (again.sent, again.walk.step) == (["sales", "sales"], "call")


def test_rule_08_the_holdout_is_not_handed_over_and_does_not_wait():
    stage = handed_over(SALES.replace("exit_when", "holdout: 100%\nexit_when"))
    assert (stage.sent, stage.walk.status) == ([], "completed")


def test_a_lead_who_left_the_audience_is_not_handed_over():
    stage = Stage(
        "journey: a\ntrigger: {event: Seen}\naudience: not lead.traits.ticket\n"
        "steps: [{wait: 1h}, {handoff: sales, sla: 4h, do: [{send: x}]}]"
    )
    stage.happens("Seen")
    stage.becomes(traits={"ticket": 7})
    stage.happens("Page Viewed")
    stage.passes("1h")
    assert (stage.visits[-1], stage.walk.status) == (("steps.1", "skipped", "audience"), "completed")


def test_rule_13_while_paused_the_answer_is_taken_and_the_next_step_waits():
    stage = handed_over()
    stage.sets_status(sales="paused")
    stage.answers("Handoff Accepted")
    assert stage.sent == ["sales"]
    stage.sets_status()
    stage.wake()
    assert stage.sent == ["sales", "accepted"]


def test_rule_14_the_walk_goes_on_as_deep_as_the_answer():
    stage = handed_over()
    stage.happens("Handoff Accepted", depth=3, enrollment_id=stage.walk.id, transition=stage.walk.awaits)
    assert stage.messages[-1].depth == 3


def test_the_hand_offs_message_is_that_of_the_transition_it_waits_since():
    stage = handed_over()
    assert stage.walk.awaits is not None
    assert stage.messages[0].id == message_id(stage.walk.id, stage.walk.awaits)
    assert stage.messages[0].transition == stage.walk.awaits
