"""What a lead's events say about it: address, traits, tags, consent, company, zone and locale. Pure.

event ──observe──► the lead after it, and what is kept beside it so that an older event that arrives later undoes nothing

Each trait, tag, address and consent is a register of its own: what was said last counts, by the events' own times; of what was said at the
same moment, the greater JSON text. So the same events in any order leave the same profile.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.scoring.history import Noted, join_histories, join_orders, purchase, remember
from services.scoring.readiness import earned_at
from shared.wire import OURSELVES, Consent, Event, Lead, encode, replace

MOST_TRAITS = 200
LARGEST_TRAITS = 16 * 1024
"""Bytes of JSON that all traits of one lead may take."""
_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\"\\\x00-\x1f\x7f]{1,64}@(?=.{4,253}$)([^\W_]([\w-]{0,61}[^\W_])?\.)+[^\W_]([\w-]{0,61}[^\W_])?")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-/]{0,63}")
_LOCALE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,3}")


class Said(NamedTuple):
    """An address and when it was named; None: that there is none."""

    address: str | None
    at: datetime


class Kept(NamedTuple):
    """Beside the lead that others see: when things were said, and the addresses told by a server, posted by a browser, agreed to."""

    trait_at: dict[str, datetime]
    tag_at: dict[str, datetime]
    company_at: datetime | None
    told: Said | None
    posted: Said | None
    given: Consent


NOTHING_KEPT = Kept({}, {}, None, None, None, Consent())


class Observed(NamedTuple):
    """A lead after an event; `refused` are traits beyond what one lead may hold."""

    lead: Lead
    kept: Kept
    refused: dict[str, Any]


def observe(lead: Lead, kept: Kept, event: Event, noted: Noted) -> Observed:
    """Fold one event into the profile. The caller sees to it that no event is folded twice."""
    at = earned_at(event)
    seen = _past(lead, event, noted, at) | _whereabouts(lead, event, at)
    refused: dict[str, Any] = {}
    if event.type == "identify":
        kept, traits, refused = _traits(lead, kept, event.traits, at)
        kept, tags = _tags(lead, kept, event, at)
        kept = _addressed(kept, event, at)
        seen |= {"traits": traits, "tags": tags, "timezone": _zone(traits) or seen["timezone"], "locale": _locale(traits) or seen["locale"]}
    elif event.type == "group":
        kept, seen["company"] = _company(lead, kept, event, at)
    after = _agreed(kept, event, at)
    return Observed(replace(lead, **seen, **_reachable(after)), after, refused)


def join(lead: Lead, kept: Kept, other: Lead, other_kept: Kept) -> tuple[Lead, Kept]:
    """The profile of two leads that are one person, under the first one's id: as if all events had been folded into one."""
    traits, trait_at = _newest(lead.traits, kept.trait_at, other.traits, other_kept.trait_at)
    tags, tag_at = _newest(dict.fromkeys(lead.tags, True), kept.tag_at, dict.fromkeys(other.tags, True), other_kept.tag_at)
    theirs = _is_later(other_kept.company_at, other.company, kept.company_at, lead.company)
    joined = Kept(
        trait_at,
        tag_at,
        other_kept.company_at if theirs else kept.company_at,
        _later(kept.told, other_kept.told),
        _later(kept.posted, other_kept.posted),
        _newer_consent(kept.given, other_kept.given),
    )
    newer, older = (other, lead) if other.last_seen_at > lead.last_seen_at else (lead, other)
    seen = {
        "traits": traits,
        "tags": sorted(tags),
        "company": other.company if theirs else lead.company,
        "timezone": _zone(traits) or newer.timezone or older.timezone,
        "locale": _locale(traits) or newer.locale or older.locale,
        "created_at": min(lead.created_at, other.created_at),
        "last_seen_at": newer.last_seen_at,
        "events": join_histories(lead.events, other.events),
        "orders": join_orders(lead.orders, other.orders),
    }
    return replace(lead, **seen, **_reachable(joined)), joined


def differs(one: Lead, other: Lead) -> bool:
    """Whether anything but counts and readiness is different: what mails and conditions go by."""
    return (
        (one.email, one.user_id, one.timezone, one.locale) != (other.email, other.user_id, other.timezone, other.locale)
        or one.traits != other.traits
        or one.tags != other.tags
        or one.consent != other.consent
        or one.company != other.company
    )


def address_of(text: Any) -> str | None:
    """A mail address as its owner writes it, the domain in lower case; None for what is none."""
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text.strip()):
        return None
    local, _, domain = text.strip().rpartition("@")
    return f"{local}@{domain.lower()}"


def _traits(lead: Lead, kept: Kept, said: Mapping[str, Any], at: datetime) -> tuple[Kept, dict[str, Any], dict[str, Any]]:
    """What was said about the lead; null takes a trait away. `consent` is none: it is an act with its own rules."""
    traits, trait_at, refused = dict(lead.traits), dict(kept.trait_at), {}
    room = LARGEST_TRAITS - len(encode(traits))
    for name, value in said.items():
        if name == "consent" or not _is_later(at, value, trait_at.get(name), traits.get(name)):
            continue
        growth = _size(name, value) - _size(name, traits.get(name))
        if growth > max(room, 0) or not _has_place(name, value, traits, trait_at):
            refused[name] = value
            continue
        room -= growth
        trait_at[name], traits[name] = at, value
        if value is None:
            del traits[name]
    return kept._replace(trait_at=trait_at), traits, refused


