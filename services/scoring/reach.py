"""Whether a lead may be mailed, and where: its address, by who named it, and the consents that belong to addresses. Pure.

what is said ──heard──► namings of an address and words of consent, by their own times ──reachable──► the lead's address and consent

An address that a server named counts; one that only a browser posted is shown, but nothing is mailed to it. One named with a user id
outranks one named for a device alone; one that came with a consent event takes the place of no other. Who confirms an address, or asks
for mail in a browser, speaks for his device. A consent belongs to the address that it names, else to the one that held by then; a
withdrawal is for all of them. Marketing and each topic are words of their own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from services.scoring.registers import Said, is_later, later
from services.scoring.words import acts, address_of, named_in
from shared.wire import OURSELVES, Consent, Event, replace

MOST_TOLD = 8
"""How many namings of an address are kept one by one, for words that arrive late; those before them are kept as what they came to."""
MOST_AGREED = 8
"""For how many addresses of a lead consents are kept; beyond, the oldest goes."""
NOBODYS = ""
"""The address of a consent that can no longer be told to be for any."""
EVERYTHING = (None, "", "all")


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """`consent` of the playbook: the events by which somebody asks for mail, and whether a browser's word for it is enough."""

    events: frozenset[str]
    trusts_browser: bool = False


class Told(NamedTuple):
    """A naming of an address, None: that there is none. `since` where it stands for several in a row: when the first of them was."""

    what: str | None
    at: datetime
    of_customer: bool = True  # with a user id; else for a device alone
    claimed: bool = False  # with a consent event
    since: datetime | None = None

    @property
    def begins(self) -> datetime:
        """From when on it is known to have held."""
        return self.since or self.at


class Reach(NamedTuple):
    """What was said of address and consent."""

    told: tuple[Told, ...] = ()  # by a server, or confirmed: oldest first
    posted: Said | None = None  # by a browser
    given: Consent = Consent()  # the last consent that names no address
    refused: Mapping[str, Said] = {}  # each topic: whether it is not wanted
    agreed: Mapping[str, Consent] = {}  # the last consent that names it, by address without case
    withdrawn: Consent = Consent()  # the last withdrawal
    lent: Consent = Consent()  # as `given`, said of a device alone: for no address of a customer's


def heard(reach: Reach, event: Event, at: datetime, of_customer: bool, rule: ConsentRule | None) -> Reach:
    """What an event says of address and consent; most say nothing. `of_customer`: it speaks of a user, not of a device alone."""
    if event.type == "identify":
        return _identified(reach, event, at, of_customer)
    if event.source == OURSELVES and event.name in _BY_READERS:
        return _BY_READERS[event.name](reach, event, at, of_customer)
    if rule is not None and event.name in rule.events and (event.trusted or rule.trusts_browser):
        return _asked_for(reach, event, at, of_customer)
    return reach


def both(one: Reach, other: Reach) -> Reach:
    """What was said of two leads that are one person."""
    joined = Reach(
        one.told,
        later(one.posted, other.posted),
        _newer(one.given, other.given),
        _laid_together(one.refused, other.refused),
        _agreements((*one.agreed.values(), *other.agreed.values())),
        _newer(one.withdrawn, other.withdrawn),
        _newer(one.lent, other.lent),
    )
    return _naming(joined, other.told)


def claimed_by(visitor: Reach, customer: Reach) -> Reach:
    """Both, where only a browser says that this visitor is the customer: mail for him goes to no address that the visitor brings.

    Where none is known of the customer, not even a posted one, the visitor's is his. What the visitor agreed to stays with its address.
    """
    holder = _holder(customer.told)
    posted = customer.posted.what if customer.posted is not None else None
    standing = (holder.what if holder is not None else None) or posted
    if standing is None:
        return both(customer, visitor)
    is_confirmed = any(one.claimed and is_same(one.what, standing) for one in customer.told)
    kept = tuple(one for one in visitor.told if is_same(one.what, standing) or not (one.claimed or is_confirmed))
    if kept == visitor.told:
        return both(customer, visitor)
    given, lent = (_bound(visitor, word) for word in (visitor.given, visitor.lent))
    return both(customer, visitor._replace(told=kept, given=given, lent=lent))


