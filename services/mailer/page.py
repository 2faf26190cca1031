"""The HTML part: a template's page in its frame, styles inlined, its foot below, its links counted, one pixel at the end."""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, urlsplit

import css_inline
import idna
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from selectolax.lexbor import LexborHTMLParser

from services.mailer.layouts import layout, say_plainly
from services.mailer.templates import is_right_to_left
from services.mailer.words import Words, words_for
from shared.errors import DriplineError

_WHOLE = re.compile(r"<(!doctype|html)\b", re.IGNORECASE)
_HARMLESS = frozenset({"http", "https", "mailto", "tel", "sms", ""})
_HIDDEN = "display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;mso-hide:all"
_PADDING = Markup("&#847;&zwnj;&nbsp;" * 40)
"""Fills the preview behind a short preheader, so that no client shows the page's first words there."""


class BrokenPage(DriplineError):
    """The page's own styles cannot be read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds the words of every mail of one sender to one reader. `unsubscribe` is None where a mail offers none.

    `locale` is the mail's own language. The foot speaks the reader's where we know it.
    """

    locale: str
    brand: Mapping[str, str | None]
    subject: str
    unsubscribe: str | None
    preferences: str
    reader_locale: str | None = None

    @property
    def direction(self) -> str:
        return "rtl" if is_right_to_left(self.locale) else "ltr"

    @property
    def words(self) -> Words:
        return words_for(self.reader_locale, self.locale)

    @property
    def why(self) -> str:
        """For the text part; the page marks the name by a tag."""
        words, name = self.words, self.brand["name"] or ""
        return say_plainly(words.why, brand=name) if is_right_to_left(words.locale) else words.why.format(brand=name)


def from_markdown(text: str) -> str:
    """CommonMark with tables; HTML in it is text, so that nothing a lead wrote can become a tag."""
    return str(_markdown().render(text))


def framed(content: str, frame: Frame) -> LexborHTMLParser:
    """The whole page: a page of its own as it is, anything less in our layout; both with a foot. Raises BrokenPage."""
    whole = bool(_WHOLE.search(content))
    foot = _foot(content, frame, needed=not whole)
    written = content if whole else _in_layout(content, foot, frame)
    try:
        page = LexborHTMLParser(_inliner().inline(written))
    except css_inline.InlineError as error:
        raise BrokenPage(str(error)) from error
    if whole:
        _speak(page, frame)
        append(page, foot)
    return page


def track(page: LexborHTMLParser, url_of: Callable[[int], str], untouched: Set[str]) -> tuple[str, ...]:
    """Let every web link lead through us, and say where each led, by number. Links that could run a script are taken out."""
    targets: list[str] = []
    for link in page.css("a[href], area[href]"):
        href = (link.attributes.get("href") or "").strip()
        if _scheme(href) not in _HARMLESS:
            del link.attrs["href"]
        elif href not in untouched and (target := web_address(href)):
            link.attrs["href"] = url_of(len(targets))
            targets.append(target)
    return tuple(targets)


def web_address(href: str) -> str | None:
    """The link as it may stand in a Location header, or None where it is not an address on the web."""
    try:
        parts = urlsplit(href)
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host:
            return None
        if href.isascii() and href.isprintable() and " " not in href:
            return href
        place = parts.netloc.replace(host, idna.encode(host, uts46=True).decode()) if not host.isascii() else parts.netloc
    except ValueError:
        return None
    return parts._replace(netloc=place, path=_quoted(parts.path), query=_quoted(parts.query), fragment=_quoted(parts.fragment)).geturl()


def prepend_preheader(page: LexborHTMLParser, preheader: str) -> None:
    """Put the line that an inbox shows behind the subject where no reader of the page sees it."""
    hidden = LexborHTMLParser(f'<div style="{_HIDDEN}">{escape(preheader)}{_PADDING}</div>').css_first("div")
    if hidden is not None and page.body is not None and page.body.first_child is not None:
        page.body.first_child.insert_before(hidden)


def append(page: LexborHTMLParser, html: str) -> None:
    """Put a piece of HTML at the end of the page."""
    piece = LexborHTMLParser(html)
    if page.body is not None and piece.body is not None:
        for node in list(piece.body.iter()):
            page.body.insert_child(node)


def pixel(url: str) -> str:
    return f'<img src="{escape(url)}" alt="" width="1" height="1" style="display:block;border:0;width:1px;height:1px">'


def _foot(content: str, frame: Frame, *, needed: bool) -> str:
    """The foot: who writes, and the way out unless the template has it. A page of its own that has it needs no foot."""
    offers_already = frame.unsubscribe is None or frame.unsubscribe in content
    if offers_already and not needed:
        return ""
    ways = {
        "unsubscribe": None if offers_already else frame.unsubscribe,
        "preferences": None if frame.unsubscribe is None or frame.preferences in content else frame.preferences,
    }
    direction = "rtl" if is_right_to_left(frame.words.locale) else "ltr"
    return layout("foot.html").render(words=frame.words, direction=direction, brand=frame.brand, **ways)


def _in_layout(content: str, foot: str, frame: Frame) -> str:
    return layout("mail.html").render(
        locale=frame.locale,
        direction=frame.direction,
        subject=frame.subject,
        brand=frame.brand,
        content=Markup(content),
        foot=Markup(foot),
    )


def _speak(page: LexborHTMLParser, frame: Frame) -> None:
    """Say the page's language and direction where its author left them out."""
    for name, value in (("lang", frame.locale), ("dir", frame.direction)):
        if page.root is not None and name not in page.root.attributes:
            page.root.attrs[name] = value


def _scheme(href: str) -> str:
    """The scheme as a browser reads it: white space and control characters within do not count."""
    packed = re.sub(r"[\x00-\x20]+", "", href)
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", packed)
    return found[1].lower() if found else ""


def _quoted(part: str) -> str:
    return quote(part, safe="/?:@!$&'()*+,;=%~-._")


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


@cache
def _inliner() -> css_inline.CSSInliner:
    """Keeps media queries, which no attribute can hold; fetches nothing."""
    return css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
