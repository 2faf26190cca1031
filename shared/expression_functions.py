"""What the operators, methods and functions of an expression do. None of them raises, hangs or grows without bound.

What is missing is none, and an operation on none, or on kinds that do not go together, gives none. True and false count as 1 and 0.
A moment without an offset is in UTC.
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from shared.wire import EventHistory

MAX_TEXT = 64 * 1024
_MAX_NESTING = 8
_NUMBERS = frozenset({int, float, bool})
_LISTS = frozenset({list, tuple})
_NUMERIC = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NEVER = EventHistory()
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


def attribute(value: Any, name: str, nesting: int = 0) -> Any:
    """A key of a mapping, a field of one of our Structs, or the list of these for a list's elements."""
    kind = value.__class__
    if kind is dict:
        return value.get(name)
    if isinstance(value, Struct):
        return getattr(value, name) if name in value.__struct_fields__ else None
    if kind in _LISTS and nesting < _MAX_NESTING:
        return [attribute(element, name, nesting + 1) for element in value]
    return None


def item(value: Any, index: Any) -> Any:
    """The element at an index, or with a text what `attribute` gives."""
    if index.__class__ is str:
        return attribute(value, index)
    if index.__class__ is int and (value.__class__ in _LISTS or value.__class__ is str):
        return value[index] if -len(value) <= index < len(value) else None
    return None


def history(events: Any, name: str) -> Any:
    """What a lead did by that name; zeros if it never did."""
    found = attribute(events, name)
    return _NEVER if found is None else found


def or_zero(count: Any) -> Any:
    """A count; 0 for what never happened."""
    return 0 if count is None else count


def number(text: str) -> int | float | None:
    """The number a text writes, if any."""
    if len(text) > 40 or not _NUMERIC.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else _finite(float(text))


def moment(value: Any) -> datetime | None:
    """A moment, from itself or from ISO text."""
    if value.__class__ is str and 8 <= len(value) <= 40:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def converts(text: str) -> bool:
    """Whether a text can equal something that is no text."""
    return number(text) is not None or moment(text) is not None


def _alike(a: Any, b: Any) -> tuple[Any, Any] | None:
    """Both as numbers, texts, moments or durations; None where they do not go together."""
    kinds = a.__class__, b.__class__
    if kinds == (str, str) or kinds == (timedelta, timedelta) or (kinds[0] in _NUMBERS and kinds[1] in _NUMBERS):
        return a, b
    if datetime in kinds:
        pair: tuple[Any, Any] = moment(a), moment(b)
    elif kinds in ((str, int), (str, float)):
        pair = number(a), b
    elif kinds in ((int, str), (float, str)):
        pair = a, number(b)
    else:
        return None
    return None if None in pair else pair


def equal(a: Any, b: Any) -> bool:
    """Whether two values are the same; texts are read as numbers or moments beside such. None equals only none."""
    try:
        if a == b:
            return True
        if a.__class__ in _LISTS and b.__class__ in _LISTS:
            return list(a) == list(b)
    except RecursionError:
        return False
    pair = _alike(a, b) if a.__class__ is not b.__class__ or a.__class__ is datetime else None
    return pair is not None and bool(pair[0] == pair[1])


def unequal(a: Any, b: Any) -> bool:
    """The opposite of `equal`."""
    return not equal(a, b)


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    def ordered(a: Any, b: Any) -> bool | None:
        if a.__class__ in _NUMBERS and b.__class__ in _NUMBERS:
            return compare(a, b)
        if a is None or b is None:
            return None
        pair = _alike(a, b)
        return None if pair is None else compare(*pair)

    return ordered


less, at_most, greater, at_least = map(_ordering, (operator.lt, operator.le, operator.gt, operator.ge))


def contains(element: Any, container: Any) -> bool | None:
    """`element in container`: an element of a list, a part of a text, a key of a mapping."""
    if element is None or container is None:
        return None
    kind = container.__class__
    if kind is list or kind is tuple:
        return any(equal(element, other) for other in container)
    return _contains_key(element, container)


def contains_text(element: str, container: Any) -> bool | None:
    """`contains` for a text that can equal nothing but itself."""
    kind = container.__class__
    if kind is list or kind is tuple or kind is str:
        return element in container
    return _contains_key(element, container)


def _contains_key(element: Any, container: Any) -> bool | None:
    if element.__class__ is str and container.__class__ in (str, dict):
        return element in container
    return None


def misses(element: Any, container: Any) -> bool:
    """`element not in container`: true where `in` is false or none."""
    return not contains(element, container)


def _finite(result: Any) -> Any:
    if result.__class__ is float:
        return result if math.isfinite(result) else None
    return result if -(2**63) <= result < 2**63 else None