def reachable(reach: Reach) -> dict[str, Any]:
    """The lead's address and consent that hold now."""
    holder = _holder(reach.told)
    posted = reach.posted.what if reach.posted is not None else None
    address = holder.what if holder is not None else posted
    topics = {topic: not refused.what for topic, refused in reach.refused.items()}
    consent = replace(_consent(reach, address), topics=topics, topics_at={topic: refused.at for topic, refused in reach.refused.items()})
    return {"email": address, "address_trusted": holder is not None or posted is None, "consent": consent}


def _consent(reach: Reach, address: str | None) -> Consent:
    """The last word on marketing that counts for this address; where none gives it, the last one of all."""
    words = [word for word in (reach.given, reach.lent, reach.withdrawn, *reach.agreed.values()) if word.at is not None]
    if not words:
        return Consent()
    last = Consent()
    for word in words:
        owner = _owner(reach, word)
        counts = not word.marketing or (owner is not None and address is not None and owner.casefold() == address.casefold())
        last = _newer(last, replace(word, address=owner)) if counts else last
    if last.marketing:
        return last
    newest = Consent()
    for word in words:
        newest = _newer(newest, word)
    return replace(newest, marketing=False, address=_owner(reach, newest) or None)


def _owner(reach: Reach, word: Consent) -> str | None:
    """The address that a consent is for."""
    if word.address is not None or word.at is None:
        return word.address
    holder = _holder(reach.told, word.at)
    if holder is None or (word is reach.lent and holder.of_customer):
        return None
    return holder.what


def _identified(reach: Reach, event: Event, at: datetime, of_customer: bool) -> Reach:
    is_named = "email" in event.traits
    address = address_of(event.traits["email"]) if is_named else None
    if not event.trusted:
        return reach._replace(posted=later(reach.posted, Said(address, at))) if is_named else reach
    reach = _naming(reach, [Told(address, at, of_customer)]) if is_named else reach
    marketing, topics, source = acts(event.traits.get("consent"))
    return _agreed(reach, marketing, topics, Consent(address=address, source=source or event.source, at=at), of_customer)


def _unsubscribed(reach: Reach, event: Event, at: datetime, of_customer: bool) -> Reach:
    topic = event.properties.get("topic")
    marketing, topics = (False, {}) if topic in EVERYTHING else (None, {str(topic): False})
    return _agreed(reach, marketing, topics, Consent(source="unsubscribed", at=at), of_customer)


def _resubscribed(reach: Reach, event: Event, at: datetime, of_customer: bool) -> Reach:
    topic = event.properties.get("topic")
    marketing, topics = (True, {}) if topic in EVERYTHING else (None, {str(topic): True})
    address = address_of(event.properties.get("address"))
    return _agreed(reach, marketing, topics, Consent(address=address, source="resubscribed", at=at), of_customer)


def _confirmed(reach: Reach, event: Event, at: datetime, of_customer: bool) -> Reach:
    """The owner of an address has said that he wants mail."""
    address = address_of(event.properties.get("address"))
    if address is None:
        return reach
    source = str(event.properties.get("source") or "double_opt_in")
    reach = _naming(reach, [Told(address, at, of_customer=False, claimed=True)])
    return _agreed(reach, True, {}, Consent(address=address, source=source, at=at), of_customer)


def _asked_for(reach: Reach, event: Event, at: datetime, of_customer: bool) -> Reach:
    """Somebody asked for mail, and his word is believed: for the address that the event names, else for the lead's."""
    text = named_in(event)
    address = address_of(text)
    if text is not None and address is None:
        return reach
    if address is None and _holder(reach.told) is None and reach.posted is not None:
        address = reach.posted.what
    if address is not None:
        reach = _naming(reach, [Told(address, at, of_customer and event.trusted, claimed=True)])
    return _agreed(reach, True, {}, Consent(address=address, source=event.name, at=at), of_customer)


_BY_READERS: Mapping[str, Callable[[Reach, Event, datetime, bool], Reach]]
_BY_READERS = {"Unsubscribed": _unsubscribed, "Resubscribed": _resubscribed, "Consent Given": _confirmed}


