"""What a reader may choose on his preferences page, how it stands, and what a pressed button makes of it. Pure.

lead, address, playbook ──choices_of──► Choices ──► page      form ──read_wish──► Wish ──after──► Choices
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from services.mailer.loader import MailerPlaybook
from services.mailer.policy import TOPIC, Suppression, address_key, suppresses
from services.mailer.words import name_of
from shared import wire

PAUSE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Topic:
    """Something the playbook writes about; `title` as the marketer calls it."""

    name: str
    title: str
    wanted: bool


@dataclass(frozen=True, slots=True)
class Language:
    locale: str
    name: str


@dataclass(frozen=True, slots=True)
class Choices:
    """How it stands for one address. `may_return`: it had marketing consent once, so its reader can give it back."""

    address: str
    subscribed: bool
    may_return: bool
    topics: tuple[Topic, ...]
    languages: tuple[Language, ...]
    language: str
    paused_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """The form of topics and language. `shown` are the topics that stood on it: of others it says nothing."""

    wanted: frozenset[str]
    shown: frozenset[str]
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    pass


@dataclass(frozen=True, slots=True)
class Resume:
    pass


@dataclass(frozen=True, slots=True)
class Leave:
    pass


@dataclass(frozen=True, slots=True)
class Return:
    pass


Wish = Save | Pause | Resume | Leave | Return
_PRESSED: Mapping[str, Wish] = {"pause": Pause(), "resume": Resume(), "leave": Leave(), "return": Return()}


def choices_of(
    playbook: MailerPlaybook,
    lead: wire.Lead,
    address: str,
    suppressions: Sequence[Suppression],
    paused_until: datetime | None,
    *,
    had_consent: bool,
) -> Choices:
    """How it stands by what the mailer knows."""
    consent, key = lead.consent, address_key(address)
    standing = {suppression.scope for suppression in suppressions if suppression.scope == "all" or suppresses(suppression, consent)}
    given = consent.marketing and address_key(consent.address or "") == key
    is_his = address_key(lead.email or "") == key
    locales = _locales(playbook)
    return Choices(
        address=address,
        subscribed=given and is_his and not standing & {"all", "marketing"},
        may_return=had_consent and is_his and "all" not in standing,
        topics=tuple(
            Topic(name, title, consent.topics.get(name) is not False and TOPIC + name not in standing)
            for name, title in playbook.topics.items()
        ),
        languages=tuple(Language(locale, name_of(locale)) for locale in locales),
        language=_nearest(lead.locale, locales) or _normal(playbook.mail.locale),
        paused_until=paused_until,
    )


def after(choices: Choices, wish: Wish, now: datetime) -> Choices:
    """How it stands once the wish is granted; what he may not wish changes nothing."""
    match wish:
        case Save():
            topics = tuple(replace(t, wanted=t.name in wish.wanted) if t.name in wish.shown else t for t in choices.topics)
            known = {language.locale for language in choices.languages}
            language = wish.language if wish.language in known else None
            return replace(choices, topics=topics if choices.subscribed else choices.topics, language=language or choices.language)
        case Pause():
            return replace(choices, paused_until=now + PAUSE) if choices.subscribed else choices
        case Resume():
            return replace(choices, paused_until=None)
        case Leave():
            return replace(choices, subscribed=False, may_return=choices.may_return or choices.subscribed)
        case Return():
            return replace(choices, subscribed=True) if choices.may_return else choices
        case never:
            assert_never(never)


def read_wish(form: Mapping[str, Sequence[str]]) -> Wish | None:
    """What was pressed; None for a form that is none of ours."""
    pressed = form.get("do", [""])[-1]
    if pressed == "save":
        return Save(frozenset(form.get("topic", ())), frozenset(form.get("shown", ())), form.get("language", [None])[-1])
    return _PRESSED.get(pressed)


def _locales(playbook: MailerPlaybook) -> list[str]:
    """The languages there are templates in: the house's own first."""
    own = _normal(playbook.mail.locale)
    there = {locale for template in playbook.templates.values() for locale in template.variants if locale}
    return [own, *sorted(there - {own})]


def _nearest(locale: str | None, locales: Iterable[str]) -> str | None:
    wanted, known = _normal(locale or ""), set(locales)
    while wanted and wanted not in known:
        wanted = wanted.rpartition("-")[0]
    return wanted or None


def _normal(locale: str) -> str:
    return locale.replace("_", "-").lower()
