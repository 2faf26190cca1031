"""Steps that wait for something to come: an event, a condition, a click; rules 2, 4, 5, 6, 8, 11, 13 and 14 as they bear on them."""

import pytest

from services.journeys.dossier import Loop
from shared.wire import Activity
from tests.builders import a_lead, an_event
from tests.unit.journeys.stage import Stage, later

TASTING = """
journey: tasting
trigger: {event: Seen, key: event.properties.tea}
reentry: always
steps:
  - id: seat
    wait_for: {event: Seat Taken, match_key: event.properties.tea, where: "event.properties.seats > 0"}
    timeout: 2d
    do: [{send: welcome}]
    on_timeout: [{send: reminder}]
  - {wait: 1h}
  - {send: last}
"""

CASES = """
journey: cases
trigger: {event: Seen}
steps:
  - wait_for:
      - {event: Called, do: [{exit: called}]}
      - {when: lead.hot, do: [{exit: hot}]}
      - {event: [Called, Written], do: [{exit: written}]}
    timeout: 3d
    on_timeout: [{exit: nothing}]
"""


def waiting(journey: str = TASTING, **more) -> Stage:
    """A lead who stands in the wait."""
    stage = Stage(journey, **more)
    stage.happens("Seen", tea="green")
    stage.passes("1h")
    return stage


def test_an_event_that_comes_ends_the_wait_and_the_next_wait_counts_from_it():
    stage = waiting()
    stage.passes("1h")
    stage.happens("Seat Taken", ago="5m", tea="green", seats=2)
    assert stage.sent == ["welcome"]
    assert stage.walk.steps is not None
    assert stage.walk.steps["seat"]["event"]["properties"]["seats"] == 2
    assert stage.walk.steps["seat"]["at"] == later("1h55m")


def test_another_key_a_where_that_does_not_hold_and_another_name_end_no_wait():
    stage = waiting()
    stage.happens("Seat Taken", tea="black", seats=2)
    stage.happens("Seat Taken", tea="green", seats=0)
    stage.happens("Seat Lost", tea="green", seats=2)
    assert stage.sent == []


def test_an_event_that_lacks_its_key_is_meant_for_every_walk():
    stage = waiting()
    stage.happens("Seen", tea="black")
    stage.happens("Seat Taken", seats=1)
    assert stage.sent == ["welcome", "welcome"]


def test_the_timeout_counts_from_reaching_the_step_and_leads_its_own_way():
    stage = waiting()
    stage.passes("46h59m")
    assert stage.sent == []
    stage.passes("1m")
    assert stage.sent == ["reminder"]
    assert stage.messages[0].reached_at == later("2d")
    stage.happens("Seat Taken", tea="green", seats=2)
    assert stage.sent == ["reminder"]


def test_rule_02_an_awaited_event_that_overtook_its_trigger_counts():
    stage = Stage(TASTING)
    stage.happens("Seat Taken", ago="10m", tea="green", seats=2)
    stage.happens("Seen", ago="30m", tea="green")
    assert stage.sent == ["welcome"]


def test_rule_02_an_awaited_event_from_before_the_entry_does_not_count():
    stage = Stage(TASTING)
    stage.happens("Seat Taken", ago="40m", tea="green", seats=2)
    stage.happens("Seen", ago="30m", tea="green")
    stage.happens("Seat Taken", ago="35m", tea="green", seats=2)
    assert (stage.sent, stage.walk.active) == ([], True)


LATER = "journey: a\ntrigger: {event: Seen}\nsteps: [{wait: 1d}, {wait_for: {event: Called}, since: SINCE, timeout: 5d, do: [{send: x}]}]"


@pytest.mark.parametrize(("since", "passes_at_once"), [("step", False), ("entry", True)])
def test_rule_02_an_event_between_entry_and_step_counts_since_entry_only(since, passes_at_once):
    stage = Stage(LATER.replace("SINCE", since))
    stage.happens("Called", ago="1m")
    stage.happens("Seen")
    stage.passes("1h")
    stage.happens("Called")
    stage.passes("23h")
    assert stage.sent == (["x"] if passes_at_once else [])
    stage.passes("1m")
    stage.happens("Called")
    assert stage.sent == ["x"]


def test_rule_02_an_event_that_happened_after_the_step_was_reached_and_came_before_the_walk_counts():
    stage = Stage(LATER.replace("SINCE", "step"))
    stage.happens("Seen")
    stage.now = later("1d5m")  # the wake-up is late, and the call comes before it
    stage.happens("Called", ago="2m")
    stage.wake()
    assert stage.sent == ["x"]


def test_rule_02_a_late_event_wakes_nothing_neither_now_nor_when_the_wait_begins():
    stage = Stage(LATER.replace("SINCE", "entry"))
    stage.happens("Seen")
    stage.passes("1h")
    stage.happens("Called", late=True)
    stage.passes("1d")
    stage.happens("Called", late=True)
    assert (stage.sent, stage.walk.active) == ([], True)


