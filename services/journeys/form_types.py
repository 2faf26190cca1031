"""The values that a marketer may write in a journey file, where they are no plain YAML: shares, clock times, days, offsets, names."""

import re
from datetime import time, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

from shared.durations import PATTERN, Offset, parse_offset
from shared.yaml import Duration

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _not_yet(value: Any, info: ValidationInfo) -> Any:
    key = "from" if info.field_name == "sender" else info.field_name
    raise ValueError(f"not yet: `{key}` is not in this release; leave it out")


def some(value: Any) -> Any:
    """The value, if there is anything in it."""
    if not value:
        raise ValueError("nothing stands here: write at least one, or leave the key out")
    return value


def _positive(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("this must last some time: write a duration such as 1h")
    return duration


def _share(value: Any) -> float:
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", value) if isinstance(value, str) else None
    if found is None or float(found[1]) > 100:
        raise ValueError("write a percentage between 0% and 100%, such as 10%")
    return float(found[1]) / 100


def _clock(value: Any) -> time:
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError('write a time of day with hours and minutes, such as "09:00"')
    return time.fromisoformat(value)


def _day(value: Any) -> int:
    if value not in DAYS:
        raise ValueError(f"write a day of the week as one of {', '.join(DAYS)}")
    return DAYS.index(value)


def _offset(value: Any) -> Offset:
    if not isinstance(value, str):
        raise ValueError("write an offset such as -1d (a day before) or 2h")  # noqa: TRY004 - pydantic takes ValueErrors
    return parse_offset(value)


def _end(value: Any) -> time:
    return time() if value == "24:00" else _clock(value)


NotYet = Annotated[Any, BeforeValidator(_not_yet)]
Lasting = Annotated[Duration, AfterValidator(_positive)]
Text = Annotated[str, AfterValidator(some)]
Names = Text | Annotated[list[Text], AfterValidator(some)]
Share = Annotated[float, BeforeValidator(_share), WithJsonSchema({"type": "string", "pattern": r"^\d{1,3}(\.\d+)?%$"})]
Clock = Annotated[time, BeforeValidator(_clock), WithJsonSchema({"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$"})]
End = Annotated[time, BeforeValidator(_end), WithJsonSchema({"type": "string", "pattern": r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"})]
Day = Annotated[int, BeforeValidator(_day), WithJsonSchema({"type": "string", "enum": list(DAYS)})]
Days = Annotated[list[Day], AfterValidator(some)]
Shift = Annotated[Offset, BeforeValidator(_offset), WithJsonSchema({"type": "string", "pattern": PATTERN.replace("^", "^-?", 1)})]
