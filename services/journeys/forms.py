"""The keys of a journey file as a marketer may write them; loader.py checks what they mean and compiles them.

What the language has beyond this release stands here too, so that it is named as "not yet" and never taken for a mistake.
"""

import re
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationInfo, WithJsonSchema, model_validator

from services.journeys.definitions import Category, OnRepeat, Status
from shared.yaml import Duration, Shape


def _not_yet(value: Any, info: ValidationInfo) -> Any:
    key = "from" if info.field_name == "sender" else info.field_name
    raise ValueError(f"not yet: `{key}` is not in this release; leave it out")


def _some(value: Any) -> Any:
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


def _only_duration(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("not yet: in this release a wait is a duration, such as `wait: 2d`")  # noqa: TRY004 - pydantic takes ValueErrors
    return value


def _only_pin(value: Any) -> Any:
    if value in ("migrate", "exit"):
        raise ValueError(f"not yet: `{value}` is not in this release; waiting leads finish the version they began (pin)")
    return value


def _only_false(value: Any) -> Any:
    if value is True:
        raise ValueError("not yet: publishing enrolls nobody in this release; leave it out")
    return value


NotYet = Annotated[Any, BeforeValidator(_not_yet)]
Lasting = Annotated[Duration, AfterValidator(_positive)]
Text = Annotated[str, AfterValidator(_some)]
Names = Text | Annotated[list[Text], AfterValidator(_some)]
Share = Annotated[float, BeforeValidator(_share), WithJsonSchema({"type": "string", "pattern": r"^\d{1,3}(\.\d+)?%$"})]


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
    where: Text | None = None
    key: Text | None = None
    segment: NotYet = None
    trait: NotYet = None
    sleeping: NotYet = None
    silence: NotYet = None
    date: NotYet = None
    schedule: NotYet = None
    journey: NotYet = None
    api: NotYet = None

    @model_validator(mode="after")
    def _one_kind(self) -> "TriggerForm":
        if (self.event is None) == (self.readiness is None):
            raise ValueError("write what starts the journey: either `event: NAME` or `readiness: {rises_to: 9}`; for both write a list")
        return self


class EventExitForm(Shape):
    event: Names
    where: Text | None = None
    match_key: Text | None = None


class ConditionForm(Shape):
    when: Text


def _exit_kind(value: Any) -> str:
    return "exit:condition" if isinstance(value, dict) and "when" in value else "exit:event"


Exit = Annotated[Annotated[EventExitForm, Tag("exit:event")] | Annotated[ConditionForm, Tag("exit:condition")], Discriminator(_exit_kind)]


class GoalForm(Shape):
    event: Names
    where: Text | None = None
    match_key: Text | None = None
    within: Lasting = timedelta(days=30)
    exit: bool = True


class AfterForm(Shape):
    after: Lasting


class AfterEventForm(Shape):
    after_event: Text


class SendForm(Shape):
    id: str | None = None
    send: Text
    max_age: Lasting | None = None
    if_unreachable: Literal["skip", "exit"] = "skip"
    category: Category | None = None
    channel: NotYet = None
    sender: NotYet = Field(default=None, alias="from")
    reply_to: NotYet = None


class WaitForm(Shape):
    id: str | None = None
    wait: Annotated[Lasting, BeforeValidator(_only_duration)]
    do: NotYet = None
    if_past: NotYet = None


class CaseForm(Shape):
    condition: Text = Field(alias="if")
    do: "Steps"


class ElseForm(Shape):
    do: "Steps" = Field(alias="else")


def _case_kind(value: Any) -> str:
    return "case:else" if isinstance(value, dict) and "else" in value and "if" not in value else "case:if"


Case = Annotated[Annotated[CaseForm, Tag("case:if")] | Annotated[ElseForm, Tag("case:else")], Discriminator(_case_kind)]


class BranchForm(Shape):
    id: str | None = None
    branch: Annotated[list[Case], AfterValidator(_some)]


class HandoffForm(Shape):
    id: str | None = None
    handoff: Text
    note: str = ""
    sla: NotYet = None
    fallback: NotYet = None
    do: NotYet = None
    on_rejected: NotYet = None
    on_timeout: NotYet = None


class ExitForm(Shape):
    id: str | None = None
    exit: Text


KINDS = ("send", "wait", "branch", "handoff", "exit")
LATER = ("wait_for", "split", "repeat", "update", "emit", "readiness", "webhook", "unsubscribe", "enroll", "unenroll")


class LaterStepForm(Shape):
    """A kind of step that the language has and this release does not."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, value: dict[str, Any]) -> Any:
        kind = next(kind for kind in LATER if kind in value)
        raise ValueError(f"not yet: `{kind}` steps are not in this release")


class UnknownStepForm(Shape):
    """Something that is no step."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        known = ", ".join(f"`{kind}`" for kind in KINDS)
        if not isinstance(value, dict):
            raise ValueError(f"a step is written as keys and values, such as `wait: 1d`; its kinds are {known}")  # noqa: TRY004
        near = [match for key in value for match in get_close_matches(str(key), (*KINDS, *LATER), n=1)]
        raise ValueError(f"this is no step{f', did you mean `{near[0]}`?' if near else f'; its kinds are {known}'}")


def _step_kind(value: Any) -> str:
    if not isinstance(value, dict):
        return "step:unknown"
    kind = next((kind for kind in KINDS if kind in value), None)
    if kind is None:
        return "step:later" if any(kind in value for kind in LATER) else "step:unknown"
    return f"step:{kind}"


StepForm = Annotated[
    Annotated[SendForm, Tag("step:send")]
    | Annotated[WaitForm, Tag("step:wait")]
    | Annotated[BranchForm, Tag("step:branch")]
    | Annotated[HandoffForm, Tag("step:handoff")]
    | Annotated[ExitForm, Tag("step:exit")]
    | Annotated[LaterStepForm, Tag("step:later")]
    | Annotated[UnknownStepForm, Tag("step:unknown")],
    Discriminator(_step_kind),
]

Steps = Annotated[list[StepForm], AfterValidator(_some)]


class JourneyForm(Shape):
    """A journey file."""

    journey: Text
    description: str = ""
    status: Status = "live"
    category: Category = "marketing"
    topic: Text | None = None
    priority: int = 100
    trigger: TriggerForm | Annotated[list[TriggerForm], AfterValidator(_some)]
    audience: Text | None = None
    reentry: Literal["once", "always"] | AfterForm | AfterEventForm = "once"
    gap: Lasting | None = None
    on_repeat: OnRepeat = "ignore"
    exit_when: Exit | Annotated[list[Exit], AfterValidator(_some)] | None = None
    goal: GoalForm | None = None
    holdout: Share = 0.0
    max_duration: Lasting | None = None
    on_publish: Annotated[Literal["pin"], BeforeValidator(_only_pin)] = "pin"
    backfill: Annotated[bool, BeforeValidator(_only_false)] = False
    steps: Steps


for _form in (CaseForm, ElseForm, BranchForm, JourneyForm):
    _form.model_rebuild()
