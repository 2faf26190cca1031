"""The steps of a journey as a marketer may write them; step_reader.py checks what they mean and compiles them.

What the language has beyond this release stands here too, so that it is named as "not yet" and never taken for a mistake.
"""

from datetime import time, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from services.journeys.form_types import Clock, Days, End, Lasting, Names, NotYet, Shift, Text, some
from services.journeys.steps import Category
from shared.durations import Offset
from shared.yaml import Shape


class EventForm(Shape):
    event: Names
    where: Text | None = None
    match_key: Text | None = None


class ConditionForm(Shape):
    when: Text


class SendForm(Shape):
    id: str | None = None
    send: Text
    max_age: Lasting | None = None
    if_unreachable: Literal["skip", "exit"] = "skip"
    category: Category | None = None
    channel: NotYet = None
    sender: NotYet = Field(default=None, alias="from")
    reply_to: NotYet = None


class ClockForm(Shape):
    at: Clock
    days: Days | None = None


class HoursForm(Shape):
    opens: Clock = Field(alias="from")
    closes: End = Field(alias="to")
    days: Days | None = None

    @model_validator(mode="after")
    def _differ(self) -> "HoursForm":
        if self.opens == self.closes != time():
            raise ValueError('this window never closes: write another time under `to`; a whole day is from "00:00" to "24:00"')
        return self


class WindowForm(Shape):
    window: HoursForm


class UntilForm(Shape):
    until: Text
    offset: Shift = Offset(0, timedelta(0))


class UnknownWaitForm(Shape):
    """A wait for nothing that there is."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        raise ValueError('a wait is a duration such as `2d`, or has one of the keys `at`, `window`, `until`: `wait: {at: "09:00"}`')


def _wait_kind(value: Any) -> str:
    if not isinstance(value, dict):
        return "wait:duration"
    return next((f"wait:{key}" for key in ("at", "window", "until") if key in value), "wait:unknown")


Wait = Annotated[
    Annotated[Lasting, Tag("wait:duration")]
    | Annotated[ClockForm, Tag("wait:at")]
    | Annotated[WindowForm, Tag("wait:window")]
    | Annotated[UntilForm, Tag("wait:until")]
    | Annotated[UnknownWaitForm, Tag("wait:unknown")],
    Discriminator(_wait_kind),
]


class WaitForm(Shape):
    id: str | None = None
    wait: Wait
    do: "Steps | None" = None
    if_past: "Steps | None" = None

    @model_validator(mode="after")
    def _only_until(self) -> "WaitForm":
        if not isinstance(self.wait, UntilForm) and (self.do or self.if_past):
            raise ValueError("`do` and `if_past` belong to a wait with `until`: write these steps behind the wait")
        return self


class AwaitedEventForm(EventForm):
    of: Text | None = None
    do: "Steps | None" = None


class AwaitedConditionForm(ConditionForm):
    do: "Steps | None" = None


def _awaited_kind(value: Any) -> str:
    return "case:condition" if isinstance(value, dict) and "when" in value else "case:event"


Awaited = Annotated[
    Annotated[AwaitedEventForm, Tag("case:event")] | Annotated[AwaitedConditionForm, Tag("case:condition")], Discriminator(_awaited_kind)
]


class WaitForForm(Shape):
    id: str | None = None
    wait_for: Awaited | Annotated[list[Awaited], AfterValidator(some)]
    timeout: Lasting | None = None
    since: Literal["step", "entry"] = "step"
    reset_on: EventForm | Annotated[list[EventForm], AfterValidator(some)] | None = None
    do: "Steps | None" = None
    on_timeout: "Steps | None" = None

    @model_validator(mode="after")
    def _in_its_place(self) -> "WaitForForm":
        if isinstance(self.wait_for, list) and self.do:
            raise ValueError("of several cases each has a `do` of its own: write it into the case")
        if not isinstance(self.wait_for, list) and self.wait_for.do:
            raise ValueError("write `do` beside `wait_for`, not into it; or make a list of its cases")
        if self.timeout is None and (self.on_timeout or self.reset_on):
            raise ValueError("there is no `timeout` that could run out or begin anew: write one, such as `timeout: 1d`")
        return self


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
    branch: Annotated[list[Case], AfterValidator(some)]


class TagsForm(Shape):
    add: list[Text] = Field(default_factory=list)
    remove: list[Text] = Field(default_factory=list)


class ChangeForm(Shape):
    traits: dict[str, Any] = Field(default_factory=dict)
    tags: TagsForm = TagsForm()

    @model_validator(mode="after")
    def _something(self) -> "ChangeForm":
        if not (self.traits or self.tags.add or self.tags.remove):
            raise ValueError("nothing is changed here: write `traits: {stage: nurtured}` or `tags: {add: [vip]}`")
        return self


class UpdateForm(Shape):
    id: str | None = None
    update: ChangeForm


class SlaForm(Shape):
    within: Lasting
    hours: Literal["working"]


def _sla_kind(value: Any) -> str:
    return "sla:hours" if isinstance(value, dict) else "sla:duration"


Sla = Annotated[Annotated[Lasting, Tag("sla:duration")] | Annotated[SlaForm, Tag("sla:hours")], Discriminator(_sla_kind)]


class HandoffForm(Shape):
    id: str | None = None
    handoff: Text
    note: str = ""
    sla: Sla | None = None
    fallback: Text | None = None
    do: "Steps | None" = None
    on_rejected: "Steps | None" = None
    on_timeout: "Steps | None" = None

    @model_validator(mode="after")
    def _waits_with_sla(self) -> "HandoffForm":
        if self.sla is None and (self.fallback or self.do or self.on_rejected or self.on_timeout):
            raise ValueError("without `sla` the walk does not wait for an answer: write `sla: 4h`, or leave out what follows on one")
        return self


class ExitForm(Shape):
    id: str | None = None
    exit: Text


KINDS = ("send", "wait", "wait_for", "branch", "update", "handoff", "exit")
LATER = ("split", "repeat", "emit", "readiness", "webhook", "unsubscribe", "enroll", "unenroll")


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
    | Annotated[WaitForForm, Tag("step:wait_for")]
    | Annotated[BranchForm, Tag("step:branch")]
    | Annotated[UpdateForm, Tag("step:update")]
    | Annotated[HandoffForm, Tag("step:handoff")]
    | Annotated[ExitForm, Tag("step:exit")]
    | Annotated[LaterStepForm, Tag("step:later")]
    | Annotated[UnknownStepForm, Tag("step:unknown")],
    Discriminator(_step_kind),
]

Steps = Annotated[list[StepForm], AfterValidator(some)]


for _form in (WaitForm, AwaitedEventForm, AwaitedConditionForm, WaitForForm, CaseForm, ElseForm, BranchForm, HandoffForm):
    _form.model_rebuild()
