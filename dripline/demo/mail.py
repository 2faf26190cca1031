"""One stored mail, read as mail programs read it. Pure: hostile input gives replacement characters, never an exception."""

from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.utils import getaddresses
from functools import cached_property

from selectolax.lexbor import LexborHTMLParser

PREVIEW = 140  # characters of the mail that the list shows
FILLING = "\u034f\u200c"
"""What stands behind a preheader, so that an inbox shows nothing else."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the list shows of a mail."""

    id: str
    arrived_at: datetime
    to: str
    subject: str
    preview: str


@dataclass(frozen=True, slots=True)
class Party:
    """Who sent a mail or gets it; `name` may be empty."""

    name: str
    address: str


class Mail:
    """A mail as its reader, its source and its headers show it."""

    def __init__(self, mail_id: str, arrived_at: datetime, source: bytes) -> None:
        self.id = mail_id
        self.arrived_at = arrived_at
        self.raw = source
        self._message = message_from_bytes(source)

    @property
    def sender(self) -> list[Party]:
        return self._parties("From")

    @property
    def to(self) -> list[Party]:
        return self._parties("To") or self._parties("Delivered-To")

    @property
    def recipients(self) -> set[str]:
        """Every address it was delivered or written to."""
        return {party.address for header in ("Delivered-To", "To", "Cc") for party in self._parties(header)}

    @property
    def subject(self) -> str:
        return self.header("Subject")

    @property
    def message_id(self) -> str:
        return self.header("Message-ID")

    @property
    def source(self) -> str:
        return self.raw.decode("utf-8", "replace").replace("\r\n", "\n")

    @cached_property
    def text(self) -> str:
        return self._part("text/plain")

    @cached_property
    def html(self) -> str:
        return self._part("text/html")

    def header(self, name: str) -> str:
        return _readable(self._message.get(name, ""))

    def headers(self) -> list[tuple[str, str]]:
        return [(name, _readable(value)) for name, value in self._message.items()]

    def summary(self) -> Summary:
        words = (_words(self.html) if self.html else self.text).split()
        preview = " ".join(word for word in words if word.strip(FILLING))[:PREVIEW]
        to = ", ".join(party.name or party.address for party in self.to)
        return Summary(self.id, self.arrived_at, to, self.subject, preview)

    def _parties(self, header: str) -> list[Party]:
        found = getaddresses([str(value) for value in self._message.get_all(header, [])])
        return [Party(_readable(name), address) for name, address in found if address]

    def _part(self, content_type: str) -> str:
        for part in self._message.walk():
            if part.get_content_type() == content_type and part.get_content_disposition() != "attachment":
                return _decoded(part)
        return ""


def _words(html: str) -> str:
    """The words of a page as an inbox takes them, from the preheader on, which nobody sees on the page."""
    page = LexborHTMLParser(html)
    for wordless in page.css("head, style, script"):
        wordless.decompose()
    return page.root.text(separator=" ") if page.root else ""


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def _readable(value: str | Header) -> str:
    raw = " ".join(str(value).splitlines())
    try:
        return str(make_header(decode_header(raw)))
    except (HeaderParseError, LookupError, ValueError):
        return raw
