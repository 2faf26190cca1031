"""Turns what pydantic found wrong with a document into troubles: the place in the file, plain words, "did you mean".

pydantic's `loc` names keys and indexes, but also the arms of unions, which are not in the file. So a `loc` is first laid along the
document; what does not exist there is an arm.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from shared.documents import Document, Path, Trouble

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "nothing",
}


@dataclass(frozen=True, slots=True)
class _Found:
    """One of pydantic's errors, laid along the document. `kept` says which parts of its `loc` are in the path."""

    details: ErrorDetails
    path: Path
    kept: tuple[bool, ...]

    def arm(self, depth: int) -> tuple[Path, str | int] | None:
        """The union it comes from and the arm, if any: where the `loc` names what is not in the document; 0 is the outermost."""
        skipped = [index for index, kept in enumerate(self.kept) if not kept]
        if len(skipped) <= depth:
            return None
        return self.path[: skipped[depth] - depth], self.details["loc"][skipped[depth]]

    @property
    def is_mismatch(self) -> bool:
        """Whether the value is of another kind altogether."""
        return self.details["type"] in _EXPECTED or self.details["type"].endswith(("_type", "literal_error"))


def explain(error: ValidationError, document: Document, model: type[BaseModel], path: Path) -> list[Trouble]:
    """A trouble for each thing that does not fit, in the file's order."""
    found = [_laid_along(details, document.at(path)) for details in error.errors(include_url=False)]
    speller = _Speller(model)
    likely = list(_likely(found))
    misspelt = {(one.path[:-1], speller.meant(one)) for one in likely if one.details["type"] == "extra_forbidden"}
    grouped: dict[Path, list[_Found]] = {}
    for one in likely:
        if one.details["type"] != "missing" or (one.path, one.details["loc"][-1]) not in misspelt:
            grouped.setdefault((*path, *one.path), []).append(one)
    troubles = [
        document.trouble(place, message, of_key=group[0].details["type"] == "extra_forbidden")
        for place, group in grouped.items()
        for message in _messages(group, document.as_written(place), speller)
    ]
    return sorted(troubles, key=lambda trouble: (trouble.line, trouble.column))


def suggestion(word: object, known: Iterable[str]) -> str:
    """`, did you mean …?` for a word that is almost a known one; else nothing."""
    near = nearest(word, known)
    return f", did you mean `{near}`?" if near else ""


def nearest(word: object, known: Iterable[str]) -> str:
    """The known word that a word almost is; else nothing."""
    return next(iter(get_close_matches(str(word), list(known), n=1)), "")


def named(names: Iterable[str]) -> str:
    """Names as a message lists them."""
    return ", ".join(f"`{name}`" for name in names)


def _laid_along(details: ErrorDetails, value: Any) -> _Found:
    loc = details["loc"][:-1] if details["type"] == "missing" else details["loc"]
    states: dict[Path, tuple[tuple[bool, ...], Any]] = {(): ((), value)}
    for part in loc:
        after: dict[Path, tuple[tuple[bool, ...], Any]] = {}
        for path, (kept, here) in states.items():
            after.setdefault(path, ((*kept, False), here))
            if _has(here, part):
                after[(*path, part)] = ((*kept, True), here[part])
        states = after
    path = max(states, key=lambda path: (states[path][1] is details["input"], len(path)))
    return _Found(details, path, states[path][0])


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)


def _likely(found: Sequence[_Found], depth: int = 0) -> Iterator[_Found]:
    """All errors, but of each union only those of the arm the writer most likely meant."""
    unions: dict[Path, dict[str | int, list[_Found]]] = {}
    for one in found:
        if arm := one.arm(depth):
            unions.setdefault(arm[0], {}).setdefault(arm[1], []).append(one)
        else:
            yield one
    for path, arms in unions.items():
        of_a_kind = [errors for errors in arms.values() if not any(one.is_mismatch and one.path == path for one in errors)]
        meant = min(of_a_kind, key=len) if of_a_kind else [one for errors in arms.values() for one in errors]
        yield from _likely(meant, depth + 1)


