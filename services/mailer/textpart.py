"""The plain-text part of a mail, read off its page: what stands on it, in order, links written out behind their words."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

_SILENT = frozenset({"head", "style", "script", "template", "title", "noscript"})
_BLOCKS = frozenset(
    {"address", "article", "blockquote", "center", "div", "dl", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr"}
    | {"main", "nav", "ol", "p", "pre", "section", "table", "ul"}
)
_LINES = frozenset({"br", "dd", "dt", "figcaption", "li", "tr"})
_PARAGRAPH, _LINE, _BULLET = "\0\0", "\0", "\x01"
_HIDDEN = re.compile(r"display\s*:\s*none")
_MARKS = re.compile(r"[\0\x01]")
_BULLETS = re.compile(r"\x01[\0 ]*")
_WRITABLE = re.compile(r"(mailto:|tel:|(?=https?:))(?P<address>\S+)")
_BREAKS = re.compile(r" *\0[\0 ]*")


def text_of(page: LexborHTMLParser) -> str:
    """The page as plain text: a blank line between blocks, `- ` before list items, `words (address)` for links."""
    flat = re.sub(r"[ \t\r\n]+", " ", "".join(_pieces(page.body)) if page.body else "")
    listed = _BULLETS.sub("- ", flat)
    return _BREAKS.sub(lambda found: "\n\n" if found[0].count("\0") > 1 else "\n", listed).strip()


def _pieces(root: LexborNode) -> Iterator[str]:
    """Text and breaks in the order of reading; an explicit stack, because pages nest as deep as they like."""
    stack: list[LexborNode | str] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
        elif node.tag == "-text":
            yield _MARKS.sub("", node.text_content or "")
        elif node.tag not in _SILENT and not _HIDDEN.search(node.attributes.get("style") or ""):
            before, after = _frame(node)
            yield before
            stack.append(after)
            stack.extend(reversed(list(node.iter(include_text=True))))


def _frame(node: LexborNode) -> tuple[str, str]:
    """What stands before and after the words of an element."""
    tag = node.tag or ""
    if tag in _BLOCKS:
        return _PARAGRAPH, ("- - -" if tag == "hr" else "") + _PARAGRAPH
    if tag in _LINES:
        return _LINE + (_BULLET if tag == "li" else ""), ""
    if tag in ("td", "th"):
        return " | " if _has_cell_before(node) else "", ""
    if tag == "img":
        return node.attributes.get("alt") or "", ""
    return "", _address(node) if tag == "a" else ""


def _has_cell_before(cell: LexborNode) -> bool:
    before = cell.prev
    while before is not None and before.tag not in ("td", "th"):
        before = before.prev
    return before is not None


def _address(link: LexborNode) -> str:
    found = _WRITABLE.match(link.attributes.get("href") or "")
    return f" ({found['address']})" if found and found["address"] != link.text(strip=True) else ""
