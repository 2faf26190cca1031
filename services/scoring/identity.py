"""Whom an event belongs to: pure decisions over the ids it carries and the leads that own them.

event ──named──► its ids ──settle──► one lead, those that become part of it, and the ids that are its own from now on

An anonymous lead becomes part of the known one. Two identified leads never do so by themselves: where somebody else says who he is on a
device, the device moves to him and its past stays. Only an alias that came with a secret key joins two identified leads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from shared.errors import InvalidMessage
from shared.wire import Event

FORBIDDEN = frozenset({"", "null", "undefined", "anonymous", "guest", "nan", "none", "true", "false", "0", "[object object]"})
"""What broken integrations send as an id, in lower case: the lead of all their visitors would be nobody (PostHog refuses these too)."""


@dataclass(frozen=True, slots=True)
class Names:
    """The usable ids of one event. `devices` are anonymous ids; `former` is the user id that an alias gives up."""

    user: str | None
    devices: tuple[str, ...]
    former: str | None = None
    trusted: bool = False

    @property
    def identities(self) -> tuple[str, ...]:
        """The ids as they are stored."""
        users = (user_identity(user) for user in (self.user, self.former) if user is not None)
        return (*users, *map(device_identity, self.devices))


class Owner(NamedTuple):
    """The living lead that an identity leads to."""

    lead_id: str
    identified: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to do before the event is folded: without `lead_id` a lead is made, `merged` become part of it, `identities` become its own."""

    lead_id: str | None
    merged: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()


def user_identity(user_id: str) -> str:
    return f"user:{user_id}"


def device_identity(anonymous_id: str) -> str:
    return f"device:{anonymous_id}"


def names_of(event: Event) -> Names:
    """The ids an event may be known by. Raises InvalidMessage where none of them can name a lead."""
    user, device = _usable(event.user_id), _usable(event.anonymous_id)
    if event.type == "alias":
        return _alias(event, user, device)
    if user is None and device is None:
        raise InvalidMessage("no_identity", "neither userId nor anonymousId can name a lead")
    return Names(user, () if device is None else (device,), trusted=event.trusted)


def settle(names: Names, owner_of: Callable[[str], Owner | None]) -> Settlement:
    """Decide whose the event is. Raises InvalidMessage where it would join two identified leads and may not."""
    owners = {identity: owner_of(identity) for identity in names.identities}
    user = owners.get(user_identity(names.user)) if names.user is not None else None
    former = owners.get(user_identity(names.former)) if names.former is not None else None
    if former not in (None, user) and not names.trusted:
        raise InvalidMessage("alias_untrusted", "two identified leads are joined only by an alias that comes with a secret key")
    lead = user or former or _of_devices(names, owners)
    if lead is None:
        return Settlement(None, (), _claimed(names, owners, None))
    others = {owner.lead_id for owner in owners.values() if owner and owner != lead and (owner == former or not owner.identified)}
    return Settlement(lead.lead_id, tuple(sorted(others)), _claimed(names, owners, lead))


def _alias(event: Event, user: str | None, device: str | None) -> Names:
    """`previousId` may be a user id given up or an anonymous id: whichever is known."""
    previous = _usable(event.previous_id)
    if user is None or previous is None:
        raise InvalidMessage("no_identity", "an alias needs a usable userId and previousId")
    devices = dict.fromkeys(id for id in (device, previous) if id is not None)
    return Names(user, tuple(devices), previous if previous != user else None, event.trusted)


def _of_devices(names: Names, owners: dict[str, Owner | None]) -> Owner | None:
    """The lead that the devices lead to; one who says who he is for the first time takes over only an anonymous one."""
    found = (owners[device_identity(device)] for device in names.devices)
    return next((owner for owner in found if owner and (names.user is None or not owner.identified)), None)


def _claimed(names: Names, owners: dict[str, Owner | None], lead: Owner | None) -> tuple[str, ...]:
    """Identities that are nobody's yet, and devices that another identified lead used before."""
    former = None if names.former is None or names.trusted else user_identity(names.former)  # not for a browser to claim
    free = [identity for identity, owner in owners.items() if owner is None and identity != former]
    moved = [identity for identity, owner in owners.items() if owner and owner != lead and owner.identified]
    return (*free, *(identity for identity in moved if identity.startswith("device:")))


def _usable(id: str | None) -> str | None:
    return None if id is None or id.strip().lower() in FORBIDDEN else id
