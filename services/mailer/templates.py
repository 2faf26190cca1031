"""Mail templates once compiled: programs that write a subject, a page, a text for one reader, whole or not at all.

template_files.py ──► Template, its Variants by locale, their Programs ──► compose.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError

from services.mailer.fence import fenced
from services.mailer.mime import Address
from services.mailer.sandbox import ROUNDS, Rounds, Sandbox
from shared.documents import PlaybookError, Trouble
from shared.errors import DriplineError

LARGEST_OUTPUT = 512 * 1024
FOLDER = "templates/"
RIGHT_TO_LEFT = frozenset({"ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"})

_BROKEN = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)


class TemplateProblem(DriplineError):
    """A mail cannot be written from a template; the text names file, line and what is missing. The message is held, never sent in part."""

    def __init__(self, template: str, text: str) -> None:
        super().__init__(text)
        self.template = template
        self.text = text


class Program:
    """A compiled piece of a template: a subject, a page, a text."""

    def __init__(self, environment: Sandbox, source: str, file: str, line: int = 1) -> None:
        """Compile what begins on this line of the file. Raises PlaybookError with every flaw in it."""
        self.file = file
        self._line = line
        self._source = "\n" * (line - 1) + source
        try:
            tree, flaws = fenced(environment, self._source)
            if flaws:
                raise PlaybookError(Trouble(file, flaw.line, 1, flaw.message) for flaw in flaws)
            self._template = environment.from_string(tree)
        except TemplateSyntaxError as error:
            raise PlaybookError([Trouble(file, error.lineno, 1, f"this is not a template: {error.message}")]) from error
        except (ValueError, RecursionError) as error:
            raise PlaybookError([Trouble(file, line, 1, f"this is not a template: {error}")]) from error

    def render(self, scope: Mapping[str, Any]) -> str:
        """The text for one reader, without white space at its ends. Raises TemplateProblem; a half-made text is thrown away."""
        pieces, size = [], 0
        try:
            for piece in self._template.generate({**scope, ROUNDS: Rounds()}):
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST_OUTPUT:
                    raise TemplateError(f"it writes more than {LARGEST_OUTPUT // 1024} KiB")
        except _BROKEN as error:
            raise self._at_line(error) from error
        return "".join(pieces).strip()

    def problem(self, message: str, line: int | None = None) -> TemplateProblem:
        """What is wrong, with the place: by default where this piece begins."""
        name = self.file.removeprefix(FOLDER).partition(".")[0]
        return TemplateProblem(name, f"{self.file}:{line or self._line}: {message}")

    def _at_line(self, error: Exception) -> TemplateProblem:
        line = _line_of(error.__traceback__) or self._line
        quoted = self._source.split("\n")[line - 1].strip()[:120]
        remedy = " (where it may be missing write `{{ … | default('…') }}`)" if "is missing" in str(error) else ""
        return self.problem(f"{error} in: {quoted}{remedy}", line)


def _line_of(trace: TracebackType | None) -> int:
    """The template's own line of the innermost frame that Jinja2 compiled."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


@dataclass(frozen=True, slots=True)
class Variant:
    """A template for one locale (empty: for every other); `text` is None where the text part is derived from the page."""

    locale: str
    subject: Program
    preheader: Program | None
    sender: Address | None
    page: Program
    markdown: bool
    text: Program | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A mail by its name, with its variants by locale in lower case."""

    name: str
    variants: Mapping[str, Variant]

    def variant(self, *locales: str | None) -> Variant:
        """The nearest variant of the first of these locales that has one: for `fa-IR` fa-IR, else fa. Else the one for every reader."""
        for locale in locales:
            wanted = (locale or "").replace("_", "-").lower()
            while wanted and wanted not in self.variants:
                wanted = wanted.rpartition("-")[0]
            if wanted:
                return self.variants[wanted]
        return self.variants[""]


def is_right_to_left(locale: str) -> bool:
    """Whether the language is written from right to left."""
    return locale.replace("_", "-").lower().partition("-")[0] in RIGHT_TO_LEFT
