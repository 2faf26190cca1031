"""Who sits at the console: the password, the signed cookie that stands for having known it, and the brake on guessing."""

import base64
import hashlib
import hmac
import secrets
from collections import deque
from datetime import datetime, timedelta

from shared.signing import Signer

COST, BLOCK, LANES = 1 << 14, 8, 1
"""scrypt's work: 16 MiB and some 50 ms a guess (OWASP Password Storage)."""

GUESSES = 10
WINDOW = 60.0  # seconds


def hash_password(password: str, salt: bytes | None = None) -> str:
    """The text to keep instead of the password. The same salt gives the same text, so that sessions outlive a restart."""
    salt = salt or secrets.token_bytes(16)
    return f"scrypt${_b64(salt)}${_b64(_scrypt(password, salt))}"


def password_matches(password: str, stored: str) -> bool:
    """Whether `stored` was made from this password; takes some 50 ms of a core whatever the answer."""
    scheme, salt, digest = stored.split("$")
    found = _scrypt(password, base64.urlsafe_b64decode(salt))
    return scheme == "scrypt" and hmac.compare_digest(found, base64.urlsafe_b64decode(digest))


class Sessions:
    """Cookies that prove a sign-in: signed, expiring, and void once the password changes. Nothing is stored.

    They live in real time: a `run` at high speed does not shorten them.
    """

    def __init__(self, signer: Signer, password_hash: str, lifetime: timedelta, *, https: bool) -> None:
        self._signer = signer
        self._purpose = f"console-session {hashlib.sha256(password_hash.encode()).hexdigest()[:16]}"
        self.lifetime = lifetime
        self.https = https

    @property
    def cookie(self) -> str:
        """The cookie's name; by https it is bound to this host (RFC 6265bis, `__Host-`)."""
        return "__Host-dripline" if self.https else "dripline"

    def start(self, now: datetime) -> str:
        ends = int((now + self.lifetime).timestamp())
        return self._signer.sign(self._purpose, f"{ends}.{secrets.token_hex(8)}".encode())

    def holds(self, token: str, now: datetime) -> bool:
        payload = self._signer.verify(self._purpose, token)
        return payload is not None and now.timestamp() < int(payload.split(b".")[0])


class Brake:
    """At most ten wrong passwords a minute, whoever sends them: behind a proxy or on loopback all guessers share one address."""

    def __init__(self) -> None:
        self._misses: deque[float] = deque(maxlen=GUESSES)

    def seconds_to_wait(self, now: float) -> int:
        """0, or how long until the next guess is listened to. `now` is monotonic seconds."""
        if len(self._misses) < GUESSES:
            return 0
        return max(0, int(self._misses[0] + WINDOW - now + 0.999))

    def missed(self, now: float) -> None:
        self._misses.append(now)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=BLOCK, p=LANES, dklen=32)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()
