"""Steps that wait for a time on the lead's own clock, and what happens to them while they wait."""

from datetime import UTC, datetime

import pytest

from services.journeys.catalogue import InForce
from services.journeys.loader import load
from tests.builders import a_lead
from tests.unit.journeys.stage import Stage, journeys_of, later


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def a_stage(steps: str, *, keys: str = "", **more) -> Stage:
    return Stage(f"journey: a\ntrigger: {{event: Seen}}\n{keys}steps: {steps}", **more)


def test_a_wait_for_a_clock_time_ends_at_it_on_the_leads_clock():
    stage = a_stage("[{wait: {at: '09:00'}}, {send: x}]", lead=a_lead(timezone="Asia/Tehran"))
    stage.happens("Seen")  # noon in UTC is half past three in Tehran
    assert stage.walk.due_at == utc("2027-03-02T05:30")
    stage.passes("17h29m")
    assert stage.sent == []
    stage.passes("1m")
    assert stage.sent == ["x"]
    assert stage.messages[0].reached_at == utc("2027-03-02T05:30")


def test_without_a_zone_of_its_own_a_lead_is_on_the_playbooks_clock():
    stage = a_stage("[{wait: {at: '09:00', days: [wed]}}]", zone="America/New_York")
    stage.happens("Seen")
    assert stage.walk.due_at == utc("2027-03-03T14:00")


def test_a_journey_says_of_itself_what_its_zone_variable_means():
    files = {"playbook.yaml": b'mail: {timezone: "${ZONE}"}', "journeys/a.yaml": b"journey: a\ntrigger: {api: true}\nsteps: [{send: x}]"}
    assert str(load(files, {"ZONE": "Asia/Tehran"}).by_name["a"].zone) == "Asia/Tehran"
    assert str(load(files, {}).by_name["a"].zone) == "UTC"


def test_a_window_that_is_open_is_passed_at_once_and_one_that_is_shut_is_waited_for():
    stage = a_stage(
        "[{wait: {window: {from: '09:00', to: '17:00'}}}, {send: x}, {wait: {window: {from: '20:00', to: '06:00'}}}, {send: y}]"
    )
    stage.happens("Seen")
    assert stage.sent == ["x"]
    stage.settles()
    assert stage.walk.due_at == utc("2027-03-01T20:00")
    stage.passes("8h")
    assert stage.sent == ["x", "y"]


def test_a_weekend_is_waited_out():
    steps = "[{wait: {window: {from: '09:00', to: '17:00', days: [mon, tue, wed, thu, fri]}}}, {send: x}]"
    stage = a_stage(steps, now=utc("2027-03-05T17:00"))
    stage.happens("Seen")
    assert stage.walk.due_at == utc("2027-03-08T09:00")


UNTIL = """
  - wait: {until: lead.traits.trial_ends, offset: -1d}
    do: [{send: ends-tomorrow}]
    if_past: [{send: has-ended}]
  - {send: after}
"""


@pytest.mark.parametrize(
    ("ends", "sent"),
    [
        ("2027-03-05T09:00", "ends-tomorrow"),
        ("2027-03-01", "has-ended"),
        ("2027-03-02T12:00", "has-ended"),
        (None, "after"),
        ("soon", "after"),
    ],
)
def test_a_moment_that_is_to_come_had_passed_or_is_none(ends, sent):
    stage = a_stage(UNTIL, lead=a_lead(traits={"trial_ends": ends}))
    stage.happens("Seen")
    stage.passes("10d")
    assert stage.sent == [sent]


def test_until_goes_on_after_either_way():
    stage = a_stage(UNTIL, lead=a_lead(traits={"trial_ends": "2027-03-05T09:00"}))
    stage.happens("Seen")
    stage.passes("2d20h")
    assert stage.sent == []
    stage.passes("1h")
    assert stage.messages[0].reached_at == utc("2027-03-04T09:00")
    stage.settles()
    assert stage.sent == ["ends-tomorrow", "after"]


@pytest.mark.parametrize(("moved_to", "sent_at"), [("2027-03-08T09:00", "2027-03-07T09:00"), ("2027-03-03T09:00", "2027-03-02T12:00")])
def test_rule_06_until_is_reckoned_anew_at_each_event_of_the_lead(moved_to, sent_at):
    stage = a_stage(UNTIL, lead=a_lead(traits={"trial_ends": "2027-03-05T09:00"}))
    stage.happens("Seen")
    stage.passes("1d")
    stage.becomes(traits={"trial_ends": moved_to})
    stage.happens("Page Viewed")
    stage.passes("10d")
    assert [(message.template, message.reached_at) for message in stage.messages] == [("ends-tomorrow", utc(sent_at))]


def test_rule_06_a_moment_that_is_taken_back_is_waited_for_no_more():
    stage = a_stage(UNTIL, lead=a_lead(traits={"trial_ends": "2027-03-05T09:00"}))
    stage.happens("Seen")
    stage.passes("1d")
    stage.becomes(traits={})
    stage.happens("Page Viewed")
    stage.passes("1m")
    assert stage.sent == ["after"]


