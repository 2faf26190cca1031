"""Where a lead may be mailed: who named an address outranks whom, consents of addresses, and what late words can and cannot change."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.reach import MOST_TOLD, ConsentRule, Reach, both, claimed_by, heard, reachable
from services.scoring.words import Act, acts, is_unclear
from shared.wire import OURSELVES, Event
from tests.builders import NOON, an_event

RULE = ConsentRule(frozenset({"Newsletter Subscribed"}))
SINGLE = ConsentRule(frozenset({"Newsletter Subscribed"}), trusts_browser=True)
ANA, BO, EVE = "ana@example.com", "bo@example.com", "eve@example.net"


def at(minute: float) -> dict[str, Any]:
    return {"at": NOON + timedelta(minutes=minute), "received_at": NOON + timedelta(days=1)}


def told(minute: float, email: str | None = "", *, user: bool = True, **traits: Any) -> Event:
    named = {} if email == "" else {"email": email}
    return an_event(
        "", type="identify", traits=named | traits, trusted=True, user_id="u1" if user else None, anonymous_id="d", **at(minute)
    )


def asked(minute: float, email: str | None = None, *, trusted: bool = False, user: bool = True) -> Event:
    properties = {"email": email} if email else {}
    return an_event("Newsletter Subscribed", properties=properties, trusted=trusted, user_id="u1" if user else None, **at(minute))


def ours(minute: float, name: str, **properties: Any) -> Event:
    return an_event(name, source=OURSELVES, trusted=True, properties=properties, **at(minute))


def after(*events: Event, rule: ConsentRule | None = RULE) -> Reach:
    reach = Reach()
    for event in events:
        reach = heard(reach, event, event.at, event.user_id is not None, rule)
    return reach


def stands(*events: Event, rule: ConsentRule | None = RULE) -> tuple[str | None, bool]:
    found = reachable(after(*events, rule=rule))
    return found["email"] if found["address_trusted"] else None, found["consent"].marketing


def test_an_address_told_with_a_user_id_outranks_one_told_for_a_device_whichever_is_newer():
    mine, devices = told(1, ANA, consent=True), told(2, EVE, user=False, consent=True)
    assert stands(mine, devices) == stands(devices, mine) == (ANA, True)
    assert stands(devices) == (EVE, True)


def test_a_consent_said_of_a_device_is_for_no_address_of_a_customers_unless_it_names_it():
    device = told(2, user=False, consent=True)
    assert stands(told(1, ANA), device) == (ANA, False)
    assert stands(told(1, ANA, user=False), device) == (ANA, True)
    assert stands(told(1, ANA), told(2, ANA, user=False, consent=True)) == (ANA, True)


def test_a_withdrawal_counts_whoever_says_it_and_for_every_address():
    assert stands(told(1, ANA, consent=True), told(2, user=False, consent=False)) == (ANA, False)
    assert stands(told(1, ANA, consent=True), ours(3, "Unsubscribed"), told(4, BO), told(5, consent=True), told(6, ANA)) == (ANA, False)


def test_each_address_keeps_its_own_consent():
    assert stands(told(1, ANA, consent=True), told(2, BO, consent=True), told(3, ANA)) == (ANA, True)
    assert stands(told(1, ANA, consent=True), told(2, BO)) == (BO, False)


@pytest.mark.parametrize("where", ["properties", "traits", "context"])
def test_a_server_that_says_somebody_asked_for_mail_gives_consent_wherever_it_names_the_address(where: str):
    place = {"context": {"traits": {"email": ANA}}} if where == "context" else {where: {"email": ANA}}
    event = an_event("Newsletter Subscribed", trusted=True, **place, **at(1))
    assert stands(event) == (ANA, True)
    assert reachable(after(event))["consent"].source == "Newsletter Subscribed"


def test_without_an_address_of_its_own_the_event_is_for_the_leads():
    assert stands(told(1, ANA), asked(2, trusted=True)) == (ANA, True)
    posted = an_event("", type="identify", traits={"email": ANA}, **at(1))
    assert stands(posted, asked(2), rule=SINGLE) == (ANA, True)
    assert stands(asked(2, trusted=True)) == (None, False)


def test_a_browsers_word_waits_for_the_reader_unless_the_playbook_trusts_it():
    assert stands(asked(1, ANA)) == (None, False)
    assert stands(asked(1, ANA), rule=SINGLE) == (ANA, True)
    assert stands(asked(1, ANA, trusted=True), rule=None) == (None, False)


def test_an_event_that_names_no_address_but_nonsense_says_nothing():
    assert stands(told(1, ANA), asked(2, "nonsense", trusted=True)) == (ANA, False)


def test_who_asks_for_mail_takes_no_standing_address_away():
    for event in (asked(2, EVE, trusted=True), asked(2, EVE), ours(2, "Consent Given", address=EVE)):
        assert stands(told(1, ANA, consent=True), event, rule=SINGLE) == (ANA, True)
        assert stands(event, told(1, ANA, consent=True), rule=SINGLE) == (ANA, True)


def test_a_confirmed_address_is_the_leads_and_has_consent():
    given = ours(2, "Consent Given", address=ANA, source="double_opt_in", event="Newsletter Subscribed")
    found = reachable(after(given))
    assert (found["email"], found["address_trusted"]) == (ANA, True)
    assert (found["consent"].marketing, found["consent"].source) == (True, "double_opt_in")
    assert stands(given, told(3, BO)) == (BO, False)
    assert stands(ours(2, "Consent Given")) == (None, False)


def test_a_reader_who_comes_back_has_consent_again_and_the_topic_he_left_too():
    left = ours(2, "Unsubscribed", topic="all")
    assert stands(told(1, ANA, consent=True), left, ours(3, "Resubscribed", topic="all", address=ANA)) == (ANA, True)
    topics = reachable(after(ours(1, "Unsubscribed", topic="digest"), ours(2, "Resubscribed", topic="digest")))["consent"].topics
    assert topics == {"digest": True}


def test_eight_more_logins_do_not_take_a_consent_away():
    logins = [told(minute, ANA) for minute in range(3, 30)]
    assert stands(told(1, ANA), told(2, consent=True), *logins) == (ANA, True)


def test_an_address_told_late_still_loses_to_those_told_since():
    logins = [told(minute, ANA) for minute in range(1, 30)]
    assert stands(*logins, told(0.5, BO)) == (ANA, False)
    assert stands(*logins, told(15.5, BO)) == (ANA, False)
    assert stands(*(told(minute, EVE, user=False) for minute in range(1, 30)), told(0.5, BO)) == (BO, False)


def test_what_is_kept_is_bounded():
    crowd = [told(minute, f"a{minute}@example.com", consent=True) for minute in range(200)]
    reach = after(*crowd)
    assert len(reach.told) <= MOST_TOLD
    assert len(reach.agreed) <= 8


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (True, Act(True)),
        ("true", Act(True)),
        (" False ", Act(False)),
        ({"marketing": "TRUE", "source": "till"}, Act(True, {}, "till")),
        ({"topics": {"digest": "false", "offers": 1}}, Act(None, {"digest": False})),
        ("yes", Act()),
        (1, Act()),
        (None, Act()),
    ],
)
def test_a_consent_is_true_or_false_also_as_text_and_nothing_else(said: object, expected: Act):
    assert acts(said) == expected


@pytest.mark.parametrize(
    ("said", "unclear"),
    [
        (True, False),
        ("false", False),
        (None, False),
        ({"marketing": True}, False),
        ({"topics": {"digest": False}}, False),
        ("yes", True),
        (1, True),
        ([], True),
        ({}, True),
        ({"newsletter": True}, True),
        ({"marketing": "yes"}, True),
        ({"marketing": True, "topics": {"digest": "maybe"}}, True),
        ({"marketing": True, "topics": ["digest"]}, True),
    ],
)
def test_what_wants_to_say_something_and_cannot_be_understood_is_unclear(said: object, unclear: bool):
    assert is_unclear(said) is unclear


MINUTES = st.integers(0, 12)
EMAILS = st.sampled_from(["", None, ANA, BO])
CONSENTS = st.sampled_from([{}, {}, {"consent": True}, {"consent": False}, {"consent": {"topics": {"digest": False}}}])
WORDS = st.one_of(
    st.builds(lambda minute, email, user, consent: told(minute, email, user=user, **consent), MINUTES, EMAILS, st.booleans(), CONSENTS),
    st.builds(lambda minute, email, trusted: asked(minute, email, trusted=trusted), MINUTES, st.sampled_from([ANA, BO]), st.booleans()),
    st.builds(lambda minute, email: ours(minute, "Consent Given", address=email), MINUTES, st.sampled_from([ANA, BO])),
    st.builds(lambda minute: ours(minute, "Unsubscribed"), MINUTES),
)
ORDERS = st.lists(WORDS, max_size=8).flatmap(lambda words: st.tuples(st.just(words), st.permutations(words)))


@given(ORDERS, st.sampled_from([RULE, SINGLE]))
def test_the_same_words_in_any_order_come_to_the_same(orders: tuple[list[Event], list[Event]], rule: ConsentRule):
    one, other = (reachable(after(*order, rule=rule)) for order in orders)
    assert one == other


@given(st.lists(st.tuples(WORDS, st.booleans()), max_size=8))
def test_two_leads_that_become_one_come_to_what_one_would(words: list[tuple[Event, bool]]):
    left, right = (after(*(word for word, first in words if first is side)) for side in (True, False))
    assert reachable(both(left, right)) == reachable(after(*(word for word, _ in words))) == reachable(both(right, left))


VISITS = st.one_of(
    st.builds(lambda minute, email: ours(minute, "Consent Given", address=email), MINUTES, st.just(EVE)),
    st.builds(lambda minute, email: asked(minute, email, user=False, trusted=True), MINUTES, st.just(EVE)),
    st.builds(lambda minute, consent: told(minute, EVE, user=False, **consent), MINUTES, CONSENTS),
)


@given(st.lists(WORDS, max_size=4), st.lists(VISITS, max_size=12))
def test_where_only_a_browser_says_who_a_visitor_is_no_confirmed_address_is_replaced_and_no_consent_made(
    words: list[Event], visits: list[Event]
):
    customer = after(ours(6, "Consent Given", address=ANA), *words)
    joined = reachable(claimed_by(after(*visits), customer))
    before = reachable(customer)
    if before["email"] == ANA:
        assert joined["email"] == ANA
        assert before["consent"].marketing or not joined["consent"].marketing


LATE = st.lists(WORDS, min_size=9, max_size=60)


def in_time(words: Sequence[Event]) -> list[Event]:
    return sorted(words, key=lambda word: word.at)


@given(LATE, st.randoms(use_true_random=False))
def test_of_many_words_that_come_late_none_makes_an_address_mailable_that_would_not_be(words: list[Event], chance: Random):
    apart = [told(index, *([ANA] if index % 3 else [BO])) for index in range(40)]
    late = [*words, *apart]
    chance.shuffle(late)
    whole = stands(*in_time(late))
    found = stands(*late)
    assert found[0] == whole[0]
    assert whole[1] or not found[1]
