"""Tokens that stand in links and cookies: short, url-safe, and only we can make them."""

import base64
import hashlib
import hmac

MAC_BYTES = 16


class Signer:
    """Signs a payload for one purpose; a token made for another purpose does not verify."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, purpose: str, payload: bytes) -> str:
        return base64.urlsafe_b64encode(self.mac(purpose, payload) + payload).rstrip(b"=").decode()

    def verify(self, purpose: str, token: str) -> bytes | None:
        """The payload, or None where the token was not made by us for this purpose. Compares in constant time."""
        try:
            raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except ValueError:
            return None
        mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
        return payload if hmac.compare_digest(mac, self.mac(purpose, payload)) else None

    def mac(self, purpose: str, payload: bytes) -> bytes:
        """The first 128 bits of HMAC-SHA256 over purpose and payload."""
        return hmac.digest(self._secret, purpose.encode() + b"\0" + payload, hashlib.sha256)[:MAC_BYTES]