def _messages(group: Sequence[_Found], written: Any, speller: "_Speller") -> Iterator[str]:
    expected = [_expected(one.details) for one in group if one.is_mismatch]
    if expected:
        yield f"expected {' or '.join(dict.fromkeys(expected))}, got {_got(written)}{_remedy(group[0].details, written)}"
    for one in group:
        if not one.is_mismatch:
            yield _message(one, written, speller)


def _message(one: _Found, written: Any, speller: "_Speller") -> str:
    details = one.details
    match details["type"]:
        case "extra_forbidden":
            return speller.unknown_key(one)
        case "missing":
            return f"the key `{details['loc'][-1]}` is missing here"
        case "value_error" | "assertion_error":
            return str(details["ctx"]["error"])
        case _ if details["msg"].startswith("Input should "):
            return f"{details['msg'].removeprefix('Input ')}, got {_got(written)}"
        case _:
            return details["msg"]


def _expected(details: ErrorDetails) -> str:
    if details["type"] == "literal_error":
        return "one of " + named(_options(details))
    return _EXPECTED.get(details["type"]) or details["msg"].removeprefix("expected ")


def _options(details: ErrorDetails) -> list[str]:
    return re.split(r", | or ", details["ctx"]["expected"].replace("'", ""))


def _got(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"the number `{value}`"
        case str():
            return f"the text `{value if len(value) <= 60 else value[:57] + '…'}`".replace("\n", " ")
        case list():
            return "a list"
        case _:
            return "keys and values"


def _remedy(details: ErrorDetails, value: Any) -> str:
    match details["type"], value:
        case "literal_error", str():
            return suggestion(value, _options(details))
        case "string_type", bool() | int() | float():
            return f': write "{str(value).lower()}" in quotes'
        case "int_type" | "float_type", str() if re.fullmatch(r"-?\d+(\.\d+)?", value):
            return ": remove the quotes"
        case "bool_type", str():
            return ": write true or false"
        case "list_type", str():
            return f": write [{value}]" if len(value) <= 40 else ": write it in brackets, […]"
        case _:
            return ""


class _Speller:
    """Knows which keys a model has at a place."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def unknown_key(self, one: _Found) -> str:
        """What to say of a key that is not known there."""
        known, meant = self._keys(one), self.meant(one)
        remedy = f", did you mean `{meant}`?" if meant else f"; here one can write {named(known)}"
        return f"unknown key `{one.details['loc'][-1]}`{remedy if known else ''}"

    def meant(self, one: _Found) -> str:
        """The known key that an unknown one almost is; else nothing."""
        return nearest(one.details["loc"][-1], self._keys(one))

    def _keys(self, one: _Found) -> list[str]:
        kinds: list[Any] = [self._model]
        for part, kept in zip(one.details["loc"][:-1], one.kept, strict=False):
            options = [option for kind in kinds for option in _options_of(kind)]
            if kept:
                kinds = [below for _, option in options for below in _below(option, part)]
            else:
                kinds = [option for tags, option in options if part in tags] or [option for _, option in options]
        models = [option for kind in kinds for _, option in _options_of(kind) if _is_model(option)]
        return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


def _options_of(kind: Any, tags: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """A type as its alternatives, each with the names a union calls it by."""
    if hasattr(kind, "__value__"):
        yield from _options_of(kind.__value__, tags)
    elif get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        yield from _options_of(inner, (*tags, *(item.tag for item in metadata if isinstance(item, Tag))))
    elif get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from _options_of(option, tags)
    elif _is_model(kind):
        kind.model_rebuild(raise_errors=False)  # resolves names in quotes; does nothing where there are none
        literals = [get_args(field.annotation) for field in kind.model_fields.values() if get_origin(field.annotation) is Literal]
        yield (*tags, kind.__name__, *(value for values in literals for value in values)), kind
    else:
        yield tags, kind


def _below(kind: Any, part: str | int) -> Iterator[Any]:
    """The types a key or index of a type leads to."""
    if _is_model(kind):
        yield from (field.annotation for name, field in kind.model_fields.items() if part == (field.alias or name))
    elif get_args(kind):
        yield get_args(kind)[-1] if get_origin(kind) is dict else get_args(kind)[0]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
