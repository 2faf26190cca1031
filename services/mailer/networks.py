"""Which network addresses a webhook may reach: asked at every connect, so that no name can lead into the operator's own network.

The list is spelled out because `ipaddress.is_global` takes multicast, NAT64, 6to4 and site-local addresses for global ones.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

_DENIED_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_DENIED_V6 = tuple(
    IPv6Network(block)
    for block in (
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
_CARRIERS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Mapped and NAT64 blocks: their last 32 bits are the IPv4 address that is reached."""


def why_refused(url: str) -> str | None:
    """What stands against posting to this URL, as far as its text says; names are looked up only when connecting. None: nothing."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return "only https leaves the house"
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return f"{host} is this machine"
    try:
        return None if is_public(host) else f"{host} is not a public address"
    except ValueError:  # a name
        return None


def is_public(address: str) -> bool:
    """Whether a webhook may connect there. An IPv6 address that carries an IPv4 one is as public as what it carries."""
    parsed = _carried(ip_address(address.partition("%")[0]))
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _DENIED_V4)
    return not any(parsed in network for network in _DENIED_V6)


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if any(address in network for network in _CARRIERS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
