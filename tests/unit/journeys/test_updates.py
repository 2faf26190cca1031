"""Steps that say something of their lead."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.journeys.enrollment import KnownLead
from shared.wire import OURSELVES, decode_event, encode
from tests.builders import NOON, a_lead, an_event
from tests.unit.journeys.stage import Stage, later

NURTURE = """
journey: nurture
trigger: {event: Seen}
steps:
  - update:
      traits:
        {stage: nurtured, cart: "=entry.properties.cart", seen_at: "=entry.at", size: "=1 / 0", plan: null,
         deep: {since: "=now", list: ["=key", 7]}}
      tags: {add: [vip, "='cart-' + entry.properties.cart", "=none"], remove: [new]}
  - branch:
      - {if: "lead.traits.stage == 'nurtured' and 'vip' in lead.tags", do: [{send: vip}]}
      - {else: [{send: anybody}]}
"""

ANA = a_lead(tags=["new", "old"], traits={"plan": "team", "name": "Ana"})


def test_what_is_said_is_an_event_of_ours_that_scoring_understands():
    stage = Stage(NURTURE, lead=ANA)
    stage.happens("Seen", depth=2, cart="c1")
    (event,) = stage.updates
    assert (event.type, event.name, event.source, event.trusted, event.lead_id) == ("identify", "", OURSELVES, True, "l1")
    assert (event.at, event.received_at, event.depth) == (NOON, NOON, 3)
    assert event.properties["tags"] == {"add": ["vip", "cart-c1"], "remove": ["new"]}
    assert event.properties["enrollment_id"] == stage.walk.id
    assert decode_event(encode(event)) == event


def test_values_are_literal_unless_they_begin_with_an_equals_sign():
    stage = Stage(NURTURE, lead=ANA)
    stage.happens("Seen", cart="c1")
    told = stage.updates[0].traits
    assert (told["stage"], told["cart"], told["size"], told["plan"]) == ("nurtured", "c1", None, None)
    assert told["seen_at"] == "2027-03-01T12:00:00Z"
    assert told["deep"] == {"since": "2027-03-01T12:00:00Z", "list": [None, 7]}


def test_the_walk_sees_its_lead_so_at_once():
    stage = Stage(NURTURE, lead=ANA)
    stage.happens("Seen", cart="c1")
    assert stage.sent == ["vip"]
    assert stage.messages[0].lead is not None
    assert stage.messages[0].lead.tags == ["cart-c1", "old", "vip"]
    assert stage.messages[0].lead.traits["name"] == "Ana"
    assert "plan" not in stage.messages[0].lead.traits


def test_the_leads_other_walks_see_it_too():
    other = "journey: other\ntrigger: {event: Seen}\npriority: 200\naudience: lead.traits.stage == 'nurtured'\nsteps: [{send: other}]"
    stage = Stage(NURTURE, other, lead=ANA)
    stage.happens("Seen", cart="c1")
    assert stage.sent == ["vip", "other"]
    assert stage.dossier.touched


def test_a_zone_that_is_set_counts_for_the_next_wait():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{update: {traits: {timezone: Asia/Tehran}}}, {wait: {at: '16:00'}}]")
    stage.happens("Seen")
    assert stage.walk.due_at == later("30m")


def test_tried_again_it_is_the_same_event():
    ids = set()
    for _ in range(2):
        stage = Stage(NURTURE)
        stage.happens("Seen", cart="c1")
        ids.add(stage.updates[0].id)
    assert len(ids) == 1
    assert len(ids.pop()) == 32


def test_two_updates_of_one_walk_are_two_events():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{update: {tags: {add: [a]}}}, {update: {tags: {add: [a]}}}]")
    stage.happens("Seen")
    assert len({event.id for event in stage.updates}) == 2


def test_an_update_takes_no_time_and_the_next_wait_counts_from_where_it_was_reached():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{wait: 1h}, {update: {tags: {add: [a]}}}, {wait: 1h}, {send: x}]")
    stage.happens("Seen")
    stage.now = later("90m")
    stage.wake()
    assert (stage.updates[0].at, stage.walk.due_at) == (later("90m"), later("2h"))


def test_rule_08_in_the_holdout_nothing_is_said():
    stage = Stage(NURTURE.replace("steps:", "holdout: 100%\nsteps:", 1), lead=ANA)
    stage.happens("Seen", cart="c1")
    assert (stage.updates, stage.visits[0]) == ([], ("steps.0", "holdout", ""))


def test_rule_14_an_update_is_one_deeper_than_its_walk_until_a_long_wait():
    stage = Stage("journey: a\ntrigger: {event: Seen}\nsteps: [{update: {tags: {add: [a]}}}, {wait: 1h}, {update: {tags: {add: [b]}}}]")
    stage.happens("Seen", depth=4)
    stage.passes("1h")
    assert [event.depth for event in stage.updates] == [5, 1]


@given(
    st.dictionaries(st.sampled_from("abc"), st.none() | st.integers()), st.lists(st.sampled_from("xyz")), st.lists(st.sampled_from("xyz"))
)
def test_a_view_that_was_told_twice_is_as_if_told_once(traits, add, remove):
    event = an_event("", type="identify", traits=traits, properties={"tags": {"add": add, "remove": remove}}, at=NOON + timedelta(hours=1))
    known = KnownLead(encode(a_lead(traits={"a": 1, "z": 2}, tags=["x"])), 3)
    once = known.told(event)
    assert once.told(event).lead == once.lead
    assert (once.sequence, once.lead.traits["z"]) == (3, 2)
    assert not set(remove) & set(once.lead.tags)
    assert None not in once.lead.traits.values()
