"""Writes one mail: a template, a lead and what was decided about him become the bytes that go over SMTP. Pure.

template ──render──► page ──frame, inline styles──► parsed page ──► text part
                                                        └──links through /c/, open pixel──► html part ──► MIME bytes
"""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from services.mailer import mime, page
from services.mailer.built_in import find_built_in
from services.mailer.links import Links
from services.mailer.loader import MailerPlaybook
from services.mailer.policy import address_of
from services.mailer.scope import scope_of
from services.mailer.templates import TemplateProblem, Variant
from services.mailer.textpart import text_of
from shared import wire
from shared.errors import DriplineError
from shared.signing import Signer

LONGEST_SUBJECT = 250
LONGEST_NAME = 80


class BadAddress(DriplineError):
    """The lead's address is no mail address: no attempt can ever succeed."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail ready for SMTP: the envelope, the subject as its reader sees it, the bytes, and where its links lead, by number."""

    sender: str
    recipient: str
    subject: str
    data: bytes
    targets: tuple[str, ...]


def message_id_for(delivery_id: str, signer: Signer, domain: str) -> str:
    """The Message-ID of a delivery: the same on every attempt, and telling nothing."""
    return f"<{base64.b32encode(signer.mac('message-id', delivery_id.encode())).decode().rstrip('=').lower()}@{domain}>"


def compose(
    playbook: MailerPlaybook,
    send: wire.Send,
    lead: wire.Lead,
    links: Links,
    message_id: str,
    date: datetime,
    *,
    template: str | None = None,
    now: datetime | None = None,
) -> Mail:
    """The mail this message asks for. `date` is real time, for the header; `now` is our clock's, which the template sees.

    `template` stands in for the message's own. Raises TemplateProblem where the mail cannot be written whole, and BadAddress.
    """
    recipient = _recipient(send, lead)
    variant = _variant(playbook, template or send.template, lead.locale)
    scope = scope_of(playbook, send, lead, links, now or date)
    subject = _subject(variant, scope)
    sender = variant.sender or playbook.mail.from_
    unsubscribe = links.unsubscribe_url(send.id)
    is_marketing = send.category == "marketing"
    way_out = unsubscribe if is_marketing else None
    locale = variant.locale or playbook.mail.locale
    frame = page.Frame(locale, playbook.brand, subject, way_out, links.preferences_url(send.id), lead.locale)
    text, html, targets = _parts(variant, scope, frame, links, send.id)
    headers = [("From", sender.header()), ("To", recipient.header()), ("Subject", mime.encoded(subject))]
    headers += [("Date", format_datetime(date)), ("Message-ID", message_id), ("Auto-Submitted", "auto-generated")]
    if playbook.mail.reply_to:
        headers.append(("Reply-To", playbook.mail.reply_to.header()))
    if is_marketing or unsubscribe in text:  # a transactional mail may offer the way out in its own words
        headers += _list_headers(send, frame, sender.domain, unsubscribe)
    return Mail(sender.bare, recipient.bare, subject, mime.message(headers, text, html, message_id), targets)


def _recipient(send: wire.Send, lead: wire.Lead) -> mime.Address:
    """An address that the message names stands alone: whose name somebody typed beside it is not known."""
    name = lead.traits.get("name") if send.to is None else None
    try:
        return mime.bare_address(address_of(send, lead) or "", name[:LONGEST_NAME] if isinstance(name, str) else "")
    except ValueError as error:
        raise BadAddress(str(error)) from error


def _variant(playbook: MailerPlaybook, name: str, locale: str | None) -> Variant:
    template = playbook.templates.get(name) or find_built_in(name)
    if template is None:
        raise TemplateProblem(name, f"there is no template `{name}` in playbook {playbook.version}: add templates/{name}.html")
    return template.variant(locale, playbook.mail.locale)


def _subject(variant: Variant, scope: dict[str, Any]) -> str:
    subject = mime.one_line(variant.subject.render(scope))[:LONGEST_SUBJECT]
    if not subject:
        raise variant.subject.problem("the subject is empty")
    return subject


def _parts(variant: Variant, scope: dict[str, Any], frame: page.Frame, links: Links, delivery_id: str) -> tuple[str, str, tuple[str, ...]]:
    """The text part, the HTML part, and where the links lead."""
    written = variant.page.render(scope)
    try:
        found = page.framed(page.from_markdown(written) if variant.markdown else written, frame)
    except page.BrokenPage as error:
        raise variant.page.problem(f"its styles cannot be read: {error}") from error
    text = _with_way_out(variant.text.render(scope) if variant.text else text_of(found), frame)
    targets = page.track(found, lambda index: links.click_url(delivery_id, index), set(scope["links"].values()))
    if variant.preheader:
        page.prepend_preheader(found, mime.one_line(variant.preheader.render(scope)))
    page.append(found, page.pixel(links.open_url(delivery_id)))
    return text, found.html or "", targets


def _with_way_out(text: str, frame: page.Frame) -> str:
    if frame.unsubscribe is None or frame.unsubscribe in text:
        return text
    who = ", ".join(part for part in (frame.brand["name"], frame.brand["address"]) if part)
    return f"{text}\n\n-- \n{frame.why}\n{frame.unsubscribe}\n{frame.words.preferences}: {frame.preferences}\n{who}"


def _list_headers(send: wire.Send, frame: page.Frame, domain: str, unsubscribe: str) -> list[tuple[str, str]]:
    """One-click unsubscribing (RFC 8058; the address stays on one line) and the list's name (RFC 2919)."""
    label = re.sub(r"[^a-z0-9-]+", "-", (send.topic or send.journey).lower()).strip("-")[:63] or "mail"
    return [
        ("List-Unsubscribe", f"<{unsubscribe}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("List-Id", f"{mime.phrase(frame.brand['name'] or domain)} <{label}.{domain}>"),
    ]
