"""What the mailer says itself: the same in every language, and each name in its own direction."""

import string
from dataclasses import fields
from datetime import date

import pytest

from services.mailer.layouts import say, say_plainly
from services.mailer.words import Words, name_of, words_for

TEXTS = [field.name for field in fields(Words) if field.type in ("str", str) and field.name not in ("locale", "digits")]


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("text", TEXTS)
def test_every_language_says_the_same_with_the_same_names(text: str) -> None:
    spoken = [getattr(words_for(locale), text) for locale in ("en", "ar", "fa")]
    assert all(said.strip() for said in spoken)
    assert len(set(spoken)) == 3
    assert len({frozenset(names_in(said)) for said in spoken}) == 1


@pytest.mark.parametrize(
    ("locales", "language"),
    [(("fa-IR",), "fa"), (("ar_EG",), "ar"), ((None, "fa"), "fa"), (("de", "ar"), "ar"), (("de", None), "en"), ((), "en"), (("",), "en")],
)
def test_a_reader_is_spoken_to_in_his_language_else_in_his_senders_else_in_english(locales: tuple[str | None, ...], language: str) -> None:
    assert words_for(*locales).locale == language


@pytest.mark.parametrize(("locale", "written"), [("en", "31 March 2027"), ("ar", "٣١ مارس ٢٠٢٧"), ("fa", "۳۱ مارس ۲۰۲۷")])
def test_a_day_is_written_as_the_language_writes_it(locale: str, written: str) -> None:
    words = words_for(locale)
    assert words.on_day(date(2027, 3, 31)) == written
    assert len(set(words.months)) == 12


@pytest.mark.parametrize(("locale", "name"), [("fa", "فارسی"), ("pt-br", "Português (BR)"), ("PT_br", "Português (BR)"), ("tlh", "tlh")])
def test_a_language_is_called_what_its_speakers_call_it(locale: str, name: str) -> None:
    assert name_of(locale) == name


def test_a_name_is_text_and_keeps_its_direction_to_itself() -> None:
    assert say("Hello {brand}.", brand="<b>چای</b>") == "Hello <bdi>&lt;b&gt;چای&lt;/b&gt;</bdi>."
    assert say_plainly("Hello {brand}.", brand="چای {x}") == "Hello \u2068چای {x}\u2069."
