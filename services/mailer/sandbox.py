"""The fenced Jinja2 in which mail templates run: it looks up, compares, loops a little and prints; it cannot reach, hang or flood.

Jinja2's own sandbox closes the doors but not the taps: `2 ** 10 ** 10`, doubled strings, nested loops and recursive macros still
take all time or memory. So tags, filters and methods are an allowlist, and what can grow is counted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jinja2 import ChainableUndefined, Undefined, UndefinedError, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, markup_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from shared.durations import parse_duration
from shared.expression_functions import count_within
from shared.wire import EventHistory

LONGEST_TEXT = 64 * 1024
"""Characters of a text that a template may put together from others."""
LONGEST_RANGE = 1000
MOST_ROUNDS = 10_000
"""Rounds of all loops of one rendering together."""


@dataclass(frozen=True, slots=True)
class Did:
    """How often a lead did something, and when: `lead.events['Order Completed']`."""

    count: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    last: dict[str, Any] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=dict)
    now: datetime = datetime.min

    def count_within(self, window: str) -> int:
        """How often within the window, by whole UTC days, as the playbook's expressions count."""
        return count_within(EventHistory(days=self.days), parse_duration(window), self.now) or 0


KEPT_FILTERS = frozenset(
    {"abs", "capitalize", "count", "dictsort", "e", "escape", "first", "float", "forceescape", "int", "items", "last", "length", "list"}
    | {"lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "string", "striptags", "sum"}
    | {"title", "trim", "truncate", "unique", "upper", "urlencode", "wordcount"}
)
METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset({"capitalize", "count", "endswith", "find", "lower", "split", "startswith", "strip", "title", "upper"}),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    datetime: frozenset({"date", "isoformat", "strftime", "time", "weekday"}),
    LoopContext: frozenset({"changed", "cycle"}),
    Did: frozenset({"count_within"}),
}
CALLABLE = frozenset().union(*METHODS.values()) | {"range"}
ROUNDS = "_rounds"
ZONE = "_zone"

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"([!-/:-@\[-`{-~])")


class Missing(ChainableUndefined):
    """What is not there, and what is none: false in a condition, as in the expressions; printed or looped over it holds the mail."""

    __slots__ = ()

    def __str__(self) -> str:
        self._fail_with_undefined_error()

    def __iter__(self) -> Iterator[Any]:
        self._fail_with_undefined_error()

    def __len__(self) -> int:
        self._fail_with_undefined_error()

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Undefined)

    def __hash__(self) -> int:
        return hash(None)

    def _false(self, _: object) -> bool:
        return False

    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _false  # type: ignore[assignment]

    @property
    def _undefined_message(self) -> str:
        return self._undefined_hint or f"`{self._undefined_name}` is missing"


class Isolated(str):
    """A value whose own direction must not turn the text around it; it keeps its isolating marks."""

    __slots__ = ()


class Rounds:
    """Counts the rounds of every loop of one rendering."""

    def __init__(self) -> None:
        self._left = MOST_ROUNDS

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._left -= 1
            if self._left < 0:
                raise SecurityError(f"its loops run more than {MOST_ROUNDS} rounds")
            yield item


class Sandbox(ImmutableSandboxedEnvironment):
    """One of three: for HTML (escapes values), for Markdown (escapes values twice), for subjects and plain text (escapes nothing)."""

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self, *, html: bool = False, markdown: bool = False) -> None:
        printed = _printed_in_markdown if markdown else _printed
        super().__init__(autoescape=html, undefined=Missing, finalize=printed, trim_blocks=True, lstrip_blocks=True)
        self.globals = {"range": _short_range}
        ours = {"default": _default, "d": _default, "join": _join, "replace": _replace, "round": _round, "date": _date, "_each": _each}
        self.filters = {name: FILTERS[name] for name in KEPT_FILTERS} | ours | {"_concat": _concat}
        self.filters["bdi"] = _bdi_markup if html else _bdi_marks
        self.tests["none"] = lambda value: value is None or isinstance(value, Undefined)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A trait named `items` comes before the method of that name; none is as good as missing."""
        found = obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute) if found is None else found

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = super().getitem(obj, argument)
        return self.undefined(obj=obj, name=str(argument)) if found is None else found

    def is_safe_callable(self, obj: Any) -> bool:
        if obj is _short_range or isinstance(obj, Undefined):
            return True
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        return any(isinstance(owner, kind) and name in names for kind, names in METHODS.items())

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("`**` is not for templates")
        if operator == "+":
            _fits(len(side) for side in (left, right) if isinstance(side, str | list))
        elif isinstance(left, str | list) or isinstance(right, str | list):
            raise SecurityError(f"`{operator}` is for numbers here")
        elif isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 256:
            raise SecurityError("a number grows too large")
        return super().call_binop(context, operator, left, right)


def clean(text: str) -> str:
    """The text without control characters and without marks that turn the direction of what follows; tab and newline stay."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n"))


