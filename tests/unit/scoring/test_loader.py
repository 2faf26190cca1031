"""Scoring's part of the playbook: what is read, what is left out, and a place and a remedy for every mistake."""

from datetime import timedelta

import pytest

from services.scoring.loader import load
from services.scoring.reach import ConsentRule
from services.scoring.readiness import Rules
from shared.yaml import PlaybookError
from tests.builders import A_READINESS_YAML, scoring_definitions


def troubles(readiness: str = A_READINESS_YAML, playbook: str = "name: Starter\n") -> list[str]:
    with pytest.raises(PlaybookError) as found:
        scoring_definitions(readiness, playbook)
    return [str(trouble) for trouble in found.value.troubles]


def test_the_example_of_the_playbook_is_read():
    rules = scoring_definitions().rules
    assert (rules.hot, rules.rearm_below, rules.hold) == (9, 8, timedelta(days=14))
    assert [(rule.id, rule.kind, rule.points, rule.half_life) for rule in rules.rules] == [
        ("ebook", "at_least", 7, timedelta(days=45)),
        ("webinar", "at_least", 8, timedelta(days=45)),
        ("paid_link", "at_least", 9, timedelta(days=45)),
        ("pricing", "add", 0.5, timedelta(days=14)),
        ("unsubscribed", "add", -3, timedelta(days=45)),
    ]


def test_what_is_left_out_is_off():
    definitions = load({}, {})
    assert definitions.rules == Rules()
    assert definitions.late_after is None
    assert scoring_definitions("rules:\n  - {id: a, event: X, add: 1}\n").rules.rules[0].half_life is None


def test_a_rule_may_name_several_events():
    rules = scoring_definitions("rules:\n  - {id: a, event: [X, Y], add: 1}\n").rules
    assert set(rules.by_event) == {"X", "Y"}


def test_orders_and_lateness_come_from_the_playbook():
    text = "orders: {event: Order Completed, amount: event.properties.total, refund: Order Refunded}\nlate_after: 1d\n"
    definitions = scoring_definitions(playbook=text)
    assert definitions.late_after == timedelta(days=1)
    assert definitions.noted.orders is not None
    assert definitions.noted.orders.names == {"Order Completed", "Order Refunded"}


def test_histories_are_those_that_conditions_and_templates_ask_for():
    files = {
        "journeys/a.yaml": 'x: "lead.events[\'Order Completed\'].count > 0 and not lead.events[\\"Cart Updated\\"].last"',
        "journeys/b.yaml": "y: [{z: lead.events.Signup.count}]",
        "templates/a.html": "{{ lead.events['Webinar Attended'].last.title }}",
        "journeys/broken.yaml": "a: [",
    }
    assert scoring_definitions(**files).noted.histories == {"Order Completed", "Cart Updated", "Signup", "Webinar Attended"}


def test_other_parts_keys_of_the_playbook_are_left_alone():
    scoring_definitions(playbook="mail: {from: nobody, reply_to: '${UNSET}'}\nbrand: 7\n")


def test_the_version_is_that_of_the_rules():
    assert scoring_definitions().version == scoring_definitions(playbook="late_after: 2d\n").version
    assert scoring_definitions().version != scoring_definitions("hot: 9\n").version


@pytest.mark.parametrize(
    ("readiness", "expected"),
    [
        ("hot: 9\nhalflife: 3d\n", "readiness.yaml:2:1: unknown key `halflife`, did you mean `half_life`?"),
        ("hot: 11\n", "readiness.yaml:1:6: should be less than or equal to 10, got the number `11`"),
        ("hot: 8\nrearm_below: 9\n", "readiness.yaml:2:14: `rearm_below` must not lie above `hot`: a hot lead must cool below it first"),
        (
            "half_life: 0s\n",
            "readiness.yaml:1:12: this must last some time: write a duration such as 45d, or leave the key out for no fading",
        ),
        ("rules:\n  - {id: a, event: X}\n", "readiness.yaml:2:5: rule `a`: write either `at_least: 7` or `add: 0.5`"),
        ("rules:\n  - {id: a, event: X, add: 1, at_least: 2}\n", "readiness.yaml:2:5: rule `a`: write either `at_least: 7` or `add: 0.5`"),
        (
            "rules:\n  - {id: a, event: X, at_least: 2, max: 3}\n",
            "readiness.yaml:2:41: `max` holds the sum of an `add`; an `at_least` needs none",
        ),
        ("rules:\n  - {id: a, event: X, add: 0}\n", "readiness.yaml:2:28: 0 points change nothing: write how many, such as 0.5 or -3"),
        ("rules:\n  - {id: a, event: [], add: 1}\n", "readiness.yaml:2:20: nothing stands here: write at least one, or leave the key out"),
        (
            "rules:\n  - {id: a, event: X, add: 1}\nfit:\n  - {id: a, when: lead.traits.x, add: 1}\n",
            "readiness.yaml:4:10: the id `a` stands twice, first on line 2: give each rule its own",
        ),
        (
            "rules:\n  - {id: a, event: Readiness Changed, add: 1}\n",
            "readiness.yaml:2:20: `Readiness Changed` is told by the readiness itself; count what the lead did",
        ),
        (
            'rules:\n  - {id: a, event: X, add: 1, when: "lead.hot"}\n',
            "readiness.yaml:2:37: unknown name `lead`; here one can name `event`; text needs quotes: 'lead'",
        ),
        (
            "sleeping: {event: Order Completed, silent_for: 0s}\n",
            "readiness.yaml:1:48: this must last some time: write a duration such as 90d",
        ),
        (
            "sleeping: {event: [Order Completed, Lead Asleep], silent_for: 90d}\n",
            "readiness.yaml:1:19: `Lead Asleep` is told by the readiness itself; count what the lead did",
        ),
        ("sleeping: {event: Order Completed}\n", "readiness.yaml:1:11: the key `silent_for` is missing here"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_a_remedy(readiness: str, expected: str):
    assert troubles(readiness) == [expected]


def test_a_rule_cannot_ask_for_the_present_time():
    (found,) = troubles('rules:\n  - {id: a, event: X, add: 1, when: "days_since(event.at) < 3"}\n')
    assert "speaks of the present time" in found


def test_fit_sees_traits_tags_and_consent_alone():
    scoring_definitions("fit:\n  - {id: a, when: \"lead.traits.x or 'vip' in lead.tags or lead.consent.marketing\", add: 1}\n")
    (found,) = troubles('fit:\n  - {id: a, when: "lead.readiness > 3", add: 1}\n')
    assert found.startswith("readiness.yaml:2:25: `lead` has no `readiness` here")


def test_what_comes_later_is_named_as_not_yet():
    (found,) = troubles(playbook="events:\n  Ebook Downloaded: {}\n")
    assert found.startswith("playbook.yaml:2:3: not yet")


def test_consent_events_are_read_and_their_spelling_is_the_mailers_to_judge():
    noted = scoring_definitions(playbook="consent: {events: [Newsletter Subscribed], confirmations: {per_hour: nonsense}}\n").noted
    assert noted.consent == ConsentRule(frozenset({"Newsletter Subscribed"}))
    noted = scoring_definitions(playbook="consent: {events: [Signed Up], from_browser: single}\n").noted
    assert noted.consent == ConsentRule(frozenset({"Signed Up"}), trusts_browser=True)


def test_all_mistakes_are_told_at_once():
    readiness = "rules:\n  - {id: a, event: X}\n  - {id: a, event: X, add: 1, when: nope}\n"
    assert len(troubles(readiness, "late_after: soon\norders: {amount: 3}\n")) == 6