def _has_place(name: str, value: Any, traits: Mapping[str, Any], trait_at: Mapping[str, datetime]) -> bool:
    if name in traits:
        return True
    return (value is None or len(traits) < MOST_TRAITS) and (name in trait_at or len(trait_at) < 2 * MOST_TRAITS)


def _size(name: str, value: Any) -> int:
    return 0 if value is None else len(encode({name: value}))


def _tags(lead: Lead, kept: Kept, event: Event, at: datetime) -> tuple[Kept, list[str]]:
    """Tags are ours: an identify from outside cannot set them."""
    change = event.properties.get("tags")
    if event.source != OURSELVES or not isinstance(change, dict):
        return kept, lead.tags
    tags, tag_at = set(lead.tags), dict(kept.tag_at)
    for there, named in ((False, change.get("remove", ())), (True, change.get("add", ()))):
        for tag in named:
            if _is_later(at, there or None, tag_at.get(tag), (tag in tags) or None):
                tag_at[tag] = at
                (tags.add if there else tags.discard)(tag)
    return kept._replace(tag_at=tag_at), sorted(tags)


def _addressed(kept: Kept, event: Event, at: datetime) -> Kept:
    if "email" not in event.traits:
        return kept
    said = Said(address_of(event.traits["email"]), at)
    if event.trusted:
        return kept._replace(told=_later(kept.told, said))
    return kept._replace(posted=_later(kept.posted, said))


def _agreed(kept: Kept, event: Event, at: datetime) -> Kept:
    """Consent given or withdrawn: by a trusted identify, for the address of this moment, or by unsubscribing."""
    if event.source == OURSELVES and event.name == "Unsubscribed":
        topic = event.properties.get("topic")
        everything = topic in (None, "", "all")
        return _with_consent(kept, {"marketing": False} if everything else {"topics": {str(topic): False}}, "unsubscribed", at)
    if event.type == "identify" and event.trusted and "consent" in event.traits:
        act = event.traits["consent"]
        return _with_consent(kept, act if isinstance(act, dict) else {"marketing": act}, event.source, at)
    return kept


def _with_consent(kept: Kept, act: Mapping[str, Any], source: str, at: datetime) -> Kept:
    """Only true gives and only false withdraws; anything else says nothing."""
    known, marketing, topics = kept.given, act.get("marketing"), act.get("topics")
    chosen = {topic: wanted for topic, wanted in topics.items() if isinstance(wanted, bool)} if isinstance(topics, dict) else {}
    if not isinstance(marketing, bool) and not chosen:
        return kept
    said = Consent(
        marketing=marketing if isinstance(marketing, bool) else known.marketing,
        address=_address(kept) if isinstance(marketing, bool) else known.address,
        topics={**known.topics, **chosen},
        source=str(act.get("source") or source),
        at=at,
    )
    return kept._replace(given=_newer_consent(known, said))


def _newer_consent(one: Consent, other: Consent) -> Consent:
    return other if _is_later(other.at, other, one.at, one) else one


def _reachable(kept: Kept) -> dict[str, Any]:
    """The address and the consent that hold now: consent belongs to the address it was given for."""
    address, given = _address(kept), kept.given
    if given.marketing and (address is None or given.address is None or address.casefold() != given.address.casefold()):
        given = replace(given, marketing=False)
    return {"email": address, "consent": given}


def _address(kept: Kept) -> str | None:
    """What a server told us; else the one that consent was given for; else what a browser posted, which thus replaces neither."""
    if kept.told is not None and kept.told.address is not None:
        return kept.told.address
    if kept.told is None and kept.given.address is not None:
        return kept.given.address
    return kept.posted.address if kept.posted is not None else None


def _company(lead: Lead, kept: Kept, event: Event, at: datetime) -> tuple[Kept, dict[str, Any]]:
    """The group named last; what is said of the same group is laid together."""
    group = {"id": event.group_id, **event.traits} if event.group_id is not None else dict(event.traits)
    later = _is_later(at, group, kept.company_at, lead.company)
    newer, older = (group, lead.company) if later else (lead.company, group)
    company = {**older, **newer} if older.get("id") == newer.get("id") else newer
    return kept._replace(company_at=at if later else kept.company_at), company if _size("", company) <= LARGEST_TRAITS else lead.company


def _whereabouts(lead: Lead, event: Event, at: datetime) -> dict[str, Any]:
    """When the lead was last seen, and the zone and language of its newest event where no trait names them."""
    newest = at >= lead.last_seen_at
    zone, locale = lead.timezone, lead.locale
    if event.context and (newest or zone is None):
        zone = _zone(lead.traits) or _zone(event.context) or zone
    if event.context and (newest or locale is None):
        locale = _locale(lead.traits) or _locale(event.context) or locale
    acted = event.source != OURSELVES or event.properties.get("human") is True
    return {"timezone": zone, "locale": locale, "last_seen_at": at if newest and acted else lead.last_seen_at}


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
        if _is_later(at, other.get(name), one_at.get(name), one.get(name)):
            moments[name], values[name] = at, other.get(name)
    return {name: value for name, value in values.items() if value is not None}, moments


def _is_later(at: datetime | None, value: Any, than_at: datetime | None, than: Any) -> bool:
    if at is None or than_at is None or at != than_at:
        return at is not None and (than_at is None or at > than_at)
    return encode(value) > encode(than)


def _later(one: Said | None, other: Said | None) -> Said | None:
    if one is None or other is None:
        return one or other
    return other if _is_later(other.at, other.address, one.at, one.address) else one
