"""Which events' histories a playbook asks for, anywhere in it: only these are kept. Pure.

conditions and values of every YAML file ──compiled──► the NAMEs of `lead.events[NAME]`; `after_event: NAME` ──read──► NAME;
templates, whose language is the mailer's ──searched──► NAME. One name too many costs a little room, one too few an answer.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.expressions import ExpressionError, compile_expression
from shared.yaml import PlaybookError, read_all

EVERY_NAME = frozenset({"lead", "event", "entry", "key", "entered_at", "steps", "now"})
_IN_TEMPLATES = re.compile(
    r"lead\s*(?:\.\s*events|\[\s*['\"]events['\"]\s*\])\s*(?:\[\s*(['\"])(?P<quoted>.+?)\1\s*\]|\.\s*(?P<plain>[A-Za-z_]\w*))"
)


def asked_for(files: Mapping[str, bytes]) -> Iterator[str]:
    """The names, some of them more than once."""
    for file, text in files.items():
        if file.endswith((".yaml", ".yml")):
            yield from _in_yaml(file, text)
        else:
            yield from _in_text(text.decode("utf-8", "replace"))


def _in_yaml(file: str, text: bytes) -> Iterator[str]:
    try:
        documents = read_all(text, file)
    except PlaybookError:
        return  # told by whoever owns the file
    for document in documents:
        yield from _in_value(document.value)


def _in_value(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _in_condition(value)
    elif isinstance(value, list):
        for part in value:
            yield from _in_value(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _names(part) if key == "after_event" else _in_value(part)


def _in_condition(text: str) -> Iterator[str]:
    """The names in an expression, a computed value (`=…`) among them; in what is none, as far as it looks like one."""
    if "events" not in text:
        return
    try:
        yield from compile_expression(text.strip().removeprefix("="), EVERY_NAME).event_names
    except ExpressionError:
        yield from _in_text(text)


def _in_text(text: str) -> Iterator[str]:
    for found in _IN_TEMPLATES.finditer(text):
        yield found["quoted"] or found["plain"]


def _names(value: Any) -> Iterator[str]:
    names = value if isinstance(value, list) else [value]
    return (name for name in names if isinstance(name, str))
