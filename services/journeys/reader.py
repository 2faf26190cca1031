"""One journey file, from its keys to the frozen definition: compiles every expression, lays the steps flat, finds what cannot be.

Document ──forms.py──► JourneyForm ──► Reading.journey(), with everything found wrong in Reading.troubles
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple, TypeVar

from services.journeys.definitions import (
    After,
    AfterEvent,
    Always,
    Arm,
    BranchStep,
    Crossing,
    EventMatch,
    ExitStep,
    Goal,
    HandoffStep,
    Journey,
    Once,
    Reentry,
    SendStep,
    Step,
    Trigger,
    WaitStep,
)
from services.journeys.forms import (
    AfterEventForm,
    AfterForm,
    BranchForm,
    CaseForm,
    ConditionForm,
    EventExitForm,
    ExitForm,
    GoalForm,
    HandoffForm,
    JourneyForm,
    LaterStepForm,
    SendForm,
    StepForm,
    TriggerForm,
    UnknownStepForm,
    WaitForm,
)
from shared.expressions import Expression, ExpressionError, compile_expression
from shared.yaml import Document, Path, Trouble

AT_THE_DOOR = frozenset({"lead", "event", "now"})
"""What a trigger's `where` and `key` can name."""
INSIDE = frozenset({"lead", "entry", "key", "entered_at", "steps", "now"})
"""What conditions within a walk can name."""
AT_AN_EVENT = INSIDE | {"event"}
"""What an exit's and a goal's `where` and `match_key` can name."""

STEP_ID = re.compile("[a-z][a-z0-9_]{0,59}")


T = TypeVar("T")


class Mention(NamedTuple):
    """A name that another part of the playbook must know, and where it stands."""

    name: str
    file: str
    line: int
    column: int

    def trouble(self, message: str) -> Trouble:
        return Trouble(self.file, self.line, self.column, message)


