"""The mailbox's pages: every mail as its reader sees it, its source, and what became of it. They stand under the console's session."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import HTMLResponse

from dripline.demo.mail import Mail
from dripline.demo.mailbox import Mailbox
from services.console import words
from services.console.pages import Pages, Room
from shared.clock import real_now
from shared.errors import Outage
from shared.http import Problem

PAGE = 50
VIEWS = ("html", "text", "source", "headers")
_HEAD = re.compile(r"<head[^>]*>", re.IGNORECASE)


def mailbox_room(mailbox: Mailbox) -> Room:
    """The mailbox as a room of the console."""
    return Room("Mailbox", "/mailbox/", Path(__file__).parent / "html", lambda pages: _routes(mailbox, pages), mailbox.forget)


def _routes(mailbox: Mailbox, pages: Pages) -> APIRouter:
    router = APIRouter(prefix="/mailbox", dependencies=[Depends(pages.signed_in)], include_in_schema=False)

    @router.get("/")
    async def mails(request: Request, before: str | None = None) -> Response:
        return pages.page(request, "mails.html", **_listed(mailbox, before))

    @router.get("/fragment")
    async def fresh_mails(request: Request, before: str | None = None) -> Response:
        return pages.fragment(request, "mails_part.html", **_listed(mailbox, before))

    @router.get("/{mail_id}")
    async def mail(request: Request, mail_id: str, view: str = "", images: bool = False) -> Response:
        found = _found(mailbox, mail_id)
        view = view if view in VIEWS else ("html" if found.html else "text")
        return pages.page(
            request, "mail.html", mail=found, view=view, images=images, deliveries=await _deliveries(pages, found), ago=_ago()
        )

    @router.get("/{mail_id}/fragment")
    async def fresh_delivery(request: Request, mail_id: str) -> Response:
        return pages.fragment(request, "mail_part.html", deliveries=await _deliveries(pages, _found(mailbox, mail_id)))

    @router.get("/{mail_id}/body")
    async def body(mail_id: str, images: bool = False) -> Response:
        return HTMLResponse(_opening_outside(_found(mailbox, mail_id).html), headers=_body_headers(images=images))

    return router


def _listed(mailbox: Mailbox, before: str | None) -> dict[str, Any]:
    mails = mailbox.newest(PAGE, before)
    older = mails[-1].id if len(mails) == PAGE else None
    return {"mails": mails, "older": older, "before": before, "ago": _ago()}


def _ago() -> Any:
    """Mails arrive in real time, however fast the house's clock runs."""
    return partial(words.ago, now=real_now())


def _found(mailbox: Mailbox, mail_id: str) -> Mail:
    mail = mailbox.find(mail_id)
    if mail is None:
        raise Problem(404, "not_found", "this mail is not here; the mailbox keeps the newest 2,000")
    return mail


async def _deliveries(pages: Pages, mail: Mail) -> Sequence[Any]:
    """The ledger's rows for this mail; none while mailer is away."""
    if not mail.message_id:
        return ()
    try:
        found = await pages.together.ask(pages.caller, "mailer", "/api/deliveries", {"message_id": mail.message_id})
    except Outage:
        return ()
    return [row for row in found["items"] if row["message_id"] == mail.message_id]


def _opening_outside(html: str) -> str:
    """The mail's HTML, its links opening in a tab of their own."""
    base = '<base target="_blank">'
    head = _HEAD.search(html)
    return html[: head.end()] + base + html[head.end() :] if head else base + html


def _body_headers(*, images: bool) -> dict[str, str]:
    """A mail is a stranger's page: no scripts, no forms, and nothing fetched (an image would count as an open) unless asked for."""
    sources = "data: https: http:" if images else "data:"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src {sources}; frame-ancestors 'self'; "
    sandbox = "sandbox allow-popups allow-popups-to-escape-sandbox"
    return {
        "Content-Security-Policy": policy + sandbox,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
