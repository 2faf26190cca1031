"""What events say about a lead: newest by their own time, addresses by who named them, consent by address."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.history import Noted
from services.scoring.profile import NOTHING_KEPT, Observed, differs, join, observe
from services.scoring.reach import MOST_TOLD, address_of
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


def test_an_address_that_only_a_browser_posted_is_not_trusted():
    posted = after(said({"email": "ana@example.com"})).lead
    assert (posted.email, posted.address_trusted) == ("ana@example.com", False)
    assert after(said({"email": "ana@example.com"}), told({"email": "ana@example.com"}, 1)).lead.address_trusted


def test_a_change_of_trust_alone_is_a_change_of_profile():
    posted, named = after(said({"email": "ana@example.com"})), after(told({"email": "ana@example.com"}))
    assert differs(posted.lead, named.lead)


def test_a_servers_consent_is_not_for_the_address_that_a_browser_posted():
    consent = after(said({"email": "eve@example.com"}), told({"consent": True}, 1)).lead.consent
    assert (consent.marketing, consent.address) == (False, None)


@pytest.mark.parametrize("posted", ["ana@example.com", "eve@example.com"])
def test_where_a_server_takes_the_address_away_no_browsers_steps_in(posted: str):
    given = told({"email": "ana@example.com", "consent": True})
    seen = after(given, said({"email": posted}, 1), told({"email": None}, 2)).lead
    assert seen.email is None
    assert not seen.consent.marketing


def test_consent_is_for_the_address_of_its_own_identify_whatever_comes_first():
    given, moved = told({"email": "ana@example.com", "consent": True}), told({"email": "bo@example.com"}, 1)
    for order in permutations((given, moved)):
        seen = after(*order).lead
        assert (seen.email, seen.consent.marketing, seen.consent.address) == ("bo@example.com", False, "ana@example.com")


def test_consent_that_names_no_address_is_for_the_one_of_its_time_whatever_comes_first():
    named, given, moved = told({"email": "ana@example.com"}), told({"consent": True}, 1), told({"email": "bo@example.com"}, 2)
    for order in permutations((named, given, moved)):
        consent = after(*order).lead.consent
        assert (consent.marketing, consent.address) == (False, "ana@example.com")


def test_an_address_named_again_and_again_keeps_its_consent():
    seen = after(told({"email": "ana@example.com"}, 1), *(told({"email": "ana@example.com"}, time) for time in range(3, 40)))
    late = observe(seen.lead, seen.kept, told({"consent": True}, 2), Noted())
    assert late.lead.consent.marketing
    assert len(late.kept.reach.told) <= MOST_TOLD


def test_a_word_on_a_topic_is_none_on_marketing_whatever_comes_first():
    given = told({"email": "ana@example.com", "consent": True})
    left = an_event("Unsubscribed", source=OURSELVES, at=NOON + SECOND, received_at=NOON + SECOND)
    topic = told({"consent": {"topics": {"digest": True}}}, 2)
    for order in permutations((given, left, topic)):
        consent = after(*order).lead.consent
        assert (consent.marketing, consent.at, consent.topics) == (False, NOON + SECOND, {"digest": True})


def test_a_topic_refused_before_marketing_consent_stays_refused_whatever_comes_first():
    refused, given = told({"consent": {"topics": {"digest": False}}}), told({"email": "ana@example.com", "consent": True}, 1)
    for order in permutations((refused, given)):
        consent = after(*order).lead.consent
        assert (consent.marketing, consent.topics) == (True, {"digest": False})


def test_of_consent_and_withdrawal_at_the_same_moment_the_withdrawal_counts():
    for order in permutations((True, False)):
        words = (told({"email": "ana@example.com", "consent": {"marketing": word, "topics": {"digest": word}}}) for word in order)
        consent = after(*words).lead.consent
        assert (consent.marketing, consent.topics) == (False, {"digest": False})


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


@pytest.mark.parametrize("word", ["yes", 1, None, {"marketing": "yes"}, []])
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


def test_tags_are_set_by_ourselves_and_by_servers_not_by_browsers():
    change = {"tags": {"add": ["vip", "beta"], "remove": ["new"]}}
    ours = said({}, source=OURSELVES, properties=change)
    assert after(ours, lead=Lead(id="l1", created_at=NOON, last_seen_at=NOON, tags=["new"])).lead.tags == ["beta", "vip"]
    assert after(said({}, properties=change)).lead.tags == []
    assert after(said({}, trusted=True, properties={"tags": {"add": ["vip", "", 7, "x" * 101], "remove": "vip"}})).lead.tags == ["vip"]


def test_a_zone_trait_goes_before_the_newest_context():
    here = an_event(context={"timezone": "Europe/Dublin", "locale": "en-IE"})
    there = an_event(context={"timezone": "Asia/Tehran", "locale": "fa"}, at=NOON + SECOND, received_at=NOON + SECOND)
    assert (after(there, here).lead.timezone, after(here, there).lead.locale) == ("Asia/Tehran", "fa")
    seen = after(here, said({"timezone": "America/New_York"}, 1), there)
    assert (seen.lead.timezone, seen.lead.locale) == ("America/New_York", "fa")


def test_the_zone_is_of_the_newest_context_that_names_one_whatever_comes_first():
    def seen_in(zone: str | None, after: int) -> Event:
        at = NOON + after * SECOND
        return an_event(at=at, received_at=at, context={"timezone": zone} if zone else {})

    for order in permutations((seen_in("Europe/Paris", 1), seen_in("Asia/Tehran", 2), seen_in(None, 3))):
        assert after(*order).lead.timezone == "Asia/Tehran"


def test_where_a_zone_trait_is_taken_away_the_newest_context_counts_again():
    here = an_event(context={"timezone": "Europe/Dublin"})
    for order in permutations((here, said({"timezone": "Asia/Tehran"}, 1), said({"timezone": None}, 2))):
        assert after(*order).lead.timezone == "Europe/Dublin"


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


def test_names_taken_away_leave_their_places_and_are_forgotten_in_the_end():
    gone = [said({f"t{number}": value}, number) for number in range(400) for value in (1, None)]
    seen = after(*gone, said({f"n{number}": None for number in range(300)}, 400), said({"name": "Ana"}, 401))
    assert seen.lead.traits == {"name": "Ana"}
    assert len(seen.kept.trait_at) == 201


def test_a_name_as_long_as_a_book_finds_no_place_not_even_to_be_taken_away():
    assert after(said({"x" * 201: None, "y" * 201: 1})).refused.keys() == {"x" * 201, "y" * 201}


def test_of_two_leads_with_too_many_traits_the_first_ones_stay_and_the_rest_is_handed_back():
    one = after(said({f"a{number:03}": 1 for number in range(150)}, 9))
    other = after(said({f"b{number:03}": 1 for number in range(50, 100)}, 2), said({"a000": None}, 10), said({"b000": 1, "b001": 1}, 1))
    joined = join(one.lead, one.kept, other.lead, other.kept)
    assert len(joined.lead.traits) == 200
    assert one.lead.traits.keys() - {"a000"} < joined.lead.traits.keys()
    assert joined.refused == {"b099": 1}


def test_two_leads_with_too_much_in_their_traits_have_16_kib_together():
    one, other = (after(said({f"{name}{number}": "x" * 1000 for number in range(10)})) for name in "ab")
    joined = join(one.lead, one.kept, other.lead, other.kept)
    assert set(joined.lead.traits) == {f"a{number}" for number in range(10)} | {f"b{number}" for number in range(6)}
    assert set(joined.refused) == {f"b{number}" for number in range(6, 10)}


def test_what_we_do_ourselves_is_no_sign_of_life():
    later = NOON + SECOND
    sent = an_event("Email Sent", source=OURSELVES, at=later, received_at=later)
    clicked = an_event("Email Link Clicked", source=OURSELVES, at=later, received_at=later, properties={"human": True})
    assert after(an_event(), sent).lead.last_seen_at == NOON
    assert after(an_event(), clicked).lead.last_seen_at == later


VALUES = st.sampled_from([None, 1, 50, "pro", "ana@example.com", "bo@example.com"])
CONSENTS = st.sampled_from(
    [True, False, {"marketing": True, "source": "fair"}, {"topics": {"digest": True}}, {"topics": {"digest": False}}]
)
ZONES = st.sampled_from([None, "Europe/Dublin", "Asia/Tehran"])
TRAITS = st.fixed_dictionaries({}, optional={"plan": VALUES, "employees": VALUES, "email": VALUES, "consent": CONSENTS, "timezone": ZONES})
TAGS = st.lists(st.sampled_from(["vip", "beta"]), max_size=2)
IDENTIFIES = st.builds(
    lambda traits, add, remove, at, trusted, zone: said(
        traits,
        at,
        trusted=trusted,
        source=OURSELVES if trusted else "pk",
        properties={"tags": {"add": add, "remove": remove}},
        context={"timezone": zone},
    ),
    TRAITS,
    TAGS,
    TAGS,
    st.integers(0, 4),
    st.booleans(),
    ZONES,
)
UNSUBSCRIPTIONS = st.builds(
    lambda topic, at: an_event("Unsubscribed", source=OURSELVES, at=at, received_at=at, properties={"topic": topic}),
    st.sampled_from([None, "digest"]),
    st.integers(0, 4).map(lambda after: NOON + after * SECOND),
)
CALLS = IDENTIFIES | UNSUBSCRIPTIONS


@given(st.lists(CALLS, max_size=8).flatmap(lambda calls: st.tuples(st.just(calls), st.permutations(calls))))
def test_any_order_leaves_the_same_profile(orders: tuple[list[Event], list[Event]]):
    one, other = (after(*order).lead for order in orders)
    assert not differs(one, other)


@given(st.lists(st.tuples(CALLS, st.booleans()), max_size=8))
def test_two_leads_that_are_joined_have_the_profile_of_one(calls: list[tuple[Event, bool]]):
    left, right = after(*(call for call, first in calls if first)), after(*(call for call, first in calls if not first))
    joined = join(left.lead, left.kept, right.lead, right.kept)
    assert not differs(joined.lead, after(*(call for call, _ in calls)).lead)
