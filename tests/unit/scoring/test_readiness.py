"""The arithmetic of readiness: levels, sums, fading, rounding, and that no order and no cutting shows in it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.readiness import Evidence, Readiness, Rules, fold, is_hot, merge, next_change_at, readiness
from shared.wire import Event, replace
from tests.builders import NOON, a_lead, an_event, scoring_definitions

RULES = scoring_definitions().rules
DAY = timedelta(days=1)


def folded(events: Sequence[Event], rules: Rules = RULES) -> Mapping[str, Evidence]:
    return reduce(lambda evidence, event: fold(evidence, rules, event), events, dict[str, Evidence]())


def after(*events: Event, at: datetime = NOON, rules: Rules = RULES) -> Readiness:
    return readiness(folded(events, rules), rules, a_lead(), at)


def rules_of(*lines: str, head: str = "") -> Rules:
    return scoring_definitions(head + "rules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)).rules


EBOOK, WEBINAR = an_event("Ebook Downloaded"), an_event("Webinar Attended")
PAID = an_event("Link Clicked", properties={"paid": True})
PRICING = an_event("Page Viewed", properties={"path": "/pricing/teams"})


def test_a_lead_with_nothing_is_1():
    assert after() == Readiness(1, 0.0, [], None)


def test_ebook_7_then_webinar_8_then_the_paid_link_9():
    assert [after(EBOOK).value, after(EBOOK, WEBINAR).value, after(EBOOK, WEBINAR, PAID).value] == [7, 8, 9]


def test_the_highest_level_counts_and_levels_do_not_add_up():
    found = after(PAID, EBOOK, WEBINAR)
    assert [(reason.rule, reason.points) for reason in found.reasons] == [("paid_link", 9.0)]


def test_a_condition_decides_whether_an_event_counts():
    assert after(an_event("Link Clicked", properties={"paid": False})).value == 1
    assert after(an_event("Link Clicked")).value == 1


def test_points_are_rounded_half_up():
    assert after(EBOOK, PRICING).points == 7.5
    assert after(EBOOK, PRICING).value == 8


def test_readiness_is_held_to_1_and_10():
    assert after(an_event("Unsubscribed")).value == 1
    assert after(PAID, PRICING, PRICING, PRICING, an_event("Link Clicked", properties={"paid": True})).value == 10


def test_a_sum_is_held_to_its_max_in_size():
    assert after(EBOOK, *[PRICING] * 10).points == 8.5
    rules = rules_of("id: bad, event: Ebook Downloaded, add: -2, max: 3")
    assert after(EBOOK, EBOOK, rules=rules).points == -3


def test_a_level_stands_in_full_for_its_hold_and_then_halves():
    assert after(EBOOK, at=NOON + 14 * DAY).points == 7
    assert after(EBOOK, at=NOON + 59 * DAY).points == 3.5
    assert after(EBOOK, at=NOON + 104 * DAY).points == 1.75


def test_a_sum_fades_from_the_start_by_its_own_half_life():
    assert after(PRICING, PRICING, at=NOON + 14 * DAY).points == 0.5
    assert after(an_event("Unsubscribed"), at=NOON + 45 * DAY).points == -1.5


def test_what_the_max_holds_back_fades_too():
    found = after(*[PRICING] * 6, at=NOON + 14 * DAY)
    assert found.points == 1.5
    assert after(*[PRICING] * 6, at=NOON + 28 * DAY).points == 0.75


def test_without_a_half_life_nothing_fades():
    rules = rules_of("id: a, event: Ebook Downloaded, at_least: 7", "id: b, event: Ebook Downloaded, add: 0.1")
    found = after(*[EBOOK] * 3, at=NOON + 10000 * DAY, rules=rules)
    assert found.points == 7.3
    assert found.stands_until is None


def test_an_event_dated_in_the_future_earns_from_when_it_was_received():
    early = an_event("Ebook Downloaded", at=NOON + 365 * DAY, received_at=NOON)
    assert after(early, at=NOON + 59 * DAY) == after(EBOOK, at=NOON + 59 * DAY)


def test_fit_lies_on_top_and_does_not_fade():
    lead = a_lead(traits={"employees": 50})
    assert readiness(folded([EBOOK]), RULES, lead, NOON).points == 8
    found = readiness(folded([EBOOK]), RULES, lead, NOON + 3650 * DAY)
    assert [(reason.rule, reason.kind, reason.points) for reason in found.reasons] == [("size", "fit", 1.0)]


def test_reasons_say_what_when_and_how_often():
    later = an_event("Page Viewed", properties={"path": "/pricing"}, at=NOON + DAY, received_at=NOON + DAY)
    level, total = after(EBOOK, later, PRICING, at=NOON + DAY).reasons
    assert (level.rule, level.kind, level.count, level.at, level.text) == ("ebook", "at_least", 1, NOON, "downloaded an e-book")
    assert (total.rule, total.kind, total.count, total.at) == ("pricing", "add", 2, NOON + DAY)


def test_evidence_of_a_rule_that_is_gone_counts_for_nothing():
    assert readiness(folded([EBOOK, WEBINAR]), rules_of("id: ebook, event: Ebook Downloaded, at_least: 3"), a_lead(), NOON).points == 3


def test_a_sum_under_another_half_life_starts_anew():
    longer = rules_of("id: pricing, event: Page Viewed, add: 0.5, half_life: 15d")
    assert readiness(folded([PRICING]), longer, a_lead(), NOON).points == 0


def test_a_lead_is_hot_from_9_until_below_8():
    walk = [8, 9, 8, 9, 7, 8, 9]
    lead, states = a_lead(), []
    for value in walk:
        lead = replace(lead, hot=is_hot(RULES, lead, value), readiness=value)
        states.append(lead.hot)
    assert states == [False, True, True, True, False, False, True]


def test_without_hot_nobody_becomes_hot():
    assert not is_hot(Rules(), a_lead(), value=10)


def test_who_stands_above_hot_without_being_it_becomes_so_by_rising_only():
    standing = a_lead(readiness=9)
    assert [is_hot(RULES, standing, value) for value in (8, 9, 10)] == [False, False, True]


@pytest.mark.parametrize("events", [[EBOOK], [EBOOK, PRICING], [EBOOK, WEBINAR, PAID], [PAID, an_event("Unsubscribed")], [PRICING] * 9])
def test_the_next_change_is_found_to_the_second(events: list[Event]):
    evidence = folded(events)
    moment = NOON
    for _ in range(4):
        value = readiness(evidence, RULES, a_lead(), moment).value
        change = next_change_at(evidence, RULES, a_lead(), moment)
        if change is None:
            assert readiness(evidence, RULES, a_lead(), moment + 36500 * DAY).value == value
            return
        assert readiness(evidence, RULES, a_lead(), change).value != value
        assert readiness(evidence, RULES, a_lead(), change - timedelta(seconds=1.01)).value == value
        moment = change


EVENTS = st.builds(
    lambda name, path, seconds: an_event(name, at=NOON - timedelta(seconds=seconds), properties={"path": path, "paid": path == "/"}),
    st.sampled_from(["Ebook Downloaded", "Webinar Attended", "Link Clicked", "Page Viewed", "Unsubscribed", "Something Else"]),
    st.sampled_from(["/", "/pricing"]),
    st.one_of(st.integers(0, 200 * 86400), st.sampled_from([0, 86400 * 14, 86400 * 28, 86400 * 45, 86400 * 90]), st.floats(0, 2e7)),
)
MOMENTS = st.timedeltas(min_value=timedelta(0), max_value=400 * DAY).map(lambda later: NOON + later)


@given(st.lists(EVENTS, max_size=30).flatmap(lambda events: st.tuples(st.just(events), st.permutations(events))), MOMENTS)
def test_any_order_gives_the_same_points_and_reasons(orders: tuple[list[Event], list[Event]], at: datetime):
    one, other = orders
    assert after(*one, at=at) == after(*other, at=at)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 3)), max_size=30), MOMENTS)
def test_folding_parts_and_merging_them_gives_the_same_as_folding_all(parts: list[tuple[Event, int]], at: datetime):
    evidence = [folded([event for event, part in parts if part == number]) for number in range(4)]
    together = merge(merge(evidence[3], evidence[0]), merge(evidence[2], evidence[1]))
    whole = folded([event for event, _ in parts])
    assert together == whole
    assert readiness(together, RULES, a_lead(), at) == readiness(whole, RULES, a_lead(), at)


@given(st.lists(EVENTS, max_size=30), MOMENTS)
def test_reasons_add_up_to_the_points(events: list[Event], at: datetime):
    found = after(*events, at=at)
    assert sum(round(reason.points * 1e6) for reason in found.reasons) == round(found.points * 1e6)
    exact = sum(reason.points for reason in found.reasons)
    assert found.points == pytest.approx(exact, abs=1e-9)


@given(st.lists(EVENTS, min_size=1, max_size=20), MOMENTS, st.lists(st.floats(0, 1), max_size=20))
def test_nothing_changes_before_its_time(events: list[Event], at: datetime, shares: list[float]):
    """`stands_until` and `next_change_at` are never later than the change they announce."""
    evidence = folded(events)
    now = readiness(evidence, RULES, a_lead(), at)
    change = next_change_at(evidence, RULES, a_lead(), at)
    for limit in (now.stands_until, change):
        span = (limit - timedelta(seconds=1) if limit else at + 3650 * DAY) - at
        for share in shares:
            assert readiness(evidence, RULES, a_lead(), at + max(span, timedelta(0)) * share).value == now.value


@given(st.lists(EVENTS, max_size=60))
def test_evidence_stays_small(events: list[Event]):
    short = rules_of("id: a, event: [Ebook Downloaded, Page Viewed], add: 0.5", head="half_life: 90s\n")
    assert all(len(record.weights) <= 65 for record in folded(events, short).values())
