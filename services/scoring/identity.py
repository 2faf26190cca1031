"""Whom an event belongs to: pure decisions over the ids it carries and the leads that own them.

event ──named──► its ids ──settle──► one lead, those that become part of it, and the ids that are its own from now on

An anonymous lead becomes part of the known one. Two identified leads never do so by themselves: where somebody else says who he is on a
device, the device moves to him and its past stays. Only an alias that came with a secret key joins two identified leads.
"""

from collections.abc import Callable
from typing import NamedTuple

from shared.errors import InvalidMessage
from shared.wire import Event

FORBIDDEN = frozenset({"", "null", "undefined", "anonymous", "guest", "nan", "none", "true", "false", "0", "[object object]"})
"""What broken integrations send as an id, in lower case: the lead of all their visitors would be nobody (PostHog refuses these too)."""


USER, DEVICE = "user:", "device:"


class Names(NamedTuple):
    """The ids one event may be known by, as they are stored: the user's own, one that an alias gives up, devices."""

    identities: tuple[str, ...]  # all of them, each once
    user: str | None = None
    former: str | None = None
    trusted: bool = False

    @property
    def user_id(self) -> str | None:
        """The user id as the event has it."""
        return None if self.user is None else self.user.removeprefix(USER)


class Owner(NamedTuple):
    """The living lead that an identity leads to."""

    lead_id: str
    identified: bool


class Settlement(NamedTuple):
    """What to do before the event is folded: without `lead_id` a lead is made, `merged` become part of it, `identities` become its own."""

    lead_id: str | None
    merged: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()


def user_identity(user_id: str) -> str:
    """How a user id is stored."""
    return USER + user_id


def device_identity(anonymous_id: str) -> str:
    """How an anonymous id is stored."""
    return DEVICE + anonymous_id


def names_of(event: Event) -> Names:
    """The usable ids of an event. Raises InvalidMessage where none of them can name a lead."""
    user = user_identity(event.user_id) if event.user_id is not None and is_usable(event.user_id) else None
    device = device_identity(event.anonymous_id) if event.anonymous_id is not None and is_usable(event.anonymous_id) else None
    if event.type == "alias":
        return _alias(event, user, device)
    if user is None and device is None:
        raise InvalidMessage("no_identity", "neither userId nor anonymousId can name a lead")
    return Names(tuple(name for name in (user, device) if name is not None), user)


def settle(names: Names, owner_of: Callable[[str], Owner | None]) -> Settlement:
    """Decide whose the event is. Raises InvalidMessage where it would join two identified leads and may not."""
    if len(names.identities) == 1:
        only = owner_of(names.identities[0])
        return Settlement(None, (), names.identities) if only is None else Settlement(only.lead_id)
    owners = {identity: owner_of(identity) for identity in names.identities}
    user = owners[names.user] if names.user is not None else None
    former = owners[names.former] if names.former is not None else None
    if former not in (None, user) and not names.trusted:
        raise InvalidMessage("alias_untrusted", "two identified leads are joined only by an alias that comes with a secret key")
    lead = user or former or _of_devices(names, owners)
    if lead is None:
        return Settlement(None, (), _claimed(names, owners, None))
    if all(owner == lead for owner in owners.values()):
        return Settlement(lead.lead_id)
    others = {owner.lead_id for owner in owners.values() if owner and owner != lead and (owner == former or not owner.identified)}
    return Settlement(lead.lead_id, tuple(sorted(others)), _claimed(names, owners, lead))


def _alias(event: Event, user: str | None, device: str | None) -> Names:
    """`previousId` may be a user id given up or an anonymous id: whichever is known."""
    previous = event.previous_id
    if user is None or previous is None or not is_usable(previous):
        raise InvalidMessage("no_identity", "an alias needs a usable userId and previousId")
    former = USER + previous if USER + previous != user else None
    identities = dict.fromkeys(name for name in (user, former, device, DEVICE + previous) if name is not None)
    return Names(tuple(identities), user, former, event.trusted)


def _of_devices(names: Names, owners: dict[str, Owner | None]) -> Owner | None:
    """The lead that the devices lead to; one who says who he is for the first time takes over only an anonymous one."""
    found = (owner for identity, owner in owners.items() if identity.startswith(DEVICE))
    return next((owner for owner in found if owner and (names.user is None or not owner.identified)), None)


def _claimed(names: Names, owners: dict[str, Owner | None], lead: Owner | None) -> tuple[str, ...]:
    """Identities that are nobody's yet, and devices that another identified lead used before."""
    former = None if names.trusted else names.former  # not for a browser to claim
    free = [identity for identity, owner in owners.items() if owner is None and identity != former]
    moved = [identity for identity, owner in owners.items() if owner and owner != lead and owner.identified]
    return (*free, *(identity for identity in moved if identity.startswith(DEVICE)))


def is_usable(id: str) -> bool:
    """Whether an id can name a lead."""
    return id.strip().lower() not in FORBIDDEN
