"""What begins a walk, and what is the same beginning again: rules 5 and 12 with every kind of trigger."""

import msgspec
import pytest

from services.journeys.entering import Entered, Refused
from services.journeys.store import State
from shared.wire import Entry, encode
from tests.builders import NOON, a_lead
from tests.unit.journeys.stage import Stage, later

TWO = """
journey: cart
trigger:
  - {event: [A, Also A], key: event.properties.cart}
  - {event: B, key: event.properties.cart, where: event.properties.big}
on_repeat: REPEAT
reentry: always
steps: [{id: first, send: hello}, {wait: 1d}, {send: last}]
"""


def begun(repeat: str, name: str = "A", **properties) -> Stage:
    stage = Stage(TWO.replace("REPEAT", repeat))
    stage.happens(name, cart="c1", **properties)
    stage.passes("1h")
    stage.settles()
    stage.passes("1h")
    return stage


def test_rule_05_another_trigger_of_the_list_is_no_repeat():
    stage = begun("restart")
    stage.happens("B", cart="c1", big=True)
    assert (stage.sent, stage.walk.entry.event) == (["hello"], "A")


@pytest.mark.parametrize("name", ["A", "Also A"])
def test_rule_05_every_name_of_the_trigger_that_began_it_is_one(name):
    stage = begun("restart")
    stage.happens(name, cart="c1")
    assert (stage.sent, stage.walk.entry.event) == (["hello", "hello"], name)


def test_rule_05_the_where_of_the_trigger_that_began_it_must_hold_again():
    stage = begun("update", "B", big=True)
    stage.happens("B", cart="c1")
    assert stage.walk.entry.properties == {"cart": "c1", "big": True}
    stage.happens("B", cart="c1", big=2)
    assert stage.walk.entry.properties["big"] == 2


def test_rule_05_another_key_is_another_walk():
    stage = begun("restart")
    stage.happens("A", cart="c2")
    assert [walk.key for walk in stage.walks] == ["c1", "c2"]


def test_rule_05_a_walk_that_was_stored_without_its_trigger_takes_any():
    stage = begun("restart")
    walk = stage.walk
    stage.dossier.open[walk.id] = msgspec.structs.replace(walk, trigger=None)
    stage.happens("B", cart="c1", big=True)
    assert stage.sent == ["hello", "hello"]


def test_what_was_stored_before_triggers_were_kept_can_be_read():
    older = {"entry": Entry(at=NOON), "entry_sequence": 3, "reached_at": NOON, "message": 2}
    state = msgspec.json.decode(encode(older), type=State)
    assert (state.message, state.awaits, state.trigger) == (2, None, None)


def test_a_restart_begins_with_the_new_entry_and_forgets_what_happened_at_the_steps():
    stage = begun("restart")
    assert stage.walk.steps is not None
    assert "event" in stage.walk.steps["first"]
    stage.happens("A", cart="c1")
    assert (stage.walk.steps, stage.walk.entered_at) == ({"first": {"at": stage.now}}, later("2h"))


ASLEEP = "journey: back\ntrigger: {sleeping: true, where: lead.orders.count > 0, key: event.properties.last_at}\nsteps: [{send: miss-you}]"


def test_rule_12_a_lead_that_falls_asleep_begins_a_walk_with_when_it_was_last_seen():
    stage = Stage(ASLEEP.replace("lead.orders.count > 0", "lead.sleeping"), lead=a_lead(sleeping=True))
    stage.happens("Lead Asleep", last_at="2026-12-01T09:00:00Z")
    assert stage.messages[0].entry.properties == {"last_at": "2026-12-01T09:00:00Z"}
    assert stage.walk.key == "2026-12-01T09:00:00Z"


def test_a_sleeper_for_whom_the_where_does_not_hold_is_left_alone():
    stage = Stage(ASLEEP)
    stage.happens("Lead Asleep", last_at="2026-12-01T09:00:00Z")
    assert stage.walks == []


CALL = """
journey: a
trigger:
  - {event: Seen}
  - {api: true, where: event.properties.paid, key: event.properties.order}
reentry: always
steps: [{wait: 1d}]
"""


def asked(**properties) -> Entered | Refused:
    stage = Stage(CALL.replace("event: Seen", "event: Seen, key: event.properties.order"))
    stage.happens("Page Viewed")
    return stage.asks("a", properties.pop("key", None), **properties)


def test_rule_12_the_key_of_a_call_comes_from_its_properties_or_the_caller_names_it():
    of_properties, named = asked(paid=True, order=7), asked(paid=True, order=7, key="k")
    assert isinstance(of_properties, Entered)
    assert isinstance(named, Entered)
    assert (of_properties.enrollment.key, named.enrollment.key, named.enrollment.trigger) == ("7", "k", 1)


def test_a_call_for_which_the_where_does_not_hold_or_without_a_key_begins_nothing():
    assert asked(order=7) == Refused("where")
    assert asked(paid=True) == Refused("no_key")


def test_an_event_of_no_name_is_no_call():
    stage = Stage("journey: a\ntrigger: {api: true}\nsteps: [{wait: 1d}]")
    stage.happens("")
    assert stage.walks == []
    assert isinstance(stage.asks("a"), Entered)


def test_rule_11_after_a_merge_the_trigger_of_the_newer_entry_repeats():
    one, other = Stage(TWO.replace("REPEAT", "update")), Stage(TWO.replace("REPEAT", "update"), lead=a_lead(id="l2"))
    one.happens("A", cart="c1")
    other.passes("1h")
    other.happens("B", cart="c1", big=1)
    one.passes("1h")
    one.merges(other)
    (walk,) = (walk for walk in one.walks if walk.active)
    assert (walk.entry.event, walk.trigger) == ("B", 1)
    one.passes("1h")
    one.happens("A", cart="c1")
    one.happens("B", cart="c1", big=2)
    assert next(walk for walk in one.walks if walk.active).entry.properties["big"] == 2
