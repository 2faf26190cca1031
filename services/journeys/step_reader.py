"""The steps of one journey, from their keys to frozen definitions: laid flat, each leading to the next, with every mistake noted."""

import re
from collections.abc import Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import assert_never

from services.journeys.forms import (
    Awaited,
    AwaitedEventForm,
    BranchForm,
    CaseForm,
    ClockForm,
    ExitForm,
    HandoffForm,
    LaterStepForm,
    SendForm,
    SlaForm,
    StepForm,
    UnknownStepForm,
    UnknownWaitForm,
    UntilForm,
    UpdateForm,
    WaitForForm,
    WaitForm,
    WindowForm,
)
from services.journeys.localtime import EVERY_DAY
from services.journeys.notes import INSIDE, Notes, each
from services.journeys.steps import (
    Answers,
    Arm,
    BranchStep,
    Case,
    Category,
    ExitStep,
    HandoffStep,
    Lasting,
    NextClock,
    SendStep,
    Step,
    Until,
    UpdateStep,
    Wait,
    WaitForStep,
    WaitStep,
    Window,
)
from shared.expressions import compile_expression
from shared.yaml import Path

STEP_ID = re.compile("[a-z][a-z0-9_]{0,59}")

CLICK = "Email Link Clicked"
NO_TRAITS = {
    "consent": "consent is no trait: only the lead gives it",
    "email": "a journey does not name an address: your server does, with an `identify`",
}
"""What an update may not say: as our own word it would make somebody mailable."""


