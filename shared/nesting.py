"""How deep a JSON text is nested, told from its bytes alone: no depth is too much for it, and its cost grows with the length alone."""

import re
from itertools import accumulate

DEEPEST = 32
"""Levels of an event that is taken, itself the first: far below what any reader's stack bears, so that all of them agree."""

_OPENING, _CLOSING = b"[{", b"]}"
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)  # `"?`: a string that never ends is looked at once
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BUT_BRACKETS = bytes(set(range(256)) - set(_OPENING + _CLOSING))
_BUT_OPENINGS = bytes(set(range(1, 256)) - set(_OPENING))
_STEPS = {**dict.fromkeys(_OPENING, 1), **dict.fromkeys(_CLOSING, -1)}


def depth(text: bytes) -> int:
    """Levels of a JSON text: 0 for a scalar, 1 for an object or a list of scalars."""
    brackets = _STRINGS.sub(b"", text).translate(None, _BUT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def too_deep(texts: list[bytes], deepest: int = DEEPEST) -> list[int]:
    """Which of the texts are nested deeper. Those with few brackets, nearly all, are told in one pass over all of them."""
    openings = b"\0".join(texts).translate(None, _BUT_OPENINGS)  # JSON holds no NUL
    if len(openings) < deepest + len(texts):
        return []
    return [index for index, found in enumerate(openings.split(b"\0")) if len(found) > deepest and depth(texts[index]) > deepest]


def cut(text: bytes, deepest: int) -> bytes:
    """The text with null for what is nested deeper."""
    kept: list[bytes] = []
    level = start = 0
    for token in _TOKENS.finditer(text):
        byte = text[token.start()]
        if byte in _OPENING:
            level += 1
            if level == deepest + 1:
                kept += text[start : token.start()], b"null"
        elif byte in _CLOSING:
            if level == deepest + 1:
                start = token.end()
            level -= 1
    return b"".join((*kept, text[start:]))
