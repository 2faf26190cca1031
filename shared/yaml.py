"""Reads the playbook's YAML: YAML 1.2 with nothing that surprises a marketer, and a place and a remedy for every mistake.

`12:30`, `on`, `no` are text; duplicate keys, aliases, tags, merge keys and unknown keys are errors. PyYAML's scanner (C) makes the
events; we put them together ourselves, because then every limit holds before anything is built.
"""

import math
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from shared.documents import Document, Mark, Path, PlaybookError, Trouble
from shared.durations import PATTERN, parse_duration
from shared.shapes import explain
from shared.yaml_hints import Reading, explain_syntax

__all__ = ["Document", "Duration", "Mark", "Path", "PlaybookError", "Shape", "Trouble", "read", "read_all", "shape"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_TROUBLES = 50
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASES = {"0o": 8, "0x": 16}
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

M = TypeVar("M", bound=BaseModel)


class Shape(BaseModel):
    """What a part of the playbook looks like: exact types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _duration(value: Any) -> timedelta:
    if not isinstance(value, str):
        raise PydanticCustomError("duration_type", "expected a duration such as `2d`")
    return parse_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": PATTERN})]
"""The type of a field that holds a duration, `1d12h`."""


def read(text: bytes, file: str) -> Document:
    """Read a file that holds one document; PlaybookError says everything found wrong."""
    first, *more = read_all(text, file)
    if more:
        raise PlaybookError([more[0].trouble((), "a second document begins here: this file holds one; remove the `---`")])
    return first


def read_all(text: bytes, file: str) -> list[Document]:
    """Read a file of one or several documents (tests have several); never an empty list."""
    documents = list(_Composer(_decoded(text, file), file).documents())
    if not documents:
        raise PlaybookError([Trouble(file, 1, 1, "the file is empty")])
    return documents


def shape(document: Document, model: type[M], path: Path = ()) -> M:
    """The value at a path as a pydantic model; PlaybookError has a trouble, with its place and remedy, for everything that does not fit."""
    try:
        return model.model_validate(document.at(path))
    except ValidationError as error:
        raise PlaybookError(explain(error, document, model, path)) from error


def _decoded(text: bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        raise PlaybookError([Trouble(file, 1, 1, f"the file is larger than {MAX_BYTES // 1024} KiB: split it")])
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlaybookError(
            [_trouble_after(text[: error.start].decode("utf-8-sig"), file, "this is not UTF-8: save the file as UTF-8")]
        ) from error
    if found := _FORBIDDEN.search(decoded):
        message = f"the character U+{ord(found[0]):04X} may not stand in YAML: remove it"
        raise PlaybookError([_trouble_after(decoded[: found.start()], file, message)])
    return decoded


def _trouble_after(before: str, file: str, message: str) -> Trouble:
    return Trouble(file, before.count("\n") + 1, len(before) - before.rfind("\n"), message)


class _Composer:
    """Puts events together to documents; what is wrong but readable is collected, what is not ends the reading."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._text = text
        self._reading = Reading(text)
        self._troubles: list[Trouble] = []
        self._begin()

    def _begin(self) -> None:
        self._root: Any = None
        self._open: list[_Open] = []
        self._values: dict[Path, Mark] = {}
        self._keys: dict[Path, Mark] = {}
        self._texts: dict[Path, Mark] = {}

    def documents(self) -> Iterator[Document]:
        """Every document; raises PlaybookError at the end of what could be read."""
        for event in self._events():
            if isinstance(event, DocumentStartEvent):
                self._begin()
                if event.version or event.tags:
                    self._wrong(event, "directives (`%…`) are not used here: remove this line")
            elif isinstance(event, DocumentEndEvent) and not self._troubles:
                yield Document(self._file, self._root, self._values, self._keys, self._texts, self._root)
            else:
                self._take(event)
        if self._troubles:
            raise PlaybookError(self._troubles)

    def _events(self) -> Iterator[Event]:
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark, message = explain_syntax(error, self._reading)
            raise PlaybookError([*self._troubles, Trouble(self._file, *mark, message)]) from error
        except yaml.YAMLError as error:
            raise PlaybookError([*self._troubles, Trouble(self._file, 1, 1, f"this is not YAML: {error}")]) from error

    def _take(self, event: Event) -> None:
        if isinstance(event, CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, CollectionStartEvent | ScalarEvent | AliasEvent):
            self._refuse(event)
            if self._key_is_due():
                self._take_key(event)
            elif isinstance(event, CollectionStartEvent):
                self._take_collection(event)
            else:
                self._take_scalar(event)

    def _refuse(self, event: Any) -> None:
        if isinstance(event, AliasEvent):
            self._wrong(event, f"aliases are not used here: write out what `*{event.anchor}` stands for, or put the value in quotes")
        elif event.anchor is not None:
            self._wrong(event, f"anchors are not used here: remove `&{event.anchor}`, or put the value in quotes")
        elif event.tag is not None:
            self._wrong(event, f"tags are not used here: remove `{event.tag}`, or put the value in quotes; in an expression write `not`")

    def _key_is_due(self) -> bool:
        return bool(self._open) and self._open[-1].key is None and isinstance(self._open[-1].value, dict)

    def _take_key(self, event: Any) -> None:
        if isinstance(event, CollectionStartEvent):
            remedy = "put the whole value in quotes" if isinstance(event, MappingStartEvent) and event.flow_style else "write a word"
            self._wrong(event, f"a key must be text: {remedy}")
            raise PlaybookError(self._troubles)
        top, text = self._open[-1], getattr(event, "value", "")
        path = (*top.path, text)
        if isinstance(event, ScalarEvent) and not isinstance(self._resolved(event), str):
            self._wrong(event, f'a key must be text: write "{text}" in quotes')
        elif text == "<<" and event.implicit[0]:
            self._wrong(event, "merge keys are not used here: write the keys out")
        elif path in self._keys:
            self._wrong(event, f"the key `{text}` stands twice, first on line {self._keys[path].line}: remove one")
        self._keys.setdefault(path, _mark(event))
        self._reading.key, self._reading.flow = event if isinstance(event, ScalarEvent) else None, top.flow
        top.key = text

    def _take_collection(self, event: CollectionStartEvent) -> None:
        value: dict[str, Any] | list[Any] = [] if isinstance(event, SequenceStartEvent) else {}
        self._open.append(_Open(value, self._put(value, event), bool(event.flow_style)))
        if len(self._open) > MAX_DEPTH:
            self._wrong(event, f"nested deeper than {MAX_DEPTH} levels")
            raise PlaybookError(self._troubles)

    def _take_scalar(self, event: Any) -> None:
        path = self._put(self._resolved(event), event)
        text, quotes = getattr(event, "value", ""), 2 if getattr(event, "style", None) in ("'", '"') else 0
        start, end = event.start_mark, event.end_mark
        if start.line == end.line and end.column - start.column == len(text) + quotes:
            self._texts[path] = Mark(start.line + 1, start.column + 1 + quotes // 2)

    def _put(self, value: Any, event: Event) -> Path:
        """Put a value where the next one belongs; its path."""
        path: Path = ()
        if not self._open:
            self._root = value
        elif isinstance(self._open[-1].value, list):
            path = (*self._open[-1].path, len(self._open[-1].value))
            self._open[-1].value.append(value)
        else:
            top = self._open[-1]
            path = (*top.path, top.key or "")
            top.value[top.key or ""] = value
            top.key = None
        self._values[path] = _mark(event)
        return path

    def _resolved(self, event: Any) -> Any:
        """A scalar as YAML 1.2's core schema reads it; numbers that a computer cannot hold are troubles."""
        if not isinstance(event, ScalarEvent):
            return None
        text = event.value
        if "\0" in text:
            self._wrong(event, "the character U+0000 may not stand in a text: remove it")
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
            return self._number(event)
        if _NOT_FINITE.fullmatch(text):
            self._wrong(event, f"`{text}` is not a number one can count with: write a number, or put it in quotes")
        return text

    def _number(self, event: ScalarEvent) -> int | float | None:
        """A number; one that 64 bits cannot hold is a trouble."""
        text = event.value
        number: int | float
        if _INTEGER.fullmatch(text) and len(text) <= 24:
            number = int(text, _BASES.get(text[:2], 10))
        else:
            number = math.inf if _INTEGER.fullmatch(text) else float(text)
        if math.isinf(number) or (isinstance(number, int) and abs(number) >= 2**63):
            self._wrong(event, "this number is too large: put it in quotes if it is text")
            return None
        return number

    def _wrong(self, event: Event, message: str) -> None:
        mark = _mark(event)
        self._troubles.append(Trouble(self._file, mark.line, mark.column, message))
        if len(self._troubles) >= MAX_TROUBLES:
            raise PlaybookError(self._troubles)


class _Open:
    """A mapping or list that is not yet closed; `key` is the one whose value comes next."""

    __slots__ = ("flow", "key", "path", "value")

    def __init__(self, value: Any, path: Path, flow: bool) -> None:
        self.value = value
        self.path = path
        self.flow = flow
        self.key: str | None = None


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)
