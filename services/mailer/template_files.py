"""Reads the files of `templates/`: their names, their front matter, and every trouble in them.

welcome-1.html, welcome-1.md   the page, its front matter above it     welcome-1.fa.html  the same mail for a locale
welcome-1.txt                  the text part; without it `textpart.py` derives one from the page
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from services.mailer.mime import Address, parse_address
from services.mailer.opt_in import TEMPLATE
from services.mailer.sandbox import Sandbox
from services.mailer.templates import FOLDER, Program, Template, Variant
from shared.documents import PlaybookError, Trouble
from shared.shapes import named, suggestion

LARGEST_SOURCE = 256 * 1024

_NAME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_-]*)(\.(?P<locale>[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*))?\.(?P<kind>html|md|txt|mjml)")
_FIELD = re.compile(r"(?P<key>[^\s:]+)\s*:\s*(?P<text>.*?)\s*")
_CONFIRM = re.compile(r"\blinks\s*(\.\s*confirm\b|\[\s*['\"]confirm['\"])")
_FIELDS = ("subject", "preheader", "from")


class Environments(NamedTuple):
    """The three ways values are printed."""

    html: Sandbox
    markdown: Sandbox
    plain: Sandbox


def read_templates(files: Mapping[str, bytes]) -> tuple[dict[str, Template], list[Trouble]]:
    """Every template of the folder, and every trouble found in them."""
    reader = _Reader(Environments(Sandbox(html=True), Sandbox(markdown=True), Sandbox()))
    for file in sorted(files):
        if file.startswith(FOLDER):
            try:
                reader.read(file, files[file])
            except PlaybookError as error:
                reader.troubles.extend(error.troubles)
    return reader.templates(), reader.troubles


class _Reader:
    """Gathers pages and texts of one folder until all are seen."""

    def __init__(self, environments: Environments) -> None:
        self.troubles: list[Trouble] = []
        self._environments = environments
        self._pages: dict[tuple[str, str], Variant] = {}
        self._texts: dict[tuple[str, str], Program] = {}
        self._seen: dict[tuple[str, str, bool], str] = {}

    def read(self, file: str, content: bytes) -> None:
        """Take one file in. Raises PlaybookError."""
        found = _NAME.fullmatch(file.removeprefix(FOLDER))
        if found is None:
            raise _wrong(file, 1, "a template is called NAME.html, NAME.md, NAME.txt, or NAME.LOCALE.html (`welcome-1.fa.html`)")
        place = (found["name"], (found["locale"] or "").replace("_", "-").lower())
        is_text = found["kind"] == "txt"
        twin = self._seen.setdefault((*place, is_text), file)
        if twin != file:
            raise _wrong(file, 1, f"the same mail stands in {twin}: remove one")
        if found["kind"] == "mjml":
            raise _wrong(file, 1, "not yet: .mjml is not in this release; write .html or .md")
        source = _decoded(file, content)
        _check_confirm(file, place[0], source, is_text=is_text)
        if is_text:
            self._texts[place] = Program(self._environments.plain, source, file)
        else:
            self._pages[place] = self._page(file, source, place[1], found["kind"] == "md")

    def _page(self, file: str, source: str, locale: str, markdown: bool) -> Variant:
        front, body, line = _split(file, source)
        troubles = list(_front_troubles(file, front))
        plain, environment = self._environments.plain, self._environments.markdown if markdown else self._environments.html
        subject = _compiled(plain, front.get("subject"), file, troubles)
        preheader = _compiled(plain, front.get("preheader"), file, troubles)
        page = _compiled(environment, _Field(line, body), file, troubles)
        sender = _sender(file, front.get("from"), troubles)
        if troubles or subject is None or page is None:
            raise PlaybookError(troubles)
        return Variant(locale, subject, preheader, sender, page, markdown)

    def templates(self) -> dict[str, Template]:
        """What was read, put together; a text without its page and a locale without the page for the others are troubles."""
        for place in self._texts:
            if (*place, False) not in self._seen:
                self._missing(place, True, f"a text part needs its page: add {FOLDER}{place[0]}.html, which also holds the subject")
        mails: dict[str, dict[str, Variant]] = {}
        for (name, locale), variant in self._pages.items():
            mails.setdefault(name, {})[locale] = replace(variant, text=self._texts.get((name, locale)))
            if (name, "", False) not in self._seen:
                self._missing((name, locale), False, f"this is for one locale only: add {FOLDER}{name}.html for the others")
        return {name: Template(name, variants) for name, variants in mails.items() if "" in variants}

    def _missing(self, place: tuple[str, str], is_text: bool, message: str) -> None:
        self.troubles.append(Trouble(self._seen[(*place, is_text)], 1, 1, message))


class _Field(NamedTuple):
    line: int
    text: str


def _compiled(environment: Sandbox, field: _Field | None, file: str, troubles: list[Trouble]) -> Program | None:
    try:
        return Program(environment, field.text, file, field.line) if field else None
    except PlaybookError as error:
        troubles.extend(error.troubles)
        return None


def _sender(file: str, field: _Field | None, troubles: list[Trouble]) -> Address | None:
    try:
        return parse_address(field.text) if field else None
    except ValueError as error:
        troubles.append(Trouble(file, field.line if field else 1, 1, f"from: {error}"))
        return None


def _wrong(file: str, line: int, message: str) -> PlaybookError:
    return PlaybookError([Trouble(file, line, 1, message)])


def _decoded(file: str, content: bytes) -> str:
    if len(content) > LARGEST_SOURCE:
        raise _wrong(file, 1, f"larger than {LARGEST_SOURCE // 1024} KiB: Gmail cuts a mail off at 102 KB; link to large things")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _wrong(file, content[: error.start].count(b"\n") + 1, "this is not UTF-8: save the file as UTF-8") from error


def _check_confirm(file: str, name: str, source: str, *, is_text: bool) -> None:
    """`links.confirm` belongs to the mail that asks a reader whether the address is his, and to no other."""
    found = _CONFIRM.search(source)
    if name != TEMPLATE and found is not None:
        line = source[: found.start()].count("\n") + 1
        raise _wrong(file, line, f"`links.confirm` stands only in {FOLDER}{TEMPLATE}.html, the mail that `consent.events` send")
    if name == TEMPLATE and found is None and not is_text:
        raise _wrong(file, 1, "this is the mail by which readers confirm their address: it needs `{{ links.confirm }}`")


def _split(file: str, source: str) -> tuple[dict[str, _Field], str, int]:
    """Front matter, page, and the line where the page begins. A value is all that follows the colon, in quotes or not."""
    lines = source.split("\n")
    if lines[0].rstrip() != "---" or "---" not in (rest := [line.rstrip() for line in lines[1:]]):
        raise _wrong(file, 1, "begin with front matter: a line `---`, a line `subject: …`, a line `---`, then the page")
    end = rest.index("---") + 1
    front, troubles = {}, []
    for number, line in enumerate(lines[1:end], start=2):
        found = _FIELD.fullmatch(line)
        if found is not None:
            front[found["key"]] = _Field(number, _unquoted(found["text"]))
        elif line.strip() and not line.startswith("#"):
            troubles.append(Trouble(file, number, 1, "write `key: value` on one line"))
    if troubles:
        raise PlaybookError(troubles)
    return front, "\n".join(lines[end + 1 :]), end + 2


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].replace(f"\\{text[0]}", text[0]) if quoted else text


def _front_troubles(file: str, front: Mapping[str, _Field]) -> Iterator[Trouble]:
    for key, field in front.items():
        if key not in _FIELDS:
            remedy = suggestion(key, _FIELDS) or f"; here one can write {named(_FIELDS)}"
            yield Trouble(file, field.line, 1, f"unknown key `{key}`{remedy}")
    if "subject" not in front or not front["subject"].text:
        line = front["subject"].line if "subject" in front else 1
        yield Trouble(file, line, 1, "the mail has no `subject`: add `subject: …` to its front matter")
