"""Pages that say one thing to a reader and perhaps ask one: the frame of every public page, and its headers."""

from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from services.mailer.layouts import layout, say, say_plainly
from services.mailer.templates import is_right_to_left
from services.mailer.words import Words, words_for

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
    accepted = request.headers.get("accept-language", "").partition(",")[0].partition(";")[0].strip()
    reader = Reader(accepted, "")
    return notice(reader, reader.words.unknown_title, reader.words.unknown, status=404)
