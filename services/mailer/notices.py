"""Pages that say one thing to a reader and perhaps ask one: the frame of every public page, and its headers."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from services.mailer.layouts import layout, say, say_plainly
from services.mailer.templates import is_right_to_left
from services.mailer.words import Words, words_for
from shared.errors import Outage
from shared.telemetry import log

QUIET = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer: it is for one reader, once, and the address it was found at is nobody else's business."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Reader:
    """Whom a page speaks to: his language, else his sender's, and the sender he knows."""

    locale: str | None
    brand: str
    house_locale: str | None = None
    address: str = ""

    @property
    def words(self) -> Words:
        return words_for(self.locale, self.house_locale)


@dataclass(frozen=True, slots=True)
class Aside:
    """Another way on."""

    url: str
    text: str


def notice(reader: Reader, title: str, text: str, *, button: str | None = None, aside: Aside | None = None, status: int = 200) -> Response:
    """One thing said; with a button, one thing asked."""
    said = say(text, brand=reader.brand, address=reader.address)
    return page(reader, "notice.html", title, status, text=said, button=button, aside=aside)


def page(reader: Reader, name: str, title: str, status: int = 200, **shown: object) -> Response:
    """A page of ours in the reader's language and direction. It runs no script, loads nothing, and stands in no frame."""
    words = reader.words
    frame = {"locale": words.locale, "direction": "rtl" if is_right_to_left(words.locale) else "ltr", "brand": reader.brand}
    titles = {"title": say_plainly(title, brand=reader.brand), "heading": say(title, brand=reader.brand)}
    html = layout(name).render(**frame, **titles, words=words, **shown)
    return HTMLResponse(html, status, QUIET | {"Content-Security-Policy": POLICY, "Content-Language": words.locale})


def unknown(request: Request) -> Response:
    """What somebody sees who comes with a token that is none of ours, in his browser's language."""
    reader = _stranger(request)
    return notice(reader, reader.words.unknown_title, reader.words.unknown, status=404)


class ReaderRoute(APIRoute):
    """A page for people: while something of ours is away it says so in words, with the time to come back for programs."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Outage as outage:
                log.warning("page.unavailable", why=str(outage))
                return _later(request)

        return answer


def _later(request: Request) -> Response:
    reader = _stranger(request)
    answer = notice(reader, reader.words.later_title, reader.words.later, status=503)
    answer.headers["Retry-After"] = "5"
    return answer


def _stranger(request: Request) -> Reader:
    """Somebody of whom we know only what his browser asks for."""
    return Reader(request.headers.get("accept-language", "").partition(",")[0].partition(";")[0].strip(), "")
