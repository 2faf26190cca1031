"""What a relay's reply means for a delivery (RFC 5321 replies, RFC 3463 status codes). Pure.

4xx asks for another try. 5xx to the recipient fails the delivery; only a status that says nobody lives there suppresses the address.
5xx to the sender or about policy is our own trouble: it alarms, and never marks a recipient.
"""

import re
from datetime import timedelta

from services.mailer.outcomes import Deferred, Delivered, Held, Refused

CLOSING = 421
NOBODY_THERE = re.compile(r"5\.(?:1\.(?:1|2|3|6|10)|4\.4)\b")
ABOUT_US = re.compile(r"5\.(?:7\.\d+|1\.[78])\b")
ABOUT_RECIPIENT = re.compile(r"5\.[12]\.\d+\b")
WAIT = re.compile(r"\b(\d{1,5}) ?(second|minute|hour)s?\b", re.IGNORECASE)


def words(code: int, text: str) -> str:
    """The reply as it stood."""
    return f"{code} {text}"


def to_sender(code: int, text: str) -> Deferred | Held:
    """A reply to MAIL other than yes."""
    if code == CLOSING:
        return Held("relay_busy", detail=words(code, text))
    if code < 500:
        return _later(code, text)
    return Deferred("sender_refused", detail=words(code, text), ours=True)


def to_recipient(code: int, text: str) -> Deferred | Refused | Held:
    """A reply to RCPT other than yes."""
    if code == CLOSING:
        return Held("relay_busy", detail=words(code, text))
    if code < 500:
        return _later(code, text)
    return _recipient_refused(code, text)


def to_mail(code: int, text: str) -> Delivered | Deferred | Refused | None:
    """The reply to DATA or to the mail itself; None for one that says neither yes nor no."""
    if 200 <= code < 300:
        return Delivered(words(code, text))
    if 400 <= code < 500:
        return _later(code, text)
    if not 500 <= code < 600:
        return None
    if ABOUT_RECIPIENT.match(text):
        return _recipient_refused(code, text)
    return Refused("mail_refused", ours=True, detail=words(code, text))


def _recipient_refused(code: int, text: str) -> Refused:
    return Refused("recipient_refused", bool(NOBODY_THERE.match(text)), bool(ABOUT_US.match(text)), words(code, text))


def _later(code: int, text: str) -> Deferred:
    return Deferred("relay_deferred", _asked_to_wait(text), words(code, text))


def _asked_to_wait(text: str) -> timedelta | None:
    """Greylisting often says how long: `try again in 300 seconds`."""
    found = WAIT.search(text)
    return timedelta(**{f"{found[2].lower()}s": int(found[1])}) if found else None
