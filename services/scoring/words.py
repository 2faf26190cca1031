"""How people and programs write an address and a consent, and what of it can be understood. Pure."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.wire import Event

_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\"\\\x00-\x1f\x7f]{1,64}@(?=.{4,253}$)([^\W_]([\w-]{0,61}[^\W_])?\.)+[^\W_]([\w-]{0,61}[^\W_])?")


class Act(NamedTuple):
    """What a consent trait says; None and nothing: nothing."""

    marketing: bool | None = None
    topics: Mapping[str, bool] = {}
    source: str = ""


def address_of(text: Any) -> str | None:
    """A mail address as its owner writes it, the domain in lower case; None for what is none."""
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text.strip()):
        return None
    local, _, domain = text.strip().rpartition("@")
    return f"{local}@{domain.lower()}"


def named_in(event: Event) -> str | None:
    """The address that an event gives, as it stands there, in any of the places where clients put it."""
    places = (event.properties, event.traits, event.context.get("traits"))
    found = (place.get("email") for place in places if isinstance(place, Mapping))
    return next((text for text in found if isinstance(text, str) and text.strip()), None)


def acts(said: Any) -> Act:
    """What a consent trait says: true or false, or `{marketing, topics, source}`. Only true gives and only false withdraws."""
    if not isinstance(said, Mapping):
        return Act(_answer(said))
    topics = said.get("topics")
    chosen = {str(topic): _answer(wanted) for topic, wanted in topics.items()} if isinstance(topics, Mapping) else {}
    understood = {topic: wanted for topic, wanted in chosen.items() if wanted is not None}
    return Act(_answer(said.get("marketing")), understood, str(said.get("source") or ""))


def is_unclear(said: Any) -> bool:
    """Whether a consent trait wants to say something that nobody can be sure of: it must not be passed over."""
    if said is None:
        return False
    if not isinstance(said, Mapping):
        return _answer(said) is None
    topics = said.get("topics") if said.get("topics") is not None else {}
    answers = [said["marketing"]] if said.get("marketing") is not None else []
    answers += topics.values() if isinstance(topics, Mapping) else [topics]
    return not answers or any(_answer(answer) is None for answer in answers)


def _answer(said: Any) -> bool | None:
    """True and false, also as text, for forms know no other; nothing else, not 1 and not `yes`: a consent must be beyond doubt."""
    if isinstance(said, bool):
        return said
    return {"true": True, "false": False}.get(said.strip().lower()) if isinstance(said, str) else None
