"""`working_hours` of playbook.yaml: when sales answers, as written and as `sla.py` counts it."""

import re
from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from services.mailer.sla import WorkingHours
from shared.yaml import Shape

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
END_OF_DAY = "24:00"
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


def _clock_time(written: str) -> str:
    if written != END_OF_DAY and not _CLOCK.fullmatch(written):
        raise ValueError(f"`{written}` is no clock time: write one from 00:00 to {END_OF_DAY}, such as 09:00")
    return written


ClockTime = Annotated[str, AfterValidator(_clock_time)]


class WorkingHoursForm(Shape):
    days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Field(min_length=1)]
    opens: ClockTime = Field(alias="from")
    closes: ClockTime = Field(alias="to")
    timezone: str | None = None  # else the mail's


def hours_of(form: WorkingHoursForm | None, timezone: str) -> WorkingHours | None:
    """As the SLA's clock counts them; `timezone` is theirs where they name none."""
    if form is None:
        return None
    closes = time(0) if form.closes == END_OF_DAY else time.fromisoformat(form.closes)
    days = frozenset(DAYS.index(day) for day in form.days)
    return WorkingHours(days, time.fromisoformat(form.opens), closes, ZoneInfo(form.timezone or timezone))
