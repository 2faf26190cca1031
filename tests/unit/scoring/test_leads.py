"""Whole leads in memory: what an event tells, merges, readiness changes, lateness, and that order and repetition leave no trace."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scoring.leads import Roster, refold
from services.scoring.readiness import readiness
from shared.errors import InvalidMessage
from shared.wire import OURSELVES, Event, replace
from tests.builders import NOON, an_event, scoring_definitions
from tests.scoring_memory import DEFINITIONS, Memory

DAY = timedelta(days=1)


def an_anonymous_event(name: str = "Ebook Downloaded", **overrides: object) -> Event:
    return an_event(name, **({"user_id": None, "anonymous_id": "d"} | overrides))


def names(memory: Memory) -> list[str]:
    return [activity.event.name for activity in memory.told]


def test_a_first_event_makes_a_lead_and_says_how_ready_it_is():
    memory = Memory()
    memory.handle([an_event("Ebook Downloaded")])
    created, event, change, identified = memory.told
    assert (created.sequence, created.event.name, created.lead.user_id, created.profile_changed) == (1, "Lead Created", "u1", True)
    assert (event.sequence, event.readiness_before, event.lead.readiness, event.profile_changed) == (2, 1, 7, True)
    assert (change.sequence, change.event.name, change.event.properties) == (3, "Readiness Changed", {"before": 1, "after": 7})
    assert (identified.event.name, identified.event.properties) == ("Lead Identified", {"by": "user_id"})
    assert (change.event.source, change.event.lead_id, change.event.depth, change.lead) == (OURSELVES, event.lead.id, 1, event.lead)
    assert event.lead.user_id == "u1"


def test_the_same_event_in_one_batch_is_folded_once():
    memory = Memory()
    memory.handle([an_event("Page Viewed", properties={"path": "/pricing"})] * 3)
    assert memory.of("user:u1").lead.points == 0.5


def test_7_then_8_then_9_is_hot():
    memory = Memory()
    for name in ("Ebook Downloaded", "Webinar Attended", "Link Clicked"):
        memory.handle([an_event(name, id=name, properties={"paid": True})])
    changes = [activity for activity in memory.told if activity.event.name == "Readiness Changed"]
    assert [tuple(change.event.properties.values()) for change in changes] == [(1, 7), (7, 8), (8, 9)]
    assert [change.lead.hot for change in changes] == [False, False, True]
    assert [reason.rule for reason in memory.told[-1].lead.reasons] == ["paid_link"]


def test_identifying_turns_the_anonymous_lead_into_the_known_one():
    memory = Memory()
    memory.handle([an_anonymous_event(id="a")])
    memory.handle([an_event("", type="identify", id="b", anonymous_id="d", traits={"name": "Ana"})])
    assert len(memory.leads) == 1
    assert memory.of("device:d").lead.user_id == "u1"
    identify, identified = memory.told[-2:]
    assert (identify.event.type, identify.profile_changed) == ("identify", True)
    assert identified.event.name == "Lead Identified"
    assert memory.of("user:u1").lead.points == 7


def test_an_anonymous_lead_is_merged_with_its_evidence_and_its_history():
    memory = Memory(scoring_definitions(**{"journeys/a.yaml": "where: \"lead.events['Page Viewed'].count > 3\""}))
    page = {"path": "/pricing"}
    memory.handle([an_event("Page Viewed", id="a", properties=page), an_anonymous_event("Page Viewed", id="b", properties=page)])
    anonymous = memory.of("device:d").lead.id
    memory.handle([an_event("Webinar Attended", id="c", anonymous_id="d")])
    merged = next(activity for activity in memory.told if activity.merged_from)
    survivor = memory.of("user:u1")
    assert (merged.event.name, merged.merged_from, merged.lead.id) == ("Lead Merged", anonymous, survivor.lead.id)
    assert survivor.lead.points == 9.0
    assert survivor.lead.events["Page Viewed"].count == 2
    assert memory.of("device:d") == survivor
    assert names(memory)[-3:] == ["Lead Merged", "Webinar Attended", "Readiness Changed"]


def test_a_merge_that_moves_readiness_says_so_before_the_event_that_caused_it():
    memory = Memory()
    memory.handle([an_event("Something Else", id="a"), an_anonymous_event(id="b")])
    memory.handle([an_event("Something Else", id="c", anonymous_id="d")])
    assert names(memory)[-3:] == ["Lead Merged", "Readiness Changed", "Something Else"]
    assert [activity.sequence for activity in memory.told if activity.lead.user_id] == [1, 2, 3, 4, 5, 6]


def test_two_identified_leads_never_merge_by_themselves():
    memory = Memory()
    memory.handle([an_event(id="a", anonymous_id="d"), an_event(id="b", user_id="u2", anonymous_id="d", name="Webinar Attended")])
    assert memory.of("user:u1").lead.id != memory.of("user:u2").lead.id
    assert memory.of("device:d").lead.user_id == "u2"
    memory.handle([an_anonymous_event("Link Clicked", id="c", properties={"paid": True})])
    assert (memory.of("user:u1").lead.readiness, memory.of("user:u2").lead.readiness) == (7, 9)


def test_a_trusted_alias_joins_two_identified_leads_under_the_new_id():
    memory = Memory()
    memory.handle([an_event(id="a"), an_event("Webinar Attended", id="b", user_id="u2")])
    memory.handle([an_event("", type="alias", id="c", user_id="u2", previous_id="u1", trusted=True)])
    assert memory.of("user:u1") == memory.of("user:u2")
    assert memory.of("user:u1").lead.user_id == "u2"


def test_an_event_of_ours_finds_its_lead_through_the_tombstone():
    memory = Memory()
    memory.handle([an_event(id="a"), an_anonymous_event(id="b")])
    anonymous = memory.identities["device:d"]
    memory.handle([an_event("Something Else", id="c", anonymous_id="d")])
    memory.handle([an_event("Unsubscribed", id="d", user_id=None, lead_id=anonymous, source=OURSELVES, trusted=True)])
    assert memory.of("user:u1").lead.points == 4


def test_an_event_of_ours_for_nobody_is_refused():
    with pytest.raises(InvalidMessage) as refused:
        Memory().handle([an_event(lead_id="nobody")])
    assert refused.value.code == "unknown_lead"


def test_a_chain_of_more_than_16_of_our_own_effects_stops():
    memory = Memory()
    memory.handle([an_event(id="a", depth=16)])
    with pytest.raises(InvalidMessage) as refused:
        memory.handle([an_event(id="b", depth=17)])
    assert refused.value.code == "loop"


def test_an_event_older_than_late_after_on_arrival_is_late_and_so_is_what_it_changes():
    memory = Memory(scoring_definitions(playbook="late_after: 1d\n"))
    memory.handle([an_event(id="a", at=NOON - 2 * DAY), an_event("Webinar Attended", id="b", at=NOON - DAY)])
    assert [(activity.event.name, activity.late) for activity in memory.told] == [
        ("Lead Created", True),
        ("Ebook Downloaded", True),
        ("Readiness Changed", True),
        ("Lead Identified", True),
        ("Webinar Attended", False),
        ("Readiness Changed", False),
    ]


def test_an_imported_event_is_late():
    memory = Memory()
    memory.handle([an_event(historical=True)])
    assert all(activity.late for activity in memory.told)


def test_time_alone_cools_a_lead_and_it_tells():
    memory = Memory()
    memory.handle([an_event("Link Clicked", properties={"paid": True})])
    lead = memory.of("user:u1")
    for days, expected in ((14, (9, True)), (22, (8, True)), (30, (7, False))):
        roster = Roster(DEFINITIONS, NOON + days * DAY, {lead.lead.id: lead})
        roster.rescore(lead.lead.id)
        lead = roster.leads[lead.lead.id]
        assert (lead.lead.readiness, lead.lead.hot) == expected
        due = roster.due[lead.lead.id]
        assert due is not None
        assert due > roster.now
        assert [issued.activity.event.depth for issued in roster.issued] == ([0] if days > 14 else [])


def test_a_track_call_does_not_count_as_a_changed_profile():
    memory = Memory()
    memory.handle([an_event(id="a"), an_event(id="b"), an_event(id="c", context={"timezone": "Asia/Tehran"})])
    assert [a.profile_changed for a in memory.told if a.event.name == "Ebook Downloaded"] == [True, False, True]


def test_an_address_that_mail_may_go_to_identifies_a_lead_and_one_that_a_browser_says_does_not():
    memory = Memory()
    said = {"type": "identify", "traits": {"email": "ana@example.com"}}
    memory.handle([an_anonymous_event("", id="a", **said)])
    assert "Lead Identified" not in names(memory)
    memory.handle([an_anonymous_event("", id="b", **said, trusted=True), an_anonymous_event("", id="c", **said, trusted=True)])
    (identified,) = [activity for activity in memory.told if activity.event.name == "Lead Identified"]
    assert identified.event.properties == {"by": "address"}


def test_a_lead_is_made_before_what_it_does_and_sorts_so_at_the_same_moment():
    memory = Memory()
    memory.handle([an_event("Something Else")])
    told = [activity.event for activity in memory.told]
    assert [event.name for event in told] == ["Lead Created", "Something Else", "Lead Identified"]
    assert sorted(told, key=lambda event: (event.at, event.id)) == told


OWNER = {"d1": "ana", "d2": "ana", "d3": "bo"}
KINDS = st.sampled_from(["Ebook Downloaded", "Webinar Attended", "Link Clicked", "Page Viewed", "Unsubscribed", "identify"])


def _happening(kind: str, device: str, ids: str, hours: int, employees: int) -> Event:
    at = NOON - timedelta(hours=hours)
    identify = kind == "identify"
    return an_event(
        "" if identify else kind,
        type="identify" if identify else "track",
        user_id=OWNER[device] if "user" in ids else None,
        anonymous_id=device if "device" in ids else None,
        at=at,
        received_at=at,
        traits={"employees": employees} if identify else {},
        properties={"path": "/pricing", "paid": employees > 40},
    )


IDS = st.sampled_from(["user", "device", "user and device"])
HAPPENINGS = st.lists(
    st.builds(_happening, KINDS, st.sampled_from(sorted(OWNER)), IDS, st.integers(0, 3000), st.sampled_from([10, 50, 90])), max_size=12
)


def _told_apart(events: Sequence[Event]) -> list[Event]:
    return [replace(event, id=f"e{number}") for number, event in enumerate(events)]


def _outcome(memory: Memory) -> dict[str, object]:
    found = {}
    for identity in memory.identities:
        scored = memory.of(identity)
        judged = readiness(scored.evidence, DEFINITIONS.rules, scored.lead, NOON)
        found[identity] = (judged.points, judged.reasons, scored.lead.traits, scored.lead.user_id)
    return found


@settings(max_examples=150)
@given(HAPPENINGS.map(_told_apart), st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_order_any_repetition_and_any_batches_lead_to_the_same(events: list[Event], chance: Random, size: int):
    straight, mixed = Memory(), Memory()
    straight.handle(events)
    shuffled = [*events, *events, *events]
    chance.shuffle(shuffled)
    for first in range(0, len(shuffled), size):
        mixed.handle(shuffled[first : first + size])
    assert _outcome(mixed) == _outcome(straight)
    sequences: dict[str, list[int]] = {}
    for activity in mixed.told:
        sequences.setdefault(activity.lead.id, []).append(activity.sequence)
    assert all(found == list(range(1, len(found) + 1)) for found in sequences.values())


@settings(max_examples=50)
@given(HAPPENINGS.map(_told_apart))
def test_folding_the_record_anew_gives_the_lead_as_it_is(events: list[Event]):
    memory = Memory()
    memory.handle(events)
    for identity in memory.identities:
        scored = memory.of(identity)
        own = [event for event in events if any(memory.of(name) == scored for name in _identities(event))]
        again = refold(scored.lead, own, DEFINITIONS, NOON)
        assert again.evidence == scored.evidence
        assert again.lead.points == scored.lead.points


def _identities(event: Event) -> list[str]:
    return [f"user:{event.user_id}"] * (event.user_id is not None) + [f"device:{event.anonymous_id}"] * (event.anonymous_id is not None)