def test_rule_04_what_arrives_while_it_waits_counts_though_it_happened_before_the_step():
    stage = Stage(LATER.replace("SINCE", "step"))
    stage.happens("Seen")
    stage.passes("1d1h")
    stage.happens("Called", ago="2h")
    assert stage.sent == ["x"]


@pytest.mark.parametrize(
    ("name", "hot", "reason"),
    [("Called", True, "called"), ("Called", False, "called"), ("Written", True, "hot"), ("Written", False, "written")],
)
def test_rule_04_the_first_case_listed_wins(name, hot, reason):
    stage = waiting(CASES)
    stage.becomes(hot=hot)
    stage.happens(name)
    assert stage.ended == {"cases": reason}


def test_rule_04_of_what_has_come_already_the_first_case_listed_wins_too():
    stage = Stage(CASES, lead=a_lead(hot=True))
    stage.happens("Seen")
    assert stage.ended == {"cases": "hot"}


def test_rule_04_without_a_timeout_the_journeys_duration_ends_the_wait():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nmax_duration: 9d\nsteps: [{wait_for: {event: Called}}, {send: x}]")
    stage.happens("Seen")
    stage.passes("8d")
    assert (stage.walk.active, stage.walk.due_at) == (True, None)
    stage.passes("1d")
    assert (stage.ended, stage.sent) == ({"a": "max_duration"}, [])


def test_one_event_ends_one_wait_only():
    stage = Stage(
        "journey: a\ntrigger: {event: Seen}\nsteps:\n"
        "  - {wait_for: {event: Called}, timeout: 1d, do: [{send: one}]}\n  - {wait_for: {event: Called}, timeout: 1d, do: [{send: two}]}"
    )
    stage.happens("Seen")
    stage.happens("Called", ago="0s")
    stage.settles()
    assert stage.sent == ["one"]
    stage.passes("1m")
    stage.happens("Called")
    assert stage.sent == ["one", "two"]


RESET = """
journey: cart
trigger: {event: Cart Updated, key: event.properties.cart}
on_repeat: REPEAT
steps:
  - wait_for: {event: Order Completed, match_key: event.properties.cart}
    timeout: 2h
    reset_on: [{event: Page Viewed, where: "event.properties.path == '/cart'"}, {event: Item Touched, match_key: event.properties.cart}]
    do: [{exit: bought}]
    on_timeout: [{send: reminder}]
"""


def a_cart(repeat: str = "ignore") -> Stage:
    stage = Stage(RESET.replace("REPEAT", repeat))
    stage.happens("Cart Updated", cart="c1")
    stage.passes("90m")
    return stage


def test_a_reset_begins_the_timeout_anew():
    stage = a_cart()
    stage.happens("Page Viewed", path="/cart")
    stage.passes("90m")
    stage.happens("Item Touched", cart="c1")
    stage.passes("1h59m")
    assert stage.sent == []
    stage.passes("1m")
    assert stage.sent == ["reminder"]


@pytest.mark.parametrize(
    ("name", "properties"), [("Page Viewed", {"path": "/"}), ("Item Touched", {"cart": "c2"}), ("Cart Updated", {"cart": "c1"})]
)
def test_what_is_no_reset_leaves_the_timeout_as_it_is(name, properties):
    stage = a_cart()
    stage.happens(name, **properties)
    assert stage.walk.due_at == later("2h")


def test_a_reset_counts_from_when_it_happened_and_never_shortens():
    stage = a_cart()
    stage.happens("Page Viewed", ago="20m", path="/cart")
    assert stage.walk.due_at == later("3h10m")
    stage.happens("Page Viewed", ago="60m", path="/cart")
    assert stage.walk.due_at == later("3h10m")


def test_rule_02_a_reset_that_overtook_its_trigger_counts():
    stage = Stage(RESET.replace("REPEAT", "ignore"))
    stage.happens("Item Touched", ago="10m", cart="c1")
    stage.happens("Cart Updated", ago="30m", cart="c1")
    assert stage.walk.due_at == later("2h")
    stage.happens("Item Touched", ago="2d", late=True, cart="c1")
    assert stage.walk.due_at == later("2h")


@pytest.mark.parametrize(("repeat", "due"), [("reset_timer", "3h30m"), ("update", "2h"), ("ignore", "2h"), ("restart", "3h30m")])
def test_rule_05_a_repeat_restarts_the_timeout_where_the_journey_says_so(repeat, due):
    stage = a_cart(repeat)
    stage.happens("Cart Updated", cart="c1")
    assert stage.walk.due_at == later(due)


def test_rule_06_a_condition_is_judged_at_each_event_of_the_lead():
    stage = waiting(CASES)
    stage.becomes(hot=True)
    stage.passes("5h")
    assert stage.walk.active
    stage.happens("Page Viewed")
    assert stage.ended == {"cases": "hot"}


