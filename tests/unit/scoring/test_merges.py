"""Leads that turn out to be one person: whole, in any order, along chains and from two sides, and never by themselves."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scoring.readiness import readiness
from shared.errors import InvalidMessage
from shared.wire import OURSELVES, Event, replace
from tests.builders import A_READINESS_YAML, NOON, an_event, scoring_definitions
from tests.scoring_memory import Memory

PLAYBOOK = "orders: {event: Order Completed, amount: event.properties.total}\nconsent: {events: [Newsletter Subscribed]}\n"
ASKING = {"journeys/a.yaml": "where: \"lead.events['Page Viewed'].count > 3\""}
WHOLE = scoring_definitions(A_READINESS_YAML + "sleeping: {event: Order Completed, silent_for: 90d}\n", PLAYBOOK, **ASKING)


def identify(id: str, *, user: str | None = None, device: str | None = None, trusted: bool = False, **fields: Any) -> Event:
    return an_event("", id=id, type="identify", user_id=user, anonymous_id=device, trusted=trusted, **fields)


def alias(id: str, user: str, previous: str, *, trusted: bool = True) -> Event:
    return an_event("", id=id, type="alias", user_id=user, previous_id=previous, trusted=trusted)


def living(memory: Memory) -> list[str | None]:
    return sorted(str(memory.of(f"user:{name}").lead.user_id) for name in ("a", "b", "c") if f"user:{name}" in memory.identities)


@pytest.mark.parametrize("trusted", [False, True])
def test_an_identify_joins_no_two_identified_leads_not_even_a_servers(trusted: bool):
    memory = Memory()
    memory.handle([identify("1", user="a", device="d"), identify("2", user="b", device="d", trusted=trusted), identify("3", user="b")])
    assert memory.of("user:a").lead.id != memory.of("user:b").lead.id
    assert memory.tombstones == {}


def test_an_alias_from_a_browser_joins_no_two_identified_leads():
    memory = Memory()
    memory.handle([identify("1", user="a"), identify("2", user="b")])
    with pytest.raises(InvalidMessage) as refused:
        memory.handle([alias("3", "b", "a", trusted=False)])
    assert refused.value.code == "alias_untrusted"
    assert len(memory.leads) == 2


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("size", [1, 3])
def test_a_chain_of_merges_ends_in_one_lead_whatever_comes_first(order: tuple[int, ...], size: int):
    memory = Memory()
    memory.handle([an_event("Page Viewed", id=name, user_id=name, properties={"path": "/pricing"}) for name in "abc"])
    memory.handle([an_event("Webinar Attended", id="w", user_id=None, anonymous_id="d")])
    ties = [alias("ab", "b", "a"), alias("bc", "c", "b"), identify("da", user="a", device="d")]
    chosen = [ties[index] for index in order]
    for first in range(0, 3, size):
        memory.handle(chosen[first : first + size])
    assert len(memory.leads) == 1
    found = memory.of("user:a")
    assert found == memory.of("user:b") == memory.of("user:c") == memory.of("device:d")
    assert found.lead.points == 9.5
    assert set(memory.tombstones) | {found.lead.id} == {activity.lead.id for activity in memory.told}


@pytest.mark.parametrize("together", [True, False])
def test_two_aliases_that_point_at_each_other_make_one_lead(together: bool):
    memory = Memory()
    memory.handle([an_event("Page Viewed", id=name, user_id=name, properties={"path": "/pricing"}) for name in "ab"])
    ties = [alias("1", "b", "a"), alias("2", "a", "b")]
    for batch in [ties] if together else [[tie] for tie in ties]:
        memory.handle(batch)
    assert len(memory.leads) == 1
    assert memory.of("user:a").lead.points == 1.0
    assert sum(activity.merged_from is not None for activity in memory.told) == 1


def test_what_is_said_of_a_tombstone_is_of_the_living_along_the_whole_chain():
    memory = Memory()
    memory.handle([identify("1", user="a"), identify("2", user="b"), identify("3", user="c")])
    first = memory.of("user:a").lead.id
    memory.handle([alias("4", "b", "a")])
    memory.handle([alias("5", "c", "b")])
    memory.handle([an_event("Unsubscribed", id="6", user_id=None, lead_id=first, source=OURSELVES, trusted=True)])
    assert memory.told[-1].lead.id == memory.of("user:c").lead.id


def test_hotness_moves_along():
    memory = Memory()
    memory.handle([an_event("Link Clicked", id="1", user_id=None, anonymous_id="d", properties={"paid": True}), identify("2", user="a")])
    memory.handle([identify("3", user="a", device="d")])
    assert memory.of("user:a").lead.hot
    changes = [tuple(activity.event.properties.values()) for activity in memory.told if activity.event.name == "Readiness Changed"]
    assert changes == [(1, 9), (1, 9)]


def test_the_address_that_makes_an_anonymous_lead_known_makes_its_customer_mailable():
    memory = Memory()
    memory.handle([identify("1", device="d", trusted=True, traits={"email": "ana@example.com", "consent": True}), identify("2", user="a")])
    memory.handle([identify("3", user="a", device="d")])
    lead = memory.of("user:a").lead
    assert (lead.email, lead.consent.marketing) == ("ana@example.com", True)
    assert [activity.event.properties for activity in memory.told if activity.event.name == "Lead Identified"] == [
        {"by": "address"},
        {"by": "user_id"},
        {"by": "address"},
    ]


OWNER = {"d1": "ana", "d2": "ana", "d3": "bo", "d4": "cy"}
KINDS = st.sampled_from(["Ebook Downloaded", "Link Clicked", "Page Viewed", "Unsubscribed", "Order Completed", "identify", "identify"])
EMAILS = st.sampled_from([{}, {}, {"email": "ana@example.com"}, {"email": "bo@example.com"}])
CONSENTS = st.sampled_from([{}, {"consent": True}, {"consent": False}])


def _happening(kind: str, device: str, ids: str, hours: int, amount: int, traits: dict[str, Any], trusted: bool) -> Event:
    at = NOON - timedelta(hours=hours)
    is_identify = kind == "identify"
    return an_event(
        "" if is_identify else kind,
        type="identify" if is_identify else "track",
        user_id=OWNER[device] if "user" in ids else None,
        anonymous_id=device if "device" in ids else None,
        at=at,
        received_at=at,
        trusted=trusted,
        traits=traits | {"employees": amount} if is_identify else {},
        properties={"path": "/pricing", "paid": amount > 40, "total": amount},
    )


HAPPENINGS = st.lists(
    st.builds(
        _happening,
        KINDS,
        st.sampled_from(sorted(OWNER)),
        st.sampled_from(["user", "device", "user and device"]),
        st.integers(0, 3000),
        st.sampled_from([10, 50, 90]),
        st.builds(lambda email, consent: email | consent, EMAILS, CONSENTS),
        st.booleans(),
    ),
    max_size=10,
)
ALIASES = st.lists(st.permutations(["ana", "bo", "cy"]).map(lambda names: alias("", names[0], names[1])), max_size=3)


def _told_apart(parts: tuple[list[Event], list[Event]]) -> list[Event]:
    return [replace(event, id=f"e{number}") for number, event in enumerate([*parts[0], *parts[1]])]


def _outcome(memory: Memory, events: Sequence[Event]) -> dict[str, object]:
    """What every id comes to: points, reasons, profile, consent, counts; and which ids are one lead."""
    users = {user for event in events for user in (event.user_id, event.previous_id) if user}
    names = {f"user:{user}" for user in users} | {f"device:{event.anonymous_id}" for event in events if event.anonymous_id}
    found: dict[str, object] = {}
    for name in sorted(names):
        scored = memory.of(name)
        judged = readiness(scored.evidence, WHOLE.rules, scored.lead, NOON)
        lead = scored.lead
        said = (lead.traits, lead.email, lead.address_trusted, lead.consent)
        alike = tuple(other for other in sorted(names) if memory.of(other) == scored)
        found[name] = (judged.points, judged.reasons, said, lead.events, lead.orders, scored.roused_at, lead.sleeping, alike)
    return found


@settings(max_examples=150)
@given(st.tuples(HAPPENINGS, ALIASES).map(_told_apart), st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_order_any_repetition_and_any_batches_of_identifies_and_merges_lead_to_the_same(events: list[Event], chance: Random, size: int):
    straight, mixed = Memory(WHOLE), Memory(WHOLE)
    straight.handle(events)
    shuffled = [*events, *events, *events]
    chance.shuffle(shuffled)
    for first in range(0, len(shuffled), size):
        mixed.handle(shuffled[first : first + size])
    assert _outcome(mixed, events) == _outcome(straight, events)
    by_lead: dict[str, list[int]] = {}
    for activity in mixed.told:
        by_lead.setdefault(activity.lead.id, []).append(activity.sequence)
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in by_lead.values())