def _arithmetic(calculate: Callable[[Any, Any], Any], otherwise: Callable[[Any, Any], Any] | None = None) -> Callable[[Any, Any], Any]:
    def calculated(a: Any, b: Any) -> Any:
        try:
            if a.__class__ in _NUMBERS and b.__class__ in _NUMBERS:
                return _finite(calculate(a, b))
            return otherwise(a, b) if otherwise else None
        except (ArithmeticError, ValueError):
            return None

    return calculated


def _add_others(a: Any, b: Any) -> Any:
    if a.__class__ is str and b.__class__ is str:
        return a + b if len(a) + len(b) <= MAX_TEXT else None
    if a.__class__ is timedelta:
        a, b = b, a
    if b.__class__ is not timedelta:
        return None
    begin = a if a.__class__ is timedelta else moment(a)
    return None if begin is None else begin + b


def _subtract_others(a: Any, b: Any) -> Any:
    if b.__class__ is timedelta:
        return _add_others(a, -b)
    end, begin = moment(a), moment(b)
    return None if end is None or begin is None or datetime not in (a.__class__, b.__class__) else end - begin


add = _arithmetic(operator.add, _add_others)
subtract = _arithmetic(operator.sub, _subtract_others)
multiply = _arithmetic(operator.mul)
divide = _arithmetic(operator.truediv)
remainder = _arithmetic(operator.mod)


def negative(value: Any) -> Any:
    """Minus a number or a duration."""
    return subtract(timedelta(0) if value.__class__ is timedelta else 0, value)


def lower(text: Any) -> str | None:
    """A text in small letters."""
    return text.lower() if isinstance(text, str) and len(text) <= MAX_TEXT else None


def upper(text: Any) -> str | None:
    """A text in capitals."""
    return text.upper() if isinstance(text, str) and len(text) <= MAX_TEXT else None


def strip(text: Any) -> str | None:
    """A text without the blanks around it."""
    return text.strip() if isinstance(text, str) else None


def starts_with(text: Any, start: Any) -> bool | None:
    """Whether a text begins with a text, or with one of several."""
    starts = _texts(start)
    return text.startswith(starts) if text.__class__ is str and starts is not None else None


def ends_with(text: Any, end: Any) -> bool | None:
    """Whether a text ends with a text, or with one of several."""
    ends = _texts(end)
    return text.endswith(ends) if text.__class__ is str and ends is not None else None


def _texts(value: Any) -> tuple[str, ...] | None:
    texts = tuple(value) if value.__class__ in _LISTS else (value,)
    return texts if all(text.__class__ is str for text in texts) else None


def count_within(did: Any, window: timedelta, now: Any) -> int | None:
    """How often within the window, by whole UTC days: the first counts in full."""
    until, days = moment(now), attribute(did, "days")
    if until is None:
        return None
    if days.__class__ is not dict:
        return 0
    try:
        since = (until.astimezone(UTC) - window).date().isoformat()
        return int(sum(times for day, times in days.items() if day >= since))
    except (OverflowError, TypeError):
        return None


def days_since(begin: Any, now: Any) -> float | None:
    """Days from a moment until now, with their fraction; below zero for what is to come."""
    return _since(begin, now, _DAY)


def hours_since(begin: Any, now: Any) -> float | None:
    """Hours from a moment until now, with their fraction."""
    return _since(begin, now, _HOUR)


def _since(begin: Any, now: Any, unit: timedelta) -> float | None:
    start, end = moment(begin), moment(now)
    return None if start is None or end is None else (end - start) / unit


def days(count: Any) -> timedelta | None:
    """A duration of so many days of 24 hours."""
    return _lasting(count, _DAY)


def hours(count: Any) -> timedelta | None:
    """A duration of so many hours."""
    return _lasting(count, _HOUR)


def _lasting(count: Any, unit: timedelta) -> timedelta | None:
    try:
        return unit * count if isinstance(count, int | float) else None
    except (OverflowError, ValueError):
        return None


def length(value: Any) -> int | None:
    """How many characters, elements or keys."""
    return len(value) if value.__class__ in (str, dict, list, tuple) else None


def rounded(value: Any, digits: Any = None) -> Any:
    """A number rounded as Python rounds it: half to even."""
    if not isinstance(value, int | float) or not (digits is None or (isinstance(digits, int) and -15 <= digits <= 15)):
        return None
    try:
        return _finite(round(value, digits))
    except (OverflowError, ValueError):
        return None


def _extreme(precedes: Callable[[Any, Any], bool | None]) -> Callable[..., Any]:
    def extreme(*values: Any) -> Any:
        elements: Sequence[Any] = values[0] if len(values) == 1 and values[0].__class__ in _LISTS else values
        best = elements[0] if elements else None
        for element in elements:
            before = precedes(element, best)
            if before is None:
                return None
            best = element if before else best
        return best

    return extreme


smallest, largest = _extreme(less), _extreme(greater)
