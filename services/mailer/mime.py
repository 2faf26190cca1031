"""The bytes of a mail: addresses, header lines and the two parts, written by hand because `EmailMessage` takes seventy times as long
and folds a long List-Unsubscribe into encoded words, which breaks one-click (RFC 8058).

Nothing a lead or a marketer wrote can add a header: every value loses its control characters here, whatever came before.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import idna

LONGEST_LOCAL_PART = 64
LONGEST_ADDRESS = 254
_WORD_BYTES = 39
"""Bytes of one encoded word: with its frame and the header's name the line stays under 76 characters (RFC 2047, section 2)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SPECIAL = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NAMED = re.compile(r"(?P<name>.*?)\s*<(?P<address>[^<>]*)>")


@dataclass(frozen=True, slots=True)
class Address:
    """A mail address with its display name. The domain is in its ASCII form; the local part may need SMTPUTF8."""

    name: str
    local: str
    domain: str

    @property
    def bare(self) -> str:
        return f"{self.local}@{self.domain}"

    def header(self) -> str:
        """As it stands in From, To or Reply-To."""
        shown = phrase(self.name)
        fold = "\r\n " if "=?" in shown else " "
        return f"{shown}{fold}<{self.bare}>" if shown else self.bare


def parse_address(text: str) -> Address:
    """Read `ana@example.com` or `"Ana" <ana@example.com>`; ValueError says what is wrong."""
    found = _NAMED.fullmatch(text.strip())
    return bare_address(found["address"], found["name"].strip().strip('"')) if found else bare_address(text)


def bare_address(text: str, name: str = "") -> Address:
    """Read `ana@example.com`, RFC 5322's addr-spec without comments, quoted local parts and address literals. ValueError."""
    written = text.strip()
    local, _, domain = written.rpartition("@")
    if not _LOCAL.fullmatch(local) or len(local.encode()) > LONGEST_LOCAL_PART or any(not letter.isprintable() for letter in local):
        raise ValueError(f"`{_shown(written)}` is not a mail address: write name@domain")
    address = Address(one_line(name), local, ascii_domain(domain))
    if len(address.bare.encode()) > LONGEST_ADDRESS:
        raise ValueError(f"`{_shown(written)}` is longer than {LONGEST_ADDRESS} characters")
    return address


def domain_of(address: str) -> str:
    """Where mail to this address goes, in the same form whichever way it is written; empty where it goes nowhere."""
    try:
        return ascii_domain(address.strip().rpartition("@")[2])
    except ValueError:
        return ""


def ascii_domain(domain: str) -> str:
    try:
        found = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"`{_shown(domain)}` is not a domain: {error}") from error
    if not _DOMAIN.fullmatch(found) or len(found) > 253:
        raise ValueError(f"`{_shown(domain)}` is not a domain")
    return found


def _shown(text: str) -> str:
    return _CONTROL.sub(" ", text)[:80]


def one_line(text: str) -> str:
    """The text on one line, its control characters gone."""
    return " ".join(_CONTROL.sub(" ", text).split(" ")).strip()


def phrase(text: str) -> str:
    """A display name: plain, quoted, or in encoded words (RFC 5322, section 3.2.5; RFC 2047)."""
    text = one_line(text)
    if not text.isascii() or "=?" in text:
        return encoded(text)
    if _SPECIAL.search(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def encoded(text: str) -> str:
    """Unstructured header text: as it is where ASCII, else base64 words of UTF-8 that never split a character."""
    text = one_line(text)
    if text.isascii() and "=?" not in text:
        return text
    words, word = [], b""
    for letter in text:
        character = letter.encode("utf-8", "replace")
        if len(word) + len(character) > _WORD_BYTES:
            words.append(word)
            word = b""
        word += character
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(each).decode()}?=" for each in (*words, word))


def message(headers: Sequence[tuple[str, str]], text: str, html: str, seed: str) -> bytes:
    """A multipart/alternative mail, the plain part first. Header values come ready-made; the boundary follows from the seed."""
    boundary = f"=_{hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()}"  # `_` cannot stand in base64
    lines = [f"{name}: {value}" for name, value in headers]
    lines += ["MIME-Version: 1.0", f'Content-Type: multipart/alternative; boundary="{boundary}"', "", ""]
    head = "\r\n".join(lines).encode()
    frame = f"--{boundary}".encode()
    return b"\r\n".join((head + frame, *_part("plain", text), frame, *_part("html", html), frame + b"--", b""))


def _part(kind: str, content: str) -> tuple[bytes, bytes, bytes, bytes]:
    body = base64.encodebytes(content.replace("\n", "\r\n").encode("utf-8", "replace")).replace(b"\n", b"\r\n")
    return f"Content-Type: text/{kind}; charset=utf-8".encode(), b"Content-Transfer-Encoding: base64", b"", body.removesuffix(b"\r\n")
