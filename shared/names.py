"""Whom a JSON text names: lead ids, user ids, anonymous ids, addresses, wherever our shapes and Segment's hold them. Pure.

For erasing and exporting, which go through texts of every service and every age.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

Kind = Literal["lead", "user", "device", "address"]


class Name(NamedTuple):
    """One thing that somebody is known by."""

    kind: Kind
    value: str


_KINDS: dict[str, tuple[Kind, ...]] = {
    "lead_id": ("lead",),
    "merged": ("lead",),
    "merged_from": ("lead",),
    "user_id": ("user",),
    "userid": ("user",),
    "anonymous_id": ("device",),
    "anonymousid": ("device",),
    "previous_id": ("user", "device"),
    "previousid": ("user", "device"),
    "email": ("address",),
    "address": ("address",),
    "to": ("address",),
}
"""What the value of a key is, by the key in small letters."""
_DEEPEST = 64
_PAIR = re.compile(rf'"(?P<key>{"|".join(_KINDS)})"\s*+:\s*+(?P<value>"(?:[^"\\]|\\.)*+"|[\d.]++)', re.IGNORECASE)
_decode = msgspec.json.Decoder().decode


def address_name(address: str) -> Name:
    """An address, however it is written."""
    return Name("address", address.strip().casefold())


def mailbox_of(address: str) -> str:
    """Where mail to an address arrives, whatever its `+tag`: for limits only, for some providers tell tagged addresses apart."""
    local, at, domain = address_name(address).value.rpartition("@")
    return (local.partition("+")[0] or local) + at + domain


def names_in(text: bytes | str) -> set[Name]:
    """Everybody that a JSON text names, a text within the text too. Of one that was cut off, whom its whole pairs name."""
    try:
        return set(_names(_decode(text), "", 0))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return set(_pairs(text if isinstance(text, str) else text.decode("utf-8", "replace")))


def keyed_names(key: str) -> set[Name]:
    """Whom a record's key may name."""
    return {Name("lead", key), Name("user", key), Name("device", key)}


def _names(value: Any, key: str, depth: int) -> Iterator[Name]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        if key == "lead" and isinstance(value.get("id"), str):
            yield Name("lead", value["id"])
        for name, inner in value.items():
            yield from _names(inner, name, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner, key, depth + 1)
    elif key == "payload" and isinstance(value, str):
        yield from names_in(value)
    else:
        yield from _named(key, value)


def _pairs(text: str) -> Iterator[Name]:
    for found in _PAIR.finditer(text):
        try:
            yield from _named(found["key"], _decode(found["value"]))
        except msgspec.DecodeError:
            continue


def _named(key: str, value: Any) -> Iterator[Name]:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    for kind in _KINDS.get(key.lower(), ()):
        if kind != "address":
            yield Name(kind, text)
        elif "@" in text:
            yield address_name(text)
