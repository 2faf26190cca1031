"""Says in plain words what YAML could not read, and how to write it: most such mistakes are an expression without quotes."""

import re
from typing import Any

import yaml

from shared.documents import Mark

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_ENDS_A_FLOW_VALUE = re.compile(r"[\]}]|,\s+[\w.-]+:(\s|$)")
_COMMENT = re.compile(r"(?<![^ ])#")
_CLOSING = {"]": "[", "}": "{", ")": "("}
_PLAIN_WORDS = {
    "did not find expected ',' or '}'": "expected `,` or `}` here",
    "did not find expected ',' or ']'": "expected `,` or `]` here",
    "did not find expected key": "this cannot follow here",
    "did not find expected '-' indicator": "expected a `-` here: the items of a list begin in one column",
    "mapping values are not allowed in this context": "a second `: ` cannot follow here",
    "found unknown escape character": "in double quotes `\\` begins an escape: write `\\\\`, or use single quotes",
}


class Reading:
    """How far the reading has come: the key read last, and whether it stands inside `{…}` or `[…]`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.key: Any = None
        self.flow = False

    def line(self, index: int) -> str:
        """One line of the file, counted from 0; empty behind the end."""
        lines = _LINE_BREAK.split(self.text)
        return lines[index] if index < len(lines) else ""


def explain_syntax(error: yaml.MarkedYAMLError, reading: Reading) -> tuple[Mark, str]:
    """Where the mistake is, what it is, and the remedy."""
    place, opening = error.problem_mark or error.context_mark, error.context_mark
    if place is None:
        return Mark(1, 1), f"this is not YAML: {error.problem}"
    if opening is not None and "end of stream" in str(error.problem):
        return Mark(opening.line + 1, opening.column + 1), "the quote or bracket that opens here is never closed"
    problem = _problem(str(error.problem), reading.line(place.line)[place.column : place.column + 1])
    remedy = _quotes_would_help(place.line, reading)
    if not remedy and opening is not None and "flow" in str(error.context) and place.line > opening.line:
        remedy = f"; the bracket that opens on line {opening.line + 1}, column {opening.column + 1} is not closed"
    elif not remedy and "`: `" in problem:
        remedy = "; check the indentation, or put the value in quotes"
    return Mark(place.line + 1, place.column + 1), problem + remedy


def _problem(problem: str, character: str) -> str:
    if "cannot start any token" in problem:
        return "tabs cannot indent: use spaces" if character == "\t" else f"a value cannot begin with `{character}` unless it is in quotes"
    return _PLAIN_WORDS.get(problem, problem)


def _quotes_would_help(line: int, reading: Reading) -> str:
    """The quoted form of the last key's value, if the mistake is on its line or a `#` cut it short."""
    if reading.key is None:
        return ""
    place = reading.key.end_mark
    value = _whole_value(reading.line(place.line)[place.column :].lstrip(" :"), in_flow=reading.flow)
    if not value or (place.line != line and " #" not in value) or _is_quoted(value) or value[0] in "|>":
        return ""
    return f"; if this is one value, put it in quotes: `{reading.key.value}: {quoted(value)}`"


def quoted(text: str) -> str:
    """A text as a quoted YAML scalar."""
    return f'"{text}"' if not re.search(r'["\\]', text) else "'" + text.replace("'", "''") + "'"


def _is_quoted(value: str) -> bool:
    return re.fullmatch(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"", value) is not None


def _whole_value(written: str, *, in_flow: bool) -> str:
    """What the writer meant as one value: up to the comment, the next pair or the bracket that closes it."""
    opened: list[str] = []
    quote = ""
    for index, character in enumerate(written):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            opened.append(character)
        elif character in _CLOSING and opened:
            opened.pop()
        elif (in_flow and not opened and _ENDS_A_FLOW_VALUE.match(written, index)) or _COMMENT.match(written, index):
            return written[:index].strip()
    return written.strip()
