"""The keys of readiness.yaml, and scoring's of playbook.yaml, as a marketer may write them; loader.py checks what they mean and compiles.

What the language has beyond this release stands here too, so that it is named as "not yet" and never taken for a mistake.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from shared.yaml import Duration, Shape


def _not_yet(_: Any, info: ValidationInfo) -> Any:
    raise ValueError(f"not yet: `{info.field_name}` is not in this release; leave it out")


def _some(value: Any) -> Any:
    if not value:
        raise ValueError("nothing stands here: write at least one, or leave the key out")
    return value


def _lasting(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("this must last some time: write a duration such as 45d, or leave the key out for no fading")
    return duration


def _some_time(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("this must last some time: write a duration such as 90d")
    return duration


def _not_zero(points: float) -> float:
    if points == 0:
        raise ValueError("0 points change nothing: write how many, such as 0.5 or -3")
    return points


NotYet = Annotated[Any, BeforeValidator(_not_yet)]
HalfLife = Annotated[Duration, AfterValidator(_lasting)]
Text = Annotated[str, AfterValidator(_some)]
Names = Text | Annotated[list[Text], AfterValidator(_some)]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Level = Annotated[float, Field(ge=1, le=10)]
Points = Annotated[float, Field(ge=-1000, le=1000), AfterValidator(_not_zero)]


class RuleForm(Shape):
    id: Id
    event: Names
    when: Text | None = None
    at_least: Level | None = None
    add: Points | None = None
    max: Annotated[float, Field(gt=0, le=1000)] | None = None
    half_life: HalfLife | None = None
    text: str = ""


class FitForm(Shape):
    id: Id
    when: Text
    add: Points
    text: str = ""


class SleepingForm(Shape):
    event: Names
    silent_for: Annotated[Duration, AfterValidator(_some_time)]


class ReadinessForm(Shape):
    hot: Level | None = None
    rearm_below: Level | None = None
    half_life: HalfLife | None = None
    hold: Duration | None = None
    rules: Annotated[list[RuleForm], Field(default_factory=list)]
    fit: Annotated[list[FitForm], Field(default_factory=list)]
    sleeping: SleepingForm | None = None


class OrdersForm(Shape):
    event: Names
    amount: Text | None = None
    refund: Names | None = None


class ConsentForm(BaseModel):
    """What scoring asks of `consent`; the mailer, which sends the confirmations, is strict about its spelling."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    events: list[str] = []
    from_browser: Literal["double_opt_in", "single"] = "double_opt_in"


class PlaybookForm(Shape):
    orders: OrdersForm | None = None
    consent: ConsentForm | None = None
    late_after: Duration | None = None
    events: NotYet = None