class StepReader:
    """Lays lists of steps flat into `steps`. `sequence` is called once, with the journey's own list."""

    def __init__(self, notes: Notes, category: Category) -> None:
        self.notes = notes
        self.category = category
        self.steps: dict[str, Step] = {}
        self.lasts_for_ever: list[Path] = []  # the `wait_for`s without a timeout
        self._ids: dict[str, Path] = {}
        self._mails: list[tuple[str, Path]] = []  # what `of` names

    def sequence(self, forms: Sequence[StepForm], path: Path, after: str | None) -> str | None:
        """Lay a list of steps flat; its last one leads to `after`. The name of its first."""
        names = [_step_id(form) or ".".join(map(str, (*path, index))) for index, form in enumerate(forms)]
        for index, (form, name) in enumerate(zip(forms, names, strict=True)):
            last = index == len(forms) - 1
            if isinstance(form, ExitForm) and not last:
                self.notes.trouble((*path, index + 1), "no walk comes here: the step before it is an `exit`; remove one of the two")
            self._step(form, name, after if last else names[index + 1], (*path, index))
        return names[0] if names else after

    def check_references(self) -> None:
        """`steps.ID` names a step of this journey, `of` a mail of it."""
        for expression, path in self.notes.used:
            for step_id in sorted(expression.step_ids - set(self._ids)):
                self.notes.trouble(path, f"no step has the id `{step_id}`{self._nearest(step_id)}")
        for step_id, path in self._mails:
            if step_id not in self._ids:
                self.notes.trouble(path, f"no step has the id `{step_id}`{self._nearest(step_id)}")
            elif not isinstance(self.steps[step_id], SendStep):
                self.notes.trouble(path, f"`{step_id}` sends no mail: name a `send` step")

    def _step(self, form: StepForm, name: str, onward: str | None, path: Path) -> None:
        self._check_id(form, path)
        match form:
            case SendForm():
                self.notes.templates.append(self.notes.mention(form.send, (*path, "send")))
                exits = form.if_unreachable == "exit"
                self.steps[name] = SendStep(name, form.id, onward, form.send, form.category or self.category, form.max_age, exits)
            case WaitForm():
                self._wait(form, name, onward, path)
            case WaitForForm():
                self._wait_for(form, name, onward, path)
            case BranchForm():
                self._branch(form, name, onward, path)
            case UpdateForm():
                self.steps[name] = self._update(form, name, onward, (*path, "update"))
            case HandoffForm():
                self._hand_off(form, name, onward, path)
            case ExitForm():
                self.steps[name] = ExitStep(name, form.id, form.exit)
            case LaterStepForm() | UnknownStepForm():
                raise AssertionError("its form refuses it")
            case _:
                assert_never(form)

    def _below(self, forms: Sequence[StepForm] | None, path: Path, onward: str | None) -> str | None:
        """The first of the steps that stand below another one; without any the walk goes on."""
        return onward if forms is None else self.sequence(forms, path, onward)

    def _wait(self, form: WaitForm, name: str, onward: str | None, path: Path) -> None:
        wait = self._time(form.wait, (*path, "wait"))
        self.steps[name] = WaitStep(name, form.id, onward, wait, onward, onward)  # keeps its place before the steps below it
        do, if_past = self._below(form.do, (*path, "do"), onward), self._below(form.if_past, (*path, "if_past"), onward)
        self.steps[name] = WaitStep(name, form.id, onward, wait, do, if_past)

    def _time(self, form: timedelta | ClockForm | WindowForm | UntilForm | UnknownWaitForm, path: Path) -> Wait:
        match form:
            case timedelta():
                return Lasting(form)
            case ClockForm():
                return NextClock(form.at, _days(form.days))
            case WindowForm():
                return Window(form.window.opens, form.window.closes, _days(form.window.days))
            case UntilForm():
                return Until(self.notes.expression(form.until, (*path, "until"), INSIDE) or _NEVER, form.offset)
            case UnknownWaitForm():
                raise AssertionError("its form refuses it")
            case _:
                assert_never(form)

    def _wait_for(self, form: WaitForForm, name: str, onward: str | None, path: Path) -> None:
        if form.timeout is None:
            self.lasts_for_ever.append((*path, "wait_for"))
        self.steps[name] = step = WaitForStep(name, form.id, onward, (), form.timeout, form.since == "entry", (), onward)
        resets = tuple(self.notes.match(one, place) for one, place in each(form.reset_on or [], (*path, "reset_on")))
        listed: list[tuple[Awaited, Path]] = each(form.wait_for, (*path, "wait_for"))
        cases = []
        for index, (one, place) in enumerate(listed):
            do, below = (one.do, place) if isinstance(form.wait_for, list) else (form.do, path)
            cases.append(self._case(one, place, str(index + 1), self._below(do, (*below, "do"), onward)))
        on_timeout = self._below(form.on_timeout, (*path, "on_timeout"), onward)
        self.steps[name] = WaitForStep(name, form.id, onward, tuple(cases), form.timeout, step.since_entry, resets, on_timeout)

    def _case(self, form: Awaited, path: Path, label: str, to: str | None) -> Case:
        if not isinstance(form, AwaitedEventForm):
            return Case(label, None, self.notes.expression(form.when, (*path, "when"), INSIDE) or _NEVER, None, to)
        match = self.notes.match(form, path)
        if form.of is not None:
            self._mails.append((form.of, (*path, "of")))
            if match.events != {CLICK}:
                self.notes.trouble((*path, "event"), f"`of` asks whose mail was clicked: write `event: {CLICK}`, or remove the `of`")
        return Case(label, match, None, form.of, to)

    def _branch(self, form: BranchForm, name: str, onward: str | None, path: Path) -> None:
        arms: list[Arm] = []
        self.steps[name] = BranchStep(name, form.id, onward, ())
        for index, case in enumerate(form.branch):
            place = (*path, "branch", index)
            if arms and arms[-1].condition is None:
                self.notes.trouble(place, "no walk comes here: `else` takes all the rest; put it last")
            if isinstance(case, CaseForm):
                condition = self.notes.expression(case.condition, (*place, "if"), INSIDE) or _NEVER
                arms.append(Arm(str(index + 1), condition, self.sequence(case.do, (*place, "do"), onward)))
            else:
                arms.append(Arm("else", None, self.sequence(case.do, (*place, "else"), onward)))
        self.steps[name] = BranchStep(name, form.id, onward, tuple(arms))

    def _update(self, form: UpdateForm, name: str, onward: str | None, path: Path) -> UpdateStep:
        change = form.update
        for trait in NO_TRAITS.keys() & change.traits.keys():
            self.notes.trouble((*path, "traits", trait), NO_TRAITS[trait], of_key=True)
        add, remove = (
            tuple(self.notes.value(tag, (*path, "tags", side, index)) for index, tag in enumerate(tags))
            for side, tags in (("add", change.tags.add), ("remove", change.tags.remove))
        )
        return UpdateStep(name, form.id, onward, self.notes.value(change.traits, (*path, "traits")), add, remove)

    def _hand_off(self, form: HandoffForm, name: str, onward: str | None, path: Path) -> None:
        self.notes.endpoints.append(self.notes.mention(form.handoff, (*path, "handoff")))
        note = self.notes.value(form.note, (*path, "note"))
        self.steps[name] = HandoffStep(name, form.id, onward, form.handoff, note)
        if form.fallback is not None:
            self.notes.endpoints.append(self.notes.mention(form.fallback, (*path, "fallback")))
        if form.sla is None:
            return
        working = isinstance(form.sla, SlaForm)
        if working:
            self.notes.working.append(self.notes.mention("working_hours", (*path, "sla")))
        within = form.sla.within if isinstance(form.sla, SlaForm) else form.sla
        ways = (("do", form.do), ("on_rejected", form.on_rejected), ("on_timeout", form.on_timeout))
        to = [self._below(forms, (*path, key), onward) for key, forms in ways]
        self.steps[name] = HandoffStep(name, form.id, onward, form.handoff, note, Answers(within, working, form.fallback or "", *to))

    def _check_id(self, form: StepForm, path: Path) -> None:
        step_id, place = _step_id(form), (*path, "id")
        if step_id is None:
            return
        if not STEP_ID.fullmatch(step_id):
            message = f"`{step_id[:60]}` cannot be an id: write a small letter, then small letters, digits or `_`, at most 60"
            self.notes.trouble(place, message)
        elif step_id in self._ids:
            first = self.notes.document.mark(self._ids[step_id])
            self.notes.trouble(place, f"the id `{step_id}` stands twice, first on line {first.line}: give one of the steps another")
        self._ids.setdefault(step_id, place)

    def _nearest(self, step_id: str) -> str:
        near = get_close_matches(step_id, self._ids, n=1)
        if near:
            return f", did you mean `{near[0]}`?"
        return f": write `id: {step_id}` into the step that is meant"


def _step_id(form: StepForm) -> str | None:
    return None if isinstance(form, LaterStepForm | UnknownStepForm) else form.id


def _days(days: Sequence[int] | None) -> frozenset[int]:
    return EVERY_DAY if days is None else frozenset(days)


_NEVER = compile_expression("false", frozenset())
"""Stands for a condition that could not be read: the trouble is told already."""
