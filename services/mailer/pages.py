"""What readers reach from a mail: a link they clicked, the open pixel, the way out. Public, without scripts, telling nobody anything.

mail ──/c/──► 302 to the link's target      mail ──/u/──► page with a button ──POST──► unsubscribed
mailbox provider ──POST /u/──► unsubscribed (RFC 8058)      mail program ──/o/──► one transparent pixel
"""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import structlog
from fastapi import APIRouter, Request, Response

from services.mailer.links import Links
from services.mailer.notices import QUIET, Aside, Reader, ReaderRoute, notice, unknown
from shared.clock import Clock
from shared.errors import Outage

log = structlog.get_logger()

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_MACHINE = re.compile(r"bot|crawl|spider|slurp|preview|scan|headless|curl|wget|python|go-http|okhttp|java/|libwww|fetch", re.IGNORECASE)


class Readers(Protocol):
    """What the pages need of the ledger. Every call may raise Outage."""

    async def find_target(self, delivery_id: str, index: int) -> str | None:
        """Where the link of that number led in the mail as it was sent."""
        ...

    async def find_reader(self, delivery_id: str) -> Reader | None:
        """The reader of a delivery, or None where there is no such delivery."""
        ...

    async def clicked(self, delivery_id: str, index: int, human: bool, at: datetime) -> None: ...

    async def opened(self, delivery_id: str, at: datetime) -> None: ...

    async def unsubscribe(self, delivery_id: str, at: datetime) -> None:
        """Withdraw the reader's consent to marketing, in the one transaction that this call is; a second call changes nothing."""
        ...


def create_pages(readers: Readers, links: Links, clock: Clock) -> APIRouter:
    """The mailer's public pages."""
    router = APIRouter(include_in_schema=False, route_class=ReaderRoute)
    _add_tracking(router, readers, links, clock)
    _add_way_out(router, readers, links, clock)
    return router


def _add_tracking(router: APIRouter, readers: Readers, links: Links, clock: Clock) -> None:
    @router.api_route("/c/{token}", methods=["GET", "HEAD"])
    async def click(request: Request, token: str) -> Response:
        found = links.read_click(token)
        target = await readers.find_target(*found) if found else None
        if found is None or target is None:
            return unknown(request)
        if request.method == "GET":
            await _record_click(readers, found, request, clock.now())
        return Response(status_code=302, headers=QUIET | {"Location": target})

    @router.get("/o/{token}.gif")
    async def opening(token: str) -> Response:
        delivery_id = links.read_open(token)
        if delivery_id is not None:
            await _record_opening(readers, delivery_id, clock.now())
        return Response(PIXEL, media_type="image/gif", headers=QUIET)


def _add_way_out(router: APIRouter, readers: Readers, links: Links, clock: Clock) -> None:
    @router.api_route("/u/{token}", methods=["GET", "HEAD", "POST"])
    async def unsubscribe(request: Request, token: str) -> Response:
        """GET asks and changes nothing. POST does it: the token says it all, no body is read (RFC 8058, section 3.2)."""
        delivery_id = links.read_unsubscribe(token)
        reader = await readers.find_reader(delivery_id) if delivery_id else None
        if delivery_id is None or reader is None:
            return unknown(request)
        words, choose = reader.words, Aside(links.preferences_url(delivery_id), reader.words.choose)
        if request.method != "POST":
            return notice(reader, words.ask_title, words.ask, button=words.unsubscribe, aside=choose)
        await readers.unsubscribe(delivery_id, clock.now())
        return notice(reader, words.done_title, words.done, aside=choose)


def is_human(headers: Mapping[str, str]) -> bool:
    """Whether a click looks like a person's: a browser that names itself and does not say that it looks ahead."""
    looks_ahead = "prefetch" in (headers.get("sec-purpose", "") + headers.get("purpose", "") + headers.get("x-moz", "")).lower()
    agent = headers.get("user-agent", "")
    return bool(agent) and not looks_ahead and not _MACHINE.search(agent)


async def _record_click(readers: Readers, link: tuple[str, int], request: Request, at: datetime) -> None:
    """Tell the ledger; the reader gets where he wants to go even when it does not answer."""
    try:
        await readers.clicked(*link, is_human(request.headers), at)
    except Outage:
        log.warning("click.not_recorded")


async def _record_opening(readers: Readers, delivery_id: str, at: datetime) -> None:
    """Tell the ledger; the picture comes even when it does not answer."""
    try:
        await readers.opened(delivery_id, at)
    except Outage:
        log.warning("open.not_recorded")
