"""Whether a lead may be mailed, and where: its address, by who named it, and the consent that belongs to an address. Pure.

An address that a server named counts; one that only a browser posted is shown, but nothing is mailed to it and no consent is for it.
Consent belongs to the address that the same identify names, else to the one that held by then. Marketing and each topic are words of their
own.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple

from services.scoring.registers import Said, is_later, later
from shared.wire import OURSELVES, Consent, Event, replace

MOST_TOLD = 8
"""How many namings of an address are kept beside the last consent, so that words that arrive late find the address of their time."""
_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\"\\\x00-\x1f\x7f]{1,64}@(?=.{4,253}$)([^\W_]([\w-]{0,61}[^\W_])?\.)+[^\W_]([\w-]{0,61}[^\W_])?")


class Reach(NamedTuple):
    """What was said of address and consent. `told` begins with the address that held at the last consent; None: that there is none."""

    told: tuple[Said, ...] = ()  # by a server, oldest first
    posted: Said | None = None  # by a browser
    given: Consent = Consent()  # the last word on marketing; its address, if the same identify named one
    refused: Mapping[str, Said] = {}  # each topic: whether it is not wanted


def heard(reach: Reach, event: Event, at: datetime) -> Reach:
    """What an identify or an unsubscription says of address and consent; other events say nothing."""
    if event.source == OURSELVES and event.name == "Unsubscribed":
        topic = event.properties.get("topic")
        everything = topic in (None, "", "all")
        return _agreed(reach, {"marketing": False} if everything else {"topics": {str(topic): False}}, None, "unsubscribed", at)
    if event.type != "identify":
        return reach
    named = Said(address_of(event.traits["email"]), at) if "email" in event.traits else None
    if not event.trusted:
        return reach._replace(posted=later(reach.posted, named))
    act = event.traits.get("consent")
    reach = _agreed(reach, act if isinstance(act, dict) else {"marketing": act}, named.what if named else None, event.source, at)
    return reach._replace(told=_history((*reach.told, named) if named else reach.told, reach.given.at))


def both(one: Reach, other: Reach) -> Reach:
    """What was said of two leads that are one person."""
    given = _newer(one.given, other.given)
    told = _history((*one.told, *other.told), given.at)
    return Reach(told, later(one.posted, other.posted), given, _laid_together(one.refused, other.refused))


def reachable(reach: Reach) -> dict[str, Any]:
    """The lead's address and consent that hold now."""
    posted = reach.posted.what if reach.posted is not None else None
    address = reach.told[-1].what if reach.told else posted
    topics_at = {topic: refused.at for topic, refused in reach.refused.items()}
    consent = replace(reach.given, topics={topic: not refused.what for topic, refused in reach.refused.items()}, topics_at=topics_at)
    if consent.at is not None:
        owner = consent.address or _held_at(reach.told, consent.at)
        given = consent.marketing and owner is not None and address is not None and owner.casefold() == address.casefold()
        consent = replace(consent, address=owner, marketing=given)
    return {"email": address, "address_trusted": bool(reach.told) or posted is None, "consent": consent}


def address_of(text: Any) -> str | None:
    """A mail address as its owner writes it, the domain in lower case; None for what is none."""
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text.strip()):
        return None
    local, _, domain = text.strip().rpartition("@")
    return f"{local}@{domain.lower()}"


def _agreed(reach: Reach, act: Mapping[str, Any], address: str | None, source: str, at: datetime) -> Reach:
    """Only true gives and only false withdraws; anything else says nothing."""
    marketing, topics = act.get("marketing"), act.get("topics")
    if isinstance(marketing, bool):
        said = Consent(marketing=marketing, address=address, source=str(act.get("source") or source), at=at)
        reach = reach._replace(given=_newer(reach.given, said))
    if isinstance(topics, dict):
        chosen = {topic: Said(not wanted, at) for topic, wanted in topics.items() if isinstance(wanted, bool)}
        reach = reach._replace(refused=_laid_together(reach.refused, chosen))
    return reach


def _newer(one: Consent, other: Consent) -> Consent:
    """Of what was said at the same moment, the withdrawal."""
    return other if is_later(other.at, (not other.marketing, other), one.at, (not one.marketing, one)) else one


def _laid_together(one: Mapping[str, Said], other: Mapping[str, Said]) -> dict[str, Said]:
    """Each topic by its last word; of what was said at the same moment, the refusal."""
    words = {topic: later(one.get(topic), other.get(topic)) for topic in sorted(one.keys() | other.keys())}
    return {topic: word for topic, word in words.items() if word is not None}


def _history(told: Iterable[Said], since: datetime | None) -> tuple[Said, ...]:
    """In order, without what no consent can ask for any more. Beyond the most, repetitions go first and then the oldest."""
    kept = sorted(set(told), key=lambda said: (said.at, said.what or ""))
    if since is not None:
        del kept[: max(0, sum(said.at <= since for said in kept) - 1)]
    while len(kept) > MOST_TOLD:
        del kept[next((place for place in range(1, len(kept) - 1) if kept[place].what == kept[place - 1].what), 0)]
    return tuple(kept)


def _held_at(told: tuple[Said, ...], at: datetime) -> str | None:
    """The address that held at a moment."""
    held = [said.what for said in takewhile(lambda said: said.at <= at, told)]
    return held[-1] if held else None
