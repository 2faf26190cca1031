"""The keys of a journey file as a marketer may write them; reader.py checks what they mean and compiles them.

What the language has beyond this release stands here too, so that it is named as "not yet" and never taken for a mistake.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from services.journeys.definitions import OnRepeat, Status
from services.journeys.form_types import Lasting, Names, NotYet, Share, Text, some
from services.journeys.forms import ConditionForm, EventForm, Steps
from services.journeys.steps import Category
from shared.yaml import Shape


def _only_pin(value: Any) -> Any:
    if value in ("migrate", "exit"):
        raise ValueError(f"not yet: `{value}` is not in this release; waiting leads finish the version they began (pin)")
    return value


def _only_false(value: Any) -> Any:
    if value is True:
        raise ValueError("not yet: publishing enrolls nobody in this release; leave it out")
    return value


def _only_true(value: Any) -> Any:
    if value is not True:
        raise ValueError("write `true`, or leave the key out")
    return value


Yes = Annotated[bool, BeforeValidator(_only_true)]


class CrossingForm(Shape):
    rises_to: Annotated[int, Field(ge=2, le=10)] | None = None
    falls_to: Annotated[int, Field(ge=1, le=9)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "CrossingForm":
        if (self.rises_to is None) == (self.falls_to is None):
            raise ValueError("write either `rises_to: 9` or `falls_to: 3`; a list of triggers may have both")
        return self


class TriggerForm(Shape):
    event: Names | None = None
    readiness: CrossingForm | None = None
    sleeping: Yes | None = None
    api: Yes | None = None
    where: Text | None = None
    key: Text | None = None
    segment: NotYet = None
    trait: NotYet = None
    silence: NotYet = None
    date: NotYet = None
    schedule: NotYet = None
    journey: NotYet = None

    @model_validator(mode="after")
    def _one_kind(self) -> "TriggerForm":
        if sum(kind is not None for kind in (self.event, self.readiness, self.sleeping, self.api)) != 1:
            raise ValueError(
                "write what starts the journey: one of `event: NAME`, `readiness: {rises_to: 9}`, `sleeping: true`, `api: true`; "
                "for several write a list"
            )
        return self


def _exit_kind(value: Any) -> str:
    return "exit:condition" if isinstance(value, dict) and "when" in value else "exit:event"


Exit = Annotated[Annotated[EventForm, Tag("exit:event")] | Annotated[ConditionForm, Tag("exit:condition")], Discriminator(_exit_kind)]


class GoalForm(EventForm):
    within: Lasting = timedelta(days=30)
    exit: bool = True


class AfterForm(Shape):
    after: Lasting


class AfterEventForm(Shape):
    after_event: Text


class JourneyForm(Shape):
    """A journey file."""

    journey: Text
    description: str = ""
    status: Status = "live"
    category: Category = "marketing"
    topic: Text | None = None
    priority: int = 100
    trigger: TriggerForm | Annotated[list[TriggerForm], AfterValidator(some)]
    audience: Text | None = None
    reentry: Literal["once", "always"] | AfterForm | AfterEventForm = "once"
    gap: Lasting | None = None
    on_repeat: OnRepeat = "ignore"
    exit_when: Exit | Annotated[list[Exit], AfterValidator(some)] | None = None
    goal: GoalForm | None = None
    holdout: Share = 0.0
    max_duration: Lasting | None = None
    on_publish: Annotated[Literal["pin"], BeforeValidator(_only_pin)] = "pin"
    backfill: Annotated[bool, BeforeValidator(_only_false)] = False
    steps: Steps
