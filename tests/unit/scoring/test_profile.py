"""What events say about a lead: newest by their own time, addresses by who named them, consent by address."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.history import Noted
from services.scoring.profile import NOTHING_KEPT, Observed, address_of, differs, join, observe
from shared.wire import OURSELVES, Consent, Event, Lead
from tests.builders import NOON, an_event

BLANK = Lead(id="l1", created_at=NOON, last_seen_at=NOON - timedelta(days=9999))
SECOND = timedelta(seconds=1)


def said(traits: Mapping[str, Any], after: int = 0, **fields: Any) -> Event:
    at = NOON + after * SECOND
    return an_event("", type="identify", traits=dict(traits), **({"at": at, "received_at": at} | fields))


def told(traits: Mapping[str, Any], after: int = 0, **fields: Any) -> Event:
    return said(traits, after, trusted=True, **fields)


def after(*events: Event, lead: Lead = BLANK) -> Observed:
    seen = Observed(lead, NOTHING_KEPT, {})
    for event in events:
        seen = observe(seen.lead, seen.kept, event, Noted())
    return seen


def test_the_newest_word_on_a_trait_counts_however_late_the_older_arrives():
    seen = after(said({"plan": "pro"}, 2), said({"plan": "free", "name": "Ana"}, 1))
    assert seen.lead.traits == {"plan": "pro", "name": "Ana"}


def test_null_takes_a_trait_away_and_an_older_word_does_not_bring_it_back():
    seen = after(said({"plan": "pro"}), said({"plan": None}, 2), said({"plan": "free"}, 1))
    assert seen.lead.traits == {}


def test_traits_come_by_identify_alone():
    assert after(an_event("Ebook Downloaded", traits={"plan": "pro"})).lead.traits == {}


def test_an_address_keeps_its_spelling_but_for_the_domain():
    assert after(said({"email": " Ana.Maria@Example.COM "})).lead.email == "Ana.Maria@example.com"


@pytest.mark.parametrize(
    "text", ["ana", "ana@", "@example.com", "ana@example", "a b@example.com", "ana@-x.com", 7, None, "x" * 65 + "@example.com", "a\0@b.com"]
)
def test_what_is_no_address_stays_a_trait_and_is_not_mailed(text: object):
    assert address_of(text) is None
    assert after(said({"email": text})).lead.email is None


@pytest.mark.parametrize("text", ["ana@example.com", "a.b+c@sub.example.co.uk", "użytkownik@przykład.pl", "آنا@مثال.ایران"])
def test_addresses_of_any_script_are_addresses(text: str):
    assert address_of(text) == text


def test_what_a_browser_posts_never_replaces_what_a_server_told():
    assert after(told({"email": "ana@example.com"}), said({"email": "eve@example.com"}, 1)).lead.email == "ana@example.com"


def test_what_a_browser_posts_never_replaces_the_address_that_consent_was_given_for():
    seen = after(said({"email": "ana@example.com"}), told({"consent": True}, 1), said({"email": "eve@example.com"}, 2))
    assert seen.lead.email == "ana@example.com"
    assert seen.lead.consent.marketing


def test_a_browsers_newer_address_replaces_its_older_one():
    assert after(said({"email": "ana@example.com"}), said({"email": "anna@example.com"}, 1)).lead.email == "anna@example.com"


def test_a_server_may_change_the_address_and_consent_stays_with_the_old_one():
    seen = after(told({"email": "ana@example.com", "consent": True}), told({"email": "new@example.com"}, 1))
    assert seen.lead.email == "new@example.com"
    assert not seen.lead.consent.marketing
    again = observe(seen.lead, seen.kept, told({"email": "ana@example.com"}, 2), Noted()).lead
    assert again.consent.marketing


def test_consent_is_kept_with_address_source_and_time():
    seen = after(told({"email": "ana@example.com", "consent": {"marketing": True, "source": "fair 2027"}}))
    assert seen.lead.consent == Consent(marketing=True, address="ana@example.com", source="fair 2027", at=NOON)
    assert "consent" not in seen.lead.traits


def test_consent_from_a_browser_says_nothing():
    seen = after(said({"email": "ana@example.com", "consent": True}))
    assert seen.lead.consent == Consent()
    assert "consent" not in seen.lead.traits


@pytest.mark.parametrize("word", ["yes", 1, None, {"marketing": "true"}, []])
def test_only_true_gives_consent(word: object):
    assert after(told({"email": "ana@example.com", "consent": word})).lead.consent == Consent()


def test_consent_without_an_address_holds_for_none():
    assert not after(told({"consent": True}), told({"email": "ana@example.com"}, 1)).lead.consent.marketing


def test_unsubscribing_withdraws_consent_and_of_a_topic_only_that():
    given_consent = told({"email": "ana@example.com", "consent": True})
    left = an_event("Unsubscribed", source=OURSELVES, at=NOON + SECOND, received_at=NOON + SECOND)
    topic = an_event("Unsubscribed", source=OURSELVES, at=NOON + SECOND, received_at=NOON + SECOND, properties={"topic": "offers"})
    assert not after(given_consent, left).lead.consent.marketing
    consent = after(given_consent, topic).lead.consent
    assert consent.marketing
    assert consent.topics == {"offers": False}


def test_tags_are_set_by_ourselves_alone():
    change = {"tags": {"add": ["vip", "beta"], "remove": ["new"]}}
    ours = said({}, source=OURSELVES, properties=change)
    assert after(ours, lead=Lead(id="l1", created_at=NOON, last_seen_at=NOON, tags=["new"])).lead.tags == ["beta", "vip"]
    assert after(said({}, properties=change)).lead.tags == []


def test_a_zone_trait_goes_before_the_newest_context():
    here = an_event(context={"timezone": "Europe/Dublin", "locale": "en-IE"})
    there = an_event(context={"timezone": "Asia/Tehran", "locale": "fa"}, at=NOON + SECOND, received_at=NOON + SECOND)
    assert (after(there, here).lead.timezone, after(here, there).lead.locale) == ("Asia/Tehran", "fa")
    seen = after(here, said({"timezone": "America/New_York"}, 1), there)
    assert (seen.lead.timezone, seen.lead.locale) == ("America/New_York", "fa")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", 7, "Europe", "/etc/localtime"])
def test_a_zone_that_the_world_does_not_have_is_none(zone: object):
    assert after(said({"timezone": zone}), an_event(context={"timezone": zone})).lead.timezone is None


def test_a_group_call_names_the_company():
    first = an_event("", type="group", group_id="g1", traits={"name": "Acme", "plan": "pro"})
    second = an_event("", type="group", group_id="g1", traits={"plan": "max"}, at=NOON + SECOND, received_at=NOON + SECOND)
    assert after(first, second).lead.company == {"id": "g1", "name": "Acme", "plan": "max"}
    moved = an_event("", type="group", group_id="g2", traits={}, at=NOON + SECOND, received_at=NOON + SECOND)
    assert after(first, moved).lead.company == {"id": "g2"}
    assert after(moved, first).lead.company == {"id": "g2"}


def test_a_lead_holds_200_traits_and_the_rest_is_handed_back():
    seen = after(said({f"t{number:03}": number for number in range(250)}))
    assert len(seen.lead.traits) == 200
    assert seen.refused == {f"t{number:03}": number for number in range(200, 250)}
    known = observe(seen.lead, seen.kept, said({"t000": "changed", "t999": 1}, 1), Noted())
    assert known.lead.traits["t000"] == "changed"
    assert known.refused == {"t999": 1}


def test_a_lead_holds_16_kib_of_traits():
    seen = after(said({"small": 1, "large": "x" * 16_000, "more": "y" * 1000}))
    assert set(seen.lead.traits) == {"small", "large"}
    assert set(seen.refused) == {"more"}


def test_what_we_do_ourselves_is_no_sign_of_life():
    later = NOON + SECOND
    sent = an_event("Email Sent", source=OURSELVES, at=later, received_at=later)
    clicked = an_event("Email Link Clicked", source=OURSELVES, at=later, received_at=later, properties={"human": True})
    assert after(an_event(), sent).lead.last_seen_at == NOON
    assert after(an_event(), clicked).lead.last_seen_at == later


VALUES = st.sampled_from([None, 1, 50, "pro", "ana@example.com", "bo@example.com"])
TRAITS = st.dictionaries(st.sampled_from(["plan", "employees", "email"]), VALUES, max_size=3)
CALLS = st.builds(
    lambda traits, tags, at, trusted: said(
        traits, at, trusted=trusted, source=OURSELVES if trusted else "pk", properties={"tags": {"add": tags[0], "remove": tags[1]}}
    ),
    TRAITS,
    st.tuples(st.lists(st.sampled_from(["vip", "beta"]), max_size=2), st.lists(st.sampled_from(["vip", "beta"]), max_size=2)),
    st.integers(0, 4),
    st.booleans(),
)


@given(st.lists(CALLS, max_size=8).flatmap(lambda calls: st.tuples(st.just(calls), st.permutations(calls))))
def test_any_order_leaves_the_same_traits_tags_and_address(orders: tuple[list[Event], list[Event]]):
    one, other = (after(*order).lead for order in orders)
    assert not differs(one, other)


@given(st.lists(st.tuples(CALLS, st.booleans()), max_size=8))
def test_two_leads_that_are_joined_have_the_profile_of_one(calls: list[tuple[Event, bool]]):
    left, right = after(*(call for call, first in calls if first)), after(*(call for call, first in calls if not first))
    joined, _ = join(left.lead, left.kept, right.lead, right.kept)
    assert not differs(joined, after(*(call for call, _ in calls)).lead)
