"""What a lead's events say about it: address, traits, tags, consent, company, zone and locale. Pure.

event ──observe──► the lead after it, and what is kept beside it so that an older event that arrives later undoes nothing

Each trait and tag, the company, the zone and the locale is a register of its own; address and consent are of reach.py. So the same events
in any order leave the same profile, as long as all of its traits find a place.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.scoring.history import Noted, join_histories, join_orders, purchase, remember
from services.scoring.identity import is_usable
from services.scoring.reach import Reach, both, claimed_by, heard, reachable
from services.scoring.readiness import earned_at
from services.scoring.registers import Said, is_later, later
from shared.wire import OURSELVES, Event, Lead, encode, replace

MOST_TRAITS = 200
LARGEST_TRAITS = 16 * 1024
"""Bytes of JSON that all traits of one lead may take."""
LONGEST_NAME = 200
LONGEST_TAG = 100
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-/]{0,63}")
_LOCALE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,3}")


class Kept(NamedTuple):
    """Beside the lead that others see: when things were said, and what was said of where it may be reached and where it is."""

    trait_at: Mapping[str, datetime] = {}
    tag_at: Mapping[str, datetime] = {}
    company_at: datetime | None = None
    reach: Reach = Reach()
    zone: Said | None = None  # as the context of its events named it
    locale: Said | None = None


NOTHING_KEPT = Kept()


class Observed(NamedTuple):
    """A lead after an event; `refused` are traits beyond what one lead, or its company, may hold."""

    lead: Lead
    kept: Kept
    refused: dict[str, Any]


def observe(lead: Lead, kept: Kept, event: Event, noted: Noted) -> Observed:
    """Fold one event into the profile. The caller sees to it that no event is folded twice."""
    at = earned_at(event)
    seen = _past(lead, event, noted, at)
    refused: dict[str, Any] = {}
    before, kept = kept, _placed(kept, event, at)
    reach = heard(kept.reach, event, at, _of_customer(event, lead), noted.consent)
    if reach is not kept.reach:
        kept = kept._replace(reach=reach)
        seen |= reachable(reach)
    if event.type == "identify":
        said = ((name, value, at) for name, value in event.traits.items() if name != "consent")
        seen["traits"], trait_at, refused = _admitted(lead.traits, kept.trait_at, said)
        kept, seen["tags"] = _tags(lead, kept._replace(trait_at=trait_at), event, at)
    elif event.type == "group":
        kept, seen["company"], refused = _company(lead, kept, event, at)
    if kept is not before:
        seen |= _placed_by(seen.get("traits", lead.traits), kept)
    if event.source != OURSELVES or event.properties.get("human") is True:
        seen["last_seen_at"] = max(lead.last_seen_at, at)
    return Observed(replace(lead, **seen), kept, refused)


def join(lead: Lead, kept: Kept, other: Lead, other_kept: Kept, *, on_a_claim: bool = False) -> Observed:
    """The profile of two leads that are one person, under the first one's id; what it holds has its place before what the other brings.

    `on_a_claim`: only a browser says that the other, a visitor, is the first, a customer.
    """
    brought = sorted(other_kept.trait_at.items(), key=lambda word: (word[0] in other.traits, word[1], word[0]))  # first what makes room
    said = ((name, other.traits.get(name), at) for name, at in brought)
    traits, trait_at, refused = _admitted(lead.traits, kept.trait_at, said)
    tags, tag_at = _newest(dict.fromkeys(lead.tags, True), kept.tag_at, dict.fromkeys(other.tags, True), other_kept.tag_at)
    theirs = is_later(other_kept.company_at, other.company, kept.company_at, lead.company)
    joined = Kept(
        trait_at,
        tag_at,
        other_kept.company_at if theirs else kept.company_at,
        claimed_by(other_kept.reach, kept.reach) if on_a_claim else both(kept.reach, other_kept.reach),
        later(kept.zone, other_kept.zone),
        later(kept.locale, other_kept.locale),
    )
    seen = {
        "traits": traits,
        "tags": sorted(tags),
        "company": other.company if theirs else lead.company,
        "created_at": min(lead.created_at, other.created_at),
        "last_seen_at": max(lead.last_seen_at, other.last_seen_at),
        "events": join_histories(lead.events, other.events),
        "orders": join_orders(lead.orders, other.orders),
    }
    return Observed(replace(lead, **seen, **_placed_by(traits, joined), **reachable(joined.reach)), joined, refused)


def differs(one: Lead, other: Lead) -> bool:
    """Whether anything but counts and readiness is different: what mails and conditions go by."""
    return (
        (one.email, one.address_trusted, one.user_id) != (other.email, other.address_trusted, other.user_id)
        or (one.timezone, one.locale) != (other.timezone, other.locale)
        or one.traits != other.traits
        or one.tags != other.tags
        or one.consent != other.consent
        or one.company != other.company
    )


def _of_customer(event: Event, lead: Lead) -> bool:
    """Whether an event speaks of a user: by its own user id, or, of us who know the lead, where that is identified."""
    if event.user_id is None and event.anonymous_id is None:
        return lead.user_id is not None
    return event.user_id is not None and is_usable(event.user_id)


def _placed_by(traits: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
    """Zone and language: a trait names them before any context does."""
    zone, locale = (said.what if said is not None else None for said in (kept.zone, kept.locale))
    return {"timezone": _zone(traits) or zone, "locale": _locale(traits) or locale}


def _admitted(
    held: Mapping[str, Any], held_at: Mapping[str, datetime], said: Iterable[tuple[str, Any, datetime]]
) -> tuple[dict[str, Any], dict[str, datetime], dict[str, Any]]:
    """The traits after what was said, when each was said, and what found no place. Null takes a trait away."""
    traits, trait_at, refused = dict(held), dict(held_at), {}
    room = LARGEST_TRAITS - len(encode(traits))
    for name, value, at in said:
        if not is_later(at, value, trait_at.get(name), traits.get(name)):
            continue
        growth = _size(name, value) - _size(name, traits.get(name))
        is_one_too_many = value is not None and name not in traits and len(traits) >= MOST_TRAITS
        if is_one_too_many or growth > max(room, 0) or len(name) > LONGEST_NAME:
            refused[name] = value
            continue
        room -= growth
        trait_at[name], traits[name] = at, value
        if value is None:
            del traits[name]
    return traits, _remembered(trait_at, traits), refused


def _remembered(trait_at: dict[str, datetime], traits: Mapping[str, Any]) -> dict[str, datetime]:
    """Of the names taken away, those taken last: as many as there may be traits."""
    taken = sorted((name for name in trait_at if name not in traits), key=lambda name: (trait_at[name], name))
    for name in taken[:-MOST_TRAITS]:
        del trait_at[name]
    return trait_at


def _size(name: str, value: Any) -> int:
    return 0 if value is None else len(encode({name: value}))


def _tags(lead: Lead, kept: Kept, event: Event, at: datetime) -> tuple[Kept, list[str]]:
    """Tags are ours and our servers': an identify from a browser cannot set them."""
    change = event.properties.get("tags")
    if not (event.trusted or event.source == OURSELVES) or not isinstance(change, dict):
        return kept, lead.tags
    tags, tag_at = set(lead.tags), dict(kept.tag_at)
    for there, named in ((False, change.get("remove")), (True, change.get("add"))):
        for tag in _usable_tags(named):
            if is_later(at, there or None, tag_at.get(tag), (tag in tags) or None):
                tag_at[tag] = at
                (tags.add if there else tags.discard)(tag)
    return kept._replace(tag_at=tag_at), sorted(tags)


