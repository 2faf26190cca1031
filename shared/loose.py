"""JSON as clients really send it, made harmless: the slow way of reading, taken only where the fast and strict one refuses a text.

NaN, the infinities and numbers beyond them become null, lone surrogates and broken UTF-8 become U+FFFD, NUL is dropped from keys
and values: PostgreSQL refuses it, and would do so for ever.
"""

import json
import math
import re
from typing import Any

from shared.errors import InvalidMessage
from shared.nesting import cut

_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_INTEGER = 308  # digits: what a float can still hold
_DEEPEST = 64  # nothing deeper is looked at: such an event is refused by its depth


def parse(body: bytes) -> Any:
    """Plain data that any JSON encoder and any database takes. Raises InvalidMessage `not_json`."""
    try:
        return _harmless(_read(body), 0)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("not_json", f"not JSON: {error}") from error


def _read(body: bytes) -> Any:
    try:
        return _loads(body)
    except RecursionError:
        return _loads(cut(body, _DEEPEST))


def _loads(body: bytes) -> Any:
    return json.loads(body.decode("utf-8-sig", "replace"), parse_constant=_nothing, parse_int=_integer)


def _harmless(value: Any, depth: int) -> Any:
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value.replace("\0", ""))
        case float():
            return value if math.isfinite(value) else None
        case dict() if depth < _DEEPEST:
            return {_harmless(key, depth): _harmless(item, depth + 1) for key, item in value.items()}
        case list() if depth < _DEEPEST:
            return [_harmless(item, depth + 1) for item in value]
        case dict() | list():
            return None
    return value


def _nothing(_: str) -> None:
    return None


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else None
