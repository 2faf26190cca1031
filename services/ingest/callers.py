"""Whose a call is: the key in its header, in its body, or alike in both."""

from typing import Any

from services.ingest.segment import keys_in
from shared.http import Problem
from shared.keys import Key, KeyRing


class Callers:
    """The keys as ingest asks for them: all of it raises Problem 401 where there is none, and Outage where the keys cannot be read."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def known(self, token: str) -> Key:
        """The key of a token."""
        key = self._keys.find(token)
        if key is None:
            raise Problem(401, "unauthorized", "this write key is not known here; `dripline keys list` shows those that are")
        return key

    def named_in(self, body: bytes) -> Key:
        """The key that a body names, told before it is taken apart: for a stranger's, that may cost a second of everybody's time."""
        tokens = keys_in(body)
        if not tokens:
            raise _keyless()
        found = (key for key in map(self._keys.find, tokens) if key is not None)
        return next(found, None) or self.known("")

    def agreed(self, key: Key | None, write_key: Any) -> Key:
        """The key of the header and that of the body, which must not differ."""
        if write_key is None:
            if key is None:
                raise _keyless()
            return key
        named = self.known(write_key if isinstance(write_key, str) else "")
        if key is not None and key != named:
            raise Problem(401, "unauthorized", "the header and `writeKey` name different keys")
        return named


def _keyless() -> Problem:
    return Problem(401, "unauthorized", "send the write key as user of Basic authentication, or as `writeKey`")