def _agreed(reach: Reach, marketing: bool | None, topics: Mapping[str, bool], word: Consent, of_customer: bool) -> Reach:
    """`word` with what it says of marketing, and of each topic."""
    if topics and word.at is not None:
        chosen = {topic: Said(not wanted, word.at) for topic, wanted in topics.items()}
        reach = reach._replace(refused=_laid_together(reach.refused, chosen))
    if marketing is False:
        return reach._replace(withdrawn=_newer(reach.withdrawn, word))
    if marketing is None:
        return reach
    word = replace(word, marketing=True)
    if word.address is not None:
        return reach._replace(agreed=_agreements((*reach.agreed.values(), word)))
    return reach._replace(given=_newer(reach.given, word)) if of_customer else reach._replace(lent=_newer(reach.lent, word))


def _naming(reach: Reach, said: Sequence[Told]) -> Reach:
    """With these namings. Beyond the most, the oldest become what they came to; so does a consent that goes by them."""
    told = sorted({*reach.told, *said}, key=lambda one: (one.at, one.what or "", one.of_customer, not one.claimed))
    given, lent = (_doubted(word, reach.told, said) for word in (reach.given, reach.lent))
    while len(told) > MOST_TOLD:
        first = _succeeding(told[0], told[1])
        whole = reach._replace(told=tuple(told), given=given, lent=lent)
        given, lent = (_settled(whole, word, first) for word in (given, lent))
        told[:2] = [first]
    return reach._replace(told=tuple(told), given=given, lent=lent)


def _settled(reach: Reach, word: Consent, first: Told) -> Consent:
    """A consent that names no address, before the naming it goes by is forgotten."""
    if word.at is None or word.address is not None or first.begins <= word.at:
        return word
    return _bound(reach, word)


def _bound(reach: Reach, word: Consent) -> Consent:
    """A consent with the address that it goes by."""
    return word if word.at is None else replace(word, address=_owner(reach, word) or NOBODYS)


def _doubted(word: Consent, told: tuple[Told, ...], said: Sequence[Told]) -> Consent:
    """A consent that was settled is for no address, once another one turns out to have been named before it."""
    if not word.address or word.at is None or not told:
        return word
    other = any(one.at <= word.at and one.at < told[0].begins and not is_same(one.what, word.address) for one in said)
    return replace(word, address=NOBODYS) if other else word


def _holder(told: Iterable[Told], at: datetime | None = None) -> Told | None:
    """Whose turn it is after all these namings, or those until a moment."""
    holder: Told | None = None
    for said in told:
        if at is not None and said.begins > at:
            continue
        holder = said if holder is None else _succeeding(holder, said)
    return holder


def _succeeding(holder: Told, said: Told) -> Told:
    """Which of two namings holds after the second."""
    if holder.what is None:
        return said
    if is_same(holder.what, said.what):
        of_customer, claimed = holder.of_customer or said.of_customer, holder.claimed and said.claimed
        return Told(said.what, said.at, of_customer, claimed, holder.begins)
    if holder.of_customer != said.of_customer:
        return said if said.of_customer else holder
    return holder if said.claimed else said


def _newer(one: Consent, other: Consent) -> Consent:
    """Of what was said at the same moment, the withdrawal."""
    return other if is_later(other.at, (not other.marketing, other), one.at, (not one.marketing, one)) else one


def _agreements(words: Iterable[Consent]) -> dict[str, Consent]:
    """The last consent for each address, of the addresses named last."""
    newest: dict[str, Consent] = {}
    for word in words:
        key = (word.address or "").casefold()
        newest[key] = _newer(newest.get(key, Consent()), word)
    kept = sorted(newest, key=lambda key: (newest[key].at, key))[-MOST_AGREED:]
    return {key: newest[key] for key in kept}


def _laid_together(one: Mapping[str, Said], other: Mapping[str, Said]) -> dict[str, Said]:
    """Each topic by its last word; of what was said at the same moment, the refusal."""
    words = {topic: later(one.get(topic), other.get(topic)) for topic in sorted(one.keys() | other.keys())}
    return {topic: word for topic, word in words.items() if word is not None}


def is_same(one: str | None, other: str | None) -> bool:
    """Whether two texts are one address: nobody has two that differ in case."""
    return one is not None and other is not None and one.casefold() == other.casefold()