def test_rule_06_once_the_moment_has_come_nothing_moves_it():
    stage = a_stage(UNTIL, lead=a_lead(traits={"trial_ends": "2027-03-05T09:00"}))
    stage.happens("Seen")
    stage.passes("4d")
    stage.becomes(traits={"trial_ends": "2027-04-05T09:00"})
    stage.happens("Page Viewed")
    stage.settles()
    assert stage.sent == ["ends-tomorrow", "after"]


def test_rule_06_a_lead_who_moves_house_is_mailed_at_nine_where_it_lives_now():
    stage = a_stage("[{wait: {at: '09:00'}}, {send: x}]")
    stage.happens("Seen")
    stage.passes("1h")
    stage.becomes(traits={"timezone": "Asia/Tehran"})
    stage.happens("Page Viewed")
    stage.passes("1d")
    assert [message.reached_at for message in stage.messages] == [utc("2027-03-02T05:30")]


def test_rule_06_an_event_between_the_moment_and_its_wake_up_puts_nothing_off():
    stage = a_stage("[{wait: {at: '13:00'}}, {send: x}]")
    stage.happens("Seen")
    stage.now = later("1h30m")  # the wake-up is late
    stage.happens("Page Viewed")
    stage.wake()
    assert stage.messages[0].reached_at == later("1h")


def test_until_may_be_reckoned_from_when_the_walk_came_there_and_does_not_run_away():
    stage = a_stage("[{wait: 1h}, {wait: {until: 'now + hours(2)'}}, {send: x}]")
    stage.happens("Seen")
    stage.passes("2h")
    stage.happens("Page Viewed")
    stage.passes("1h")
    assert [message.reached_at for message in stage.messages] == [later("3h")]


def test_until_follows_an_entry_that_a_repeat_renews():
    stage = a_stage("[{wait: {until: entry.properties.pickup}}, {send: x}]", keys="on_repeat: update\n")
    stage.happens("Seen", pickup="2027-03-03T12:00:00Z")
    stage.passes("1h")
    stage.happens("Seen", pickup="2027-03-02T12:00:00Z")
    stage.passes("1d")
    assert [message.reached_at for message in stage.messages] == [utc("2027-03-02T12:00")]


def test_rule_11_until_follows_the_newer_entry_of_a_merge():
    journey = "journey: a\ntrigger: {event: Seen, key: event.properties.n}\nsteps: [{wait: {until: entry.properties.pickup}}, {send: x}]"
    one, other = Stage(journey), Stage(journey, lead=a_lead(id="l2"))
    one.happens("Seen", n=1, pickup="2027-03-03T12:00:00Z")
    other.passes("1h")
    other.happens("Seen", n=1, pickup="2027-03-02T12:00:00Z")
    one.passes("1h")
    one.merges(other)
    assert [walk.due_at for walk in one.walks if walk.active] == [utc("2027-03-02T12:00")]


def test_rule_05_a_repeat_does_not_move_a_time_of_day():
    stage = a_stage("[{wait: {at: '15:00'}}, {send: x}]", keys="on_repeat: reset_timer\n")
    stage.happens("Seen")
    stage.passes("1h")
    stage.happens("Seen")
    stage.passes("2h")
    assert [message.reached_at for message in stage.messages] == [later("3h")]


def test_rule_13_a_time_that_comes_in_a_pause_is_overdue_when_it_ends():
    stage = a_stage("[{wait: {at: '15:00'}}, {send: x, max_age: 1d}]")
    stage.happens("Seen")
    stage.sets_status(a="paused")
    stage.passes("5h")
    assert stage.sent == []
    stage.sets_status()
    stage.wake()
    assert [message.reached_at for message in stage.messages] == [later("3h")]


def test_rule_08_the_holdout_waits_like_everybody():
    stage = a_stage("[{wait: {at: '15:00'}}, {send: x}]", keys="holdout: 100%\n")
    stage.happens("Seen")
    stage.passes("3h")
    assert stage.visits == [("steps.0", "waited", ""), ("steps.1", "holdout", "")]


def test_rule_14_a_wait_that_lasted_an_hour_forgets_the_depth_and_a_shorter_one_does_not():
    stage = a_stage("[{wait: {at: '12:59'}}, {send: one}, {wait: {at: '14:00'}}, {send: two}]")
    stage.happens("Seen", depth=5)
    stage.passes("59m")
    stage.settles()
    stage.passes("2h")
    assert [message.depth for message in stage.messages] == [5, 0]


def test_a_walk_of_a_version_that_was_read_before_waits_by_its_own_playbooks_zone():
    text = "journey: a\ntrigger: {event: Seen}\nsteps: [{wait: {at: '09:00'}}]"
    stage = Stage(text, zone="Asia/Tehran")
    loaded = {"v1": journeys_of(text, zone="Asia/Tehran"), "v2": journeys_of(text, zone="UTC")}
    stage.happens("Seen")
    stage.in_force = InForce("v2", {}, loaded)
    stage.happens("Page Viewed")
    assert stage.walk.due_at == utc("2027-03-02T05:30")