def _fits(lengths: Iterable[int]) -> None:
    if sum(lengths) > LONGEST_TEXT:
        raise SecurityError(f"it puts together more than {LONGEST_TEXT // 1024} KiB in one text")


@pass_context
def _printed(context: Context, value: Any) -> Any:
    """What `{{ value }}` prints: text without control characters, moments as a date, never a list and never `None`."""
    if isinstance(value, Markup | Isolated):
        return value
    if isinstance(value, str):
        return clean(value)
    if value is None:
        raise UndefinedError("there is nothing to print: the value is none")
    if isinstance(value, datetime):
        local = value.astimezone(context[ZONE])
        return f"{local.day} {local:%B %Y}"
    if isinstance(value, bool | int | float | Undefined):
        return value
    raise SecurityError(f"a {type(value).__name__} cannot be printed; name one of its parts, or `| join(', ')` a list")


@pass_context
def _printed_in_markdown(context: Context, value: Any) -> Any:
    """A value is text, never Markdown: a name like `[x](https://…)` makes no link, and none begins a block of its own."""
    printed = _printed(context, value)
    return printed if isinstance(printed, Undefined) else _MARKDOWN.sub(r"\\\1", " ".join(str(printed).split()))


def _short_range(*limits: int) -> range:
    found = range(*limits)
    if len(found) > LONGEST_RANGE:
        raise SecurityError(f"`range` is for at most {LONGEST_RANGE} rounds")
    return found


@pass_context
def _each(context: Context, items: Any) -> Iterator[Any]:
    rounds: Rounds = context[ROUNDS]
    return rounds.each(items)


def _concat(parts: list[Any]) -> str:
    texts = [part if isinstance(part, str) else str(part) for part in parts]
    _fits(map(len, texts))
    return markup_join(texts)


def _default(value: Any, fallback: Any = "", falsy: bool = False) -> Any:
    """The fallback for what is missing, none or blank text: `Hi {{ lead.traits.name | default('there') }}` never reads `Hi ,`."""
    blank = value is None or isinstance(value, Undefined) or (isinstance(value, str) and not value.strip())
    return fallback if blank or (falsy and not value) else value


def _join(items: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    parts = [item.get(attribute, Missing(obj=item, name=attribute)) if attribute and isinstance(item, dict) else item for item in items]
    parted = [piece for part in parts for piece in (between, part)][1:]
    return _concat(parted)


def _replace(text: str, old: str, new: str) -> str:
    text, old, new = str(text), str(old), str(new)
    _fits([len(text) + text.count(old) * len(new)])
    return text.replace(old, new)


def _round(number: float, digits: int = 0) -> float:
    return round(number, max(0, min(digits, 10))) if digits else round(number)


@pass_context
def _date(context: Context, moment: datetime, form: str = "%d %B %Y") -> str:
    """A moment on the reader's own clock, in strftime's form."""
    return moment.astimezone(context[ZONE]).strftime(form)


def _bdi_markup(value: Any) -> Markup:
    return Markup("<bdi>{}</bdi>").format(clean(str(value)))


def _bdi_marks(value: Any) -> Isolated:
    return Isolated(f"\u2068{clean(str(value))}\u2069")
