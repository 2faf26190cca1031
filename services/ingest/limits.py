"""How much may come with a browser's key, which anybody may hold: so much a key, so much a network, so much that names one email address.

The generic cell rate algorithm (ITU-T I.371): of each name only one moment is kept, that at which it would be as fresh as a new one.
Pure: the time is handed in, in seconds of any clock that does not run backwards.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from shared.names import mailbox_of

MOST_NAMES = 50_000
"""Names of one kind that are remembered. Whoever was not heard of for longest is forgotten first, and with that forgiven."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds, all of them at once if need be; 0 is no limit."""

    count: int
    seconds: float


class Limiter:
    """One rate, held for each name apart."""

    def __init__(self, rate: Rate, most: int = MOST_NAMES) -> None:
        self._rate = rate
        self._each = rate.seconds / rate.count if rate.count else 0.0
        self._most = most
        self._fresh_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, name: str, cost: int, now: float) -> float:
        """Seconds until so much may pass, 0 where it may now. More than ever passes at once counts as all that does."""
        if not self._rate.count:
            return 0.0
        return max(0.0, self._after(name, cost, now) - self._rate.seconds - now)

    def take(self, name: str, cost: int, now: float) -> None:
        """Count what passes."""
        if self._rate.count:
            self._fresh_at[name] = self._after(name, cost, now)
            self._fresh_at.move_to_end(name)
            if len(self._fresh_at) > self._most:
                self._fresh_at.popitem(last=False)

    def _after(self, name: str, cost: int, now: float) -> float:
        return max(self._fresh_at.get(name, now), now) + min(cost, self._rate.count) * self._each


class Limits:
    """The three rates that one call must all keep; one that does not takes from none."""

    def __init__(self, per_key: Rate, per_ip: Rate, per_address: Rate) -> None:
        self._keys = Limiter(per_key)
        self._ips = Limiter(per_ip)
        self._addresses = Limiter(per_address)

    def admit(self, key: str, ip: str, addresses: Iterable[str], events: int, now: float) -> float:
        """Counts so many events that name these addresses; where they are too many it counts none and says how many seconds to wait.

        Addresses that differ in their `+tag` are one mailbox.
        """
        mailboxes = Counter(map(mailbox_of, addresses))
        wanted = [(self._keys, key, events), (self._ips, ip, events), *((self._addresses, box, named) for box, named in mailboxes.items())]
        wait = max(limiter.wait(name, cost, now) for limiter, name, cost in wanted)
        if not wait:
            for limiter, name, cost in wanted:
                limiter.take(name, cost, now)
        return wait


@lru_cache(4096)
def network_of(ip: str) -> str:
    """What one subscriber has: an IPv4 address, the first 64 bits of an IPv6 address; any other text as it is."""
    try:
        address = ip_address(ip.strip())
    except ValueError:
        return ip[:64]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)


def caller_of(peer: str, forwarded: str, proxies: int) -> str:
    """Who calls: `peer`, or behind so many proxies of ours the address that the outermost of them wrote into `X-Forwarded-For`.

    What stands further left was written by the caller, and says nothing. A header with fewer addresses came past the proxies.
    """
    chain = [part for part in forwarded.split(",") if part.strip()] if proxies else []
    return network_of(chain[-proxies] if len(chain) >= proxies > 0 else peer)