class Reading:
    """Reads one journey; what it finds wrong and what it mentions is collected, so that all troubles are told at once."""

    def __init__(self, document: Document, form: JourneyForm) -> None:
        self.document = document
        self.form = form
        self.troubles: list[Trouble] = []
        self.templates: list[Mention] = []
        self.endpoints: list[Mention] = []
        self.topics: list[Mention] = []
        self.events: list[Mention] = []
        self.histories: set[str] = set()
        self._steps: dict[str, Step] = {}
        self._ids: dict[str, Path] = {}
        self._used: list[tuple[Expression, Path]] = []

    def journey(self) -> Journey:
        """The definition; worth nothing if there are troubles."""
        form = self.form
        first = self._sequence(form.steps, ("steps",), None)
        exits, conditions = self._exits()
        if form.topic is not None:
            self.topics.append(self._mention(form.topic, ("topic",)))
        journey = Journey(
            name=form.journey,
            triggers=tuple(self._triggers()),
            steps=self._steps,
            first=first,
            description=form.description,
            status=form.status,
            category=form.category,
            topic=form.topic,
            priority=form.priority,
            audience=self._expression(form.audience, ("audience",), INSIDE),
            reentry=self._reentry(),
            gap=form.gap,
            on_repeat=form.on_repeat,
            exits=exits,
            conditions=conditions,
            goal=self._goal(form.goal),
            holdout=form.holdout,
            max_duration=form.max_duration,
            hourly=any(condition.speaks_of_time for condition in conditions),
        )
        self._check_references()
        self._check_match_keys(journey)
        return journey

    def _trouble(self, path: Path, message: str, offset: int = 0, *, of_key: bool = False) -> None:
        self.troubles.append(self.document.trouble(path, message, offset, of_key=of_key))

    def _mention(self, name: str, path: Path) -> Mention:
        return Mention(name, self.document.file, *self.document.mark(path))

    def _names(self, names: str | list[str], path: Path) -> frozenset[str]:
        """The names of events, one or a list of them."""
        listed = _each(names, path)
        self.events += [self._mention(name, place) for name, place in listed]
        return frozenset(name for name, _ in listed)

    def _expression(self, source: str | None, path: Path, names: frozenset[str], skipped: int = 0) -> Expression | None:
        """Compile what stands at a path, `skipped` characters after its beginning; None where nothing stands there, or it is wrong."""
        if source is None:
            return None
        try:
            expression = compile_expression(source[skipped:], names)
        except ExpressionError as error:
            self._trouble(path, error.message, error.offset + skipped)
            return None
        self.histories |= expression.event_names
        self._used.append((expression, path))
        return expression

    def _triggers(self) -> list[Trigger]:
        return [self._trigger(form, path) for form, path in _each(self.form.trigger, ("trigger",))]

    def _trigger(self, form: TriggerForm, path: Path) -> Trigger:
        crossing = None
        events = frozenset({"Readiness Changed"})
        if form.readiness is not None:
            crossing = Crossing(form.readiness.rises_to, form.readiness.falls_to)
        elif form.event is not None:
            events = self._names(form.event, (*path, "event"))
        where = self._expression(form.where, (*path, "where"), AT_THE_DOOR)
        return Trigger(events, crossing, where, self._expression(form.key, (*path, "key"), AT_THE_DOOR))

    def _reentry(self) -> Reentry:
        match self.form.reentry:
            case "once":
                return Once()
            case "always":
                return Always()
            case AfterForm(after=after):
                return After(after)
            case AfterEventForm(after_event=name):
                self.histories.add(name)
                self.events.append(self._mention(name, ("reentry", "after_event")))
                return AfterEvent(name)

    def _exits(self) -> tuple[tuple[EventMatch, ...], tuple[Expression, ...]]:
        matches, conditions = [], []
        listed: list[tuple[EventExitForm | ConditionForm, Path]] = _each(self.form.exit_when or [], ("exit_when",))
        for form, path in listed:
            if isinstance(form, ConditionForm):
                conditions.append(self._expression(form.when, (*path, "when"), INSIDE))
            else:
                matches.append(self._match(form, path))
        return tuple(matches), tuple(condition for condition in conditions if condition is not None)

    def _match(self, form: EventExitForm | GoalForm, path: Path) -> EventMatch:
        return EventMatch(
            self._names(form.event, (*path, "event")),
            self._expression(form.where, (*path, "where"), AT_AN_EVENT),
            self._expression(form.match_key, (*path, "match_key"), AT_AN_EVENT),
        )

    def _goal(self, form: GoalForm | None) -> Goal | None:
        return None if form is None else Goal(self._match(form, ("goal",)), form.within, form.exit)

    def _sequence(self, forms: Sequence[StepForm], path: Path, after: str | None) -> str | None:
        """Lay a list of steps flat; its last one leads to `after`. The name of its first."""
        names = [_step_id(form) or ".".join(map(str, (*path, index))) for index, form in enumerate(forms)]
        for index, (form, name) in enumerate(zip(forms, names, strict=True)):
            last = index == len(forms) - 1
            if isinstance(form, ExitForm) and not last:
                self._trouble((*path, index + 1), "no walk comes here: the step before it is an `exit`; remove one of the two")
            self._step(form, name, after if last else names[index + 1], (*path, index))
        return names[0] if names else after

    def _step(self, form: StepForm, name: str, onward: str | None, path: Path) -> None:
        self._check_id(form, path)
        match form:
            case SendForm():
                self.templates.append(self._mention(form.send, (*path, "send")))
                category = form.category or self.form.category
                exits = form.if_unreachable == "exit"
                self._steps[name] = SendStep(name, form.id, onward, form.send, category, form.max_age, exits)
            case WaitForm():
                self._steps[name] = WaitStep(name, form.id, onward, form.wait)
            case BranchForm():
                self._branch(form, name, onward, path)
            case HandoffForm():
                self.endpoints.append(self._mention(form.handoff, (*path, "handoff")))
                self._steps[name] = HandoffStep(name, form.id, onward, form.handoff, self._note(form, path))
            case ExitForm():
                self._steps[name] = ExitStep(name, form.id, form.exit)
            case LaterStepForm() | UnknownStepForm():
                raise AssertionError("its form refuses it")

    def _branch(self, form: BranchForm, name: str, onward: str | None, path: Path) -> None:
        arms: list[Arm] = []
        self._steps[name] = BranchStep(name, form.id, onward, ())  # keeps its place before its arms
        for index, case in enumerate(form.branch):
            place = (*path, "branch", index)
            if arms and arms[-1].condition is None:
                self._trouble(place, "no walk comes here: `else` takes all the rest; put it last")
            if isinstance(case, CaseForm):
                condition = self._expression(case.condition, (*place, "if"), INSIDE) or _NEVER
                arms.append(Arm(str(index + 1), condition, self._sequence(case.do, (*place, "do"), onward)))
            else:
                arms.append(Arm("else", None, self._sequence(case.do, (*place, "else"), onward)))
        self._steps[name] = BranchStep(name, form.id, onward, tuple(arms))

    def _note(self, form: HandoffForm, path: Path) -> str | Expression:
        """A note is literal unless it begins with `=`."""
        if not form.note.startswith("="):
            return form.note
        return self._expression(form.note, (*path, "note"), INSIDE, skipped=1) or ""

    def _check_id(self, form: StepForm, path: Path) -> None:
        step_id, place = _step_id(form), (*path, "id")
        if step_id is None:
            return
        if not STEP_ID.fullmatch(step_id):
            self._trouble(place, f"`{step_id[:60]}` cannot be an id: write a small letter, then small letters, digits or `_`, at most 60")
        elif step_id in self._ids:
            first = self.document.mark(self._ids[step_id])
            self._trouble(place, f"the id `{step_id}` stands twice, first on line {first.line}: give one of the steps another")
        self._ids.setdefault(step_id, place)

    def _check_references(self) -> None:
        """`steps.ID` names a step of this journey."""
        for expression, path in self._used:
            for step_id in sorted(expression.step_ids - set(self._ids)):
                self._trouble(path, f"no step has the id `{step_id}`{self._nearest(step_id)}")

    def _nearest(self, step_id: str) -> str:
        near = get_close_matches(step_id, self._ids, n=1)
        if near:
            return f", did you mean `{near[0]}`?"
        return f": write `id: {step_id}` into the step that is meant"

    def _check_match_keys(self, journey: Journey) -> None:
        """A `match_key` is compared with the key of the trigger."""
        if any(trigger.key for trigger in journey.triggers):
            return
        for path in (path for _, path in self._used if path[-1] == "match_key"):
            self._trouble(path, "there is no key to compare with: give the trigger a `key`, or remove the `match_key`", of_key=True)


def _each(found: T | list[T], path: Path) -> list[tuple[T, Path]]:
    """One thing, or a list of them, each with its path."""
    return [(one, (*path, index)) for index, one in enumerate(found)] if isinstance(found, list) else [(found, path)]


def _step_id(form: StepForm) -> str | None:
    return None if isinstance(form, LaterStepForm | UnknownStepForm) else form.id


_NEVER = compile_expression("false", frozenset())
"""Stands for a condition that could not be read: the trouble is told already."""
