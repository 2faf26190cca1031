"""What a reader may choose: how it stands, and what each button makes of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.mailer.choices import PAUSE, Choices, Language, Leave, Pause, Resume, Return, Save, Topic, Wish, after, choices_of, read_wish
from services.mailer.policy import Suppression
from shared.wire import Consent
from tests.builders import A_PLAYBOOK_YAML, NOON, a_lead, a_mailer_playbook, a_template

PLAYBOOK = a_mailer_playbook(
    {name: a_template() for name in ("w.html", "w.fa.html", "w.pt-BR.html", "x.html", "x.fa.html")},
    yaml=A_PLAYBOOK_YAML + "topics: {offers: Offers, digest: Weekly digest}\n",
)
GIVEN = Consent(marketing=True, address="Ana@example.com", at=NOON)
LATER = NOON + timedelta(hours=1)


def stands(*suppressions: Suppression, had_consent: bool = True, **lead: Any) -> Choices:
    return choices_of(PLAYBOOK, a_lead(**({"consent": GIVEN} | lead)), "ana@example.com", suppressions, None, had_consent=had_consent)


def wanted(choices: Choices) -> dict[str, bool]:
    return {topic.name: topic.wanted for topic in choices.topics}


def test_who_consented_gets_every_topic_that_he_did_not_leave() -> None:
    assert stands().subscribed
    assert wanted(stands()) == {"offers": True, "digest": True}
    left = Consent(marketing=True, address="ana@example.com", topics={"digest": False})
    assert wanted(stands(consent=left)) == {"offers": True, "digest": False}
    assert wanted(stands(Suppression("topic:offers", "unsubscribed", LATER))) == {"offers": False, "digest": True}
    again = Consent(marketing=True, address="ana@example.com", topics={"offers": True}, topics_at={"offers": LATER + PAUSE})
    assert wanted(stands(Suppression("topic:offers", "unsubscribed", LATER), consent=again)) == {"offers": True, "digest": True}


@pytest.mark.parametrize(
    ("suppressions", "lead", "subscribed", "may_return"),
    [
        ([], {}, True, True),
        ([], {"consent": Consent()}, False, True),
        ([], {"email": "other@example.com"}, False, False),
        ([Suppression("marketing", "unsubscribed", LATER)], {}, False, True),
        ([Suppression("marketing", "unsubscribed", NOON - PAUSE)], {}, True, True),
        ([Suppression("all", "complaint", NOON - PAUSE)], {}, False, False),
    ],
)
def test_who_is_subscribed_and_who_may_come_back(
    suppressions: list[Suppression], lead: dict[str, Any], subscribed: bool, may_return: bool
) -> None:
    choices = stands(*suppressions, **lead)
    assert (choices.subscribed, choices.may_return) == (subscribed, may_return)


def test_only_who_once_consented_may_give_it_back() -> None:
    never = stands(consent=Consent(), had_consent=False)
    assert not never.may_return
    assert after(never, Return(), NOON) == never
    assert after(replace(never, may_return=True), Return(), NOON).subscribed


def test_languages_are_those_of_the_templates_the_houses_own_first() -> None:
    assert stands().languages == (Language("en", "English"), Language("fa", "فارسی"), Language("pt-br", "Português (BR)"))
    assert [stands(locale=locale).language for locale in (None, "fa-IR", "pt_BR", "pt", "sv")] == ["en", "fa", "pt-br", "en", "en"]


def test_a_form_says_nothing_of_topics_that_did_not_stand_on_it() -> None:
    choices = after(stands(), Save(frozenset({"digest"}), frozenset({"offers", "digest"}), "fa"), NOON)
    assert (wanted(choices), choices.language) == ({"offers": False, "digest": True}, "fa")
    assert wanted(after(stands(), Save(frozenset(), frozenset({"digest"})), NOON)) == {"offers": True, "digest": False}
    odd = Save(frozenset({"nothing"}), frozenset({"nothing"}), "xx")
    assert after(stands(), odd, NOON) == stands()


def test_who_gets_nothing_chooses_only_his_language() -> None:
    out = stands(consent=Consent())
    choices = after(out, Save(frozenset(), frozenset({"offers"}), "fa"), NOON)
    assert (choices.topics, choices.language) == (out.topics, "fa")
    assert after(out, Pause(), NOON) == out


def test_a_pause_is_a_month_and_can_be_ended() -> None:
    paused = after(stands(), Pause(), NOON)
    assert paused.paused_until == NOON + timedelta(days=30)
    assert after(paused, Resume(), NOON) == stands()


def test_who_leaves_gets_nothing_and_may_come_back() -> None:
    left = after(stands(had_consent=False), Leave(), NOON)
    assert (left.subscribed, left.may_return) == (False, True)


@pytest.mark.parametrize(
    ("form", "wish"),
    [
        ({"do": ["pause"]}, Pause()),
        ({"do": ["resume"]}, Resume()),
        ({"do": ["leave"]}, Leave()),
        ({"do": ["return"]}, Return()),
        ({"do": ["save"]}, Save(frozenset(), frozenset())),
        (
            {"do": ["save"], "topic": ["a", "b"], "shown": ["a", "b", "c"], "language": ["fa"]},
            Save(frozenset("ab"), frozenset("abc"), "fa"),
        ),
        ({"do": ["delete"]}, None),
        ({}, None),
    ],
)
def test_what_was_pressed(form: dict[str, list[str]], wish: Wish | None) -> None:
    assert read_wish(form) == wish


def test_a_topic_keeps_the_name_its_marketer_gave_it() -> None:
    assert stands().topics[1] == Topic("digest", "Weekly digest", True)