def _usable_tags(named: Any) -> list[str]:
    return [tag for tag in named if isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG] if isinstance(named, list) else []


def _company(lead: Lead, kept: Kept, event: Event, at: datetime) -> tuple[Kept, dict[str, Any], dict[str, Any]]:
    """The group named last, and what of this one found no place; what is said of the same group is laid together."""
    group = {"id": event.group_id, **event.traits} if event.group_id is not None else dict(event.traits)
    later = is_later(at, group, kept.company_at, lead.company)
    newer, older = (group, lead.company) if later else (lead.company, group)
    company = {**older, **newer} if older.get("id") == newer.get("id") else newer
    if _size("", company) > LARGEST_TRAITS:
        return kept, lead.company, event.traits
    return kept._replace(company_at=at if later else kept.company_at), company, {}


def _placed(kept: Kept, event: Event, at: datetime) -> Kept:
    """The zone and the language that the newest context names."""
    zone, locale = _zone(event.context), _locale(event.context)
    if zone is not None:
        kept = kept._replace(zone=later(kept.zone, Said(zone, at)))
    if locale is not None:
        kept = kept._replace(locale=later(kept.locale, Said(locale, at)))
    return kept


def _past(lead: Lead, event: Event, noted: Noted, at: datetime) -> dict[str, Any]:
    past: dict[str, Any] = {}
    if event.name in noted.histories:
        past["events"] = remember(lead.events, event, at)
    if noted.orders is not None and event.name in noted.orders.names:
        past["orders"] = purchase(lead.orders, noted.orders, event, at)
    return past


def _zone(named: Mapping[str, Any]) -> str | None:
    zone = named.get("timezone")
    return zone if isinstance(zone, str) and _is_zone(zone) else None


@lru_cache(maxsize=2048)
def _is_zone(zone: str) -> bool:
    if not _ZONE.fullmatch(zone):
        return False
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _locale(named: Mapping[str, Any]) -> str | None:
    locale = named.get("locale")
    return locale if isinstance(locale, str) and _is_locale(locale) else None


@lru_cache(maxsize=2048)
def _is_locale(locale: str) -> bool:
    return _LOCALE.fullmatch(locale) is not None


def _newest(
    one: Mapping[str, Any], one_at: Mapping[str, datetime], other: Mapping[str, Any], other_at: Mapping[str, datetime]
) -> tuple[dict[str, Any], dict[str, datetime]]:
    """Two sets of registers laid together, each name as it was said last."""
    values, moments = dict(one), dict(one_at)
    for name, at in other_at.items():
        if is_later(at, other.get(name), one_at.get(name), one.get(name)):
            moments[name], values[name] = at, other.get(name)
    return {name: value for name, value in values.items() if value is not None}, moments