def test_rule_06_a_condition_that_speaks_of_time_is_judged_hourly_too():
    stage = Stage(
        "journey: a\ntrigger: {event: Seen}\n"
        "steps: [{wait: 3d}, {wait_for: {when: 'hours_since(entered_at) > 80'}, timeout: 9d}, {send: x}]"
    )
    stage.happens("Seen")
    stage.passes("3d8h")
    assert stage.sent == []
    stage.passes("1h")
    assert [message.reached_at for message in stage.messages] == [later("3d9h")]


CLICK = """
journey: a
trigger: {event: Seen}
steps:
  - {id: offer, send: offer}
  - {wait_for: {event: Email Link Clicked, of: offer}, timeout: 5d, do: [{exit: clicked}], on_timeout: [{exit: silent}]}
"""


def clicked(stage: Stage, **properties) -> None:
    told = {"human": True, "enrollment_id": stage.walk.id, "step": "offer", "journey": "a"}
    stage.happens("Email Link Clicked", **(told | properties))


def test_a_click_of_a_human_in_the_mail_of_that_step_ends_the_wait():
    stage = Stage(CLICK)
    stage.happens("Seen")
    stage.settles()
    stage.passes("1m")
    for stranger in ({"human": False}, {"enrollment_id": "another"}, {"step": "other"}, {"human": "true"}):
        clicked(stage, **stranger)
    assert stage.walk.active
    clicked(stage)
    assert stage.ended == {"a": "clicked"}


def test_a_click_that_only_claims_to_be_ours_ends_no_wait():
    stage = Stage(CLICK)
    stage.happens("Seen")
    stage.settles()
    told = {"human": True, "enrollment_id": stage.walk.id, "step": "offer"}
    event = an_event("Email Link Clicked", id="x", at=later("1m"), properties=told)
    stage.arrives(Activity(sequence=9, event=event, lead=stage.lead))
    assert stage.walk.active


def test_a_click_that_overtakes_the_news_of_its_mail_counts():
    stage = Stage(CLICK)
    stage.happens("Seen")
    enrollment, transition = stage.walk.id, stage.walk.message
    stage.passes("10m")
    clicked(stage)
    stage.passes("1m")
    stage.happens("Email Sent", ago="9m", enrollment_id=enrollment, transition=transition)
    assert stage.ended == {"a": "clicked"}


def test_rule_01_an_exit_comes_before_the_wait_and_the_wait_before_the_repeat():
    stage = waiting(CASES.replace("steps:", "exit_when: {event: Called, where: event.properties.gone}\non_repeat: restart\nsteps:"))
    stage.happens("Called", gone=True)
    assert stage.ended == {"cases": "exit_when"}


def test_rule_08_the_holdout_waits_for_events_and_is_sent_nothing():
    stage = waiting(TASTING.replace("steps:", "holdout: 100%\nsteps:"))
    stage.happens("Seat Taken", tea="green", seats=1)
    assert (stage.sent, stage.walk.step) == ([], "steps.1")


@pytest.mark.parametrize("the_walker_stays", [True, False])
def test_rule_11_what_the_other_lead_did_after_the_entry_ends_the_wait(the_walker_stays):
    walker, other = Stage(TASTING), Stage(TASTING, lead=a_lead(id="l2"))
    walker.happens("Seen", tea="green")
    for stage in (walker, other):
        stage.passes("1h")
    other.happens("Seat Taken", ago="5m", tea="green", seats=1)
    survivor, merged = (walker, other) if the_walker_stays else (other, walker)
    survivor.merges(merged)
    assert survivor.sent == ["welcome"]


def test_rule_13_while_paused_an_event_ends_the_wait_and_the_next_step_is_taken_afterwards():
    stage = waiting()
    stage.sets_status(tasting="paused")
    stage.happens("Seat Taken", tea="green", seats=1)
    assert stage.sent == []
    stage.sets_status()
    stage.wake()
    assert stage.sent == ["welcome"]


def test_rule_13_a_wait_reached_in_a_pause_begins_when_it_ends_and_looks_back():
    stage = Stage(LATER.replace("SINCE", "step"))
    stage.happens("Seen")
    stage.sets_status(a="paused")
    stage.passes("2d")
    stage.happens("Called", ago="1h")
    stage.sets_status()
    stage.wake()
    assert stage.sent == ["x"]


def test_rule_14_an_event_past_16_wakes_nothing_and_the_loop_is_told():
    stage = waiting(CASES)
    stage.happens("Called", depth=17)
    assert (stage.walk.active, stage.loops) == (True, ["cases"])
    assert isinstance(stage.effects[-1], Loop)


def test_rule_14_what_goes_on_from_an_event_is_as_deep_as_that():
    stage = waiting()
    stage.happens("Seat Taken", depth=7, tea="green", seats=1)
    assert [message.depth for message in stage.messages] == [7]


def test_rule_15_a_condition_on_what_is_missing_does_not_come_true():
    stage = waiting("journey: a\ntrigger: {event: Seen}\nsteps: [{wait_for: {when: lead.traits.size < 5}, timeout: 1d}, {send: x}]")
    stage.happens("Page Viewed")
    assert stage.sent == []
