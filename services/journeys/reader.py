"""One journey file, from its keys to the frozen definition: compiles every expression, and finds what cannot be.

Document ──journey_forms.py──► JourneyForm ──► Reading.journey(), with everything found wrong in Reading.notes
"""

from zoneinfo import ZoneInfo

from services.journeys.definitions import After, AfterEvent, Always, Crossing, Goal, Journey, Once, Reentry, Trigger
from services.journeys.forms import ConditionForm, EventForm
from services.journeys.journey_forms import AfterEventForm, AfterForm, GoalForm, JourneyForm, TriggerForm
from services.journeys.notes import AT_THE_DOOR, INSIDE, Notes, each
from services.journeys.step_reader import StepReader
from services.journeys.steps import EventMatch, WaitForStep
from shared.expressions import Expression
from shared.yaml import Document, Path


class Reading:
    """Reads one journey; what it finds wrong and what it mentions is noted, so that all troubles are told at once."""

    def __init__(self, document: Document, form: JourneyForm) -> None:
        self.notes = Notes(document)
        self.form = form
        self._steps = StepReader(self.notes, form.category)

    def journey(self, zone: ZoneInfo) -> Journey:
        """The definition; worth nothing if there are troubles."""
        form = self.form
        first = self._steps.sequence(form.steps, ("steps",), None)
        steps = self._steps.steps
        exits, conditions = self._exits()
        if form.topic is not None:
            self.notes.topics.append(self.notes.mention(form.topic, ("topic",)))
        journey = Journey(
            name=form.journey,
            triggers=tuple(self._trigger(one, path) for one, path in each(form.trigger, ("trigger",))),
            steps=steps,
            first=first,
            description=form.description,
            status=form.status,
            category=form.category,
            topic=form.topic,
            priority=form.priority,
            audience=self.notes.expression(form.audience, ("audience",), INSIDE),
            reentry=self._reentry(),
            gap=form.gap,
            on_repeat=form.on_repeat,
            exits=exits,
            conditions=conditions,
            goal=self._goal(form.goal),
            holdout=form.holdout,
            max_duration=form.max_duration,
            hourly=any(condition.speaks_of_time for condition in conditions),
            zone=zone,
            awaited=frozenset(name for step in steps.values() if isinstance(step, WaitForStep) for name in step.names),
        )
        self._steps.check_references()
        self._check_match_keys(journey)
        self._check_ends(journey)
        return journey

    def _trigger(self, form: TriggerForm, path: Path) -> Trigger:
        crossing = None
        events: frozenset[str] = frozenset()
        if form.readiness is not None:
            crossing = Crossing(form.readiness.rises_to, form.readiness.falls_to)
            events = frozenset({"Readiness Changed"})
        elif form.sleeping:
            events = frozenset({"Lead Asleep"})
        elif form.event is not None:
            events = self.notes.names(form.event, (*path, "event"))
        where = self.notes.expression(form.where, (*path, "where"), AT_THE_DOOR)
        key = self.notes.expression(form.key, (*path, "key"), AT_THE_DOOR)
        return Trigger(events, crossing, form.api is True, where, key)

    def _reentry(self) -> Reentry:
        match self.form.reentry:
            case "once":
                return Once()
            case "always":
                return Always()
            case AfterForm(after=after):
                return After(after)
            case AfterEventForm(after_event=name):
                self.notes.histories.add(name)
                self.notes.events.append(self.notes.mention(name, ("reentry", "after_event")))
                return AfterEvent(name)

    def _exits(self) -> tuple[tuple[EventMatch, ...], tuple[Expression, ...]]:
        matches, conditions = [], []
        listed: list[tuple[EventForm | ConditionForm, Path]] = each(self.form.exit_when or [], ("exit_when",))
        for form, path in listed:
            if isinstance(form, ConditionForm):
                conditions.append(self.notes.expression(form.when, (*path, "when"), INSIDE))
            else:
                matches.append(self.notes.match(form, path))
        return tuple(matches), tuple(condition for condition in conditions if condition is not None)

    def _goal(self, form: GoalForm | None) -> Goal | None:
        return None if form is None else Goal(self.notes.match(form, ("goal",)), form.within, form.exit)

    def _check_match_keys(self, journey: Journey) -> None:
        """A `match_key` is compared with the key of the trigger."""
        if any(trigger.key for trigger in journey.triggers):
            return
        for path in (path for _, path in self.notes.used if path[-1] == "match_key"):
            self.notes.trouble(path, "there is no key to compare with: give the trigger a `key`, or remove the `match_key`", of_key=True)

    def _check_ends(self, journey: Journey) -> None:
        """What a `wait_for` waits for may never happen (rule 4)."""
        if journey.max_duration is not None:
            return
        for path in self._steps.lasts_for_ever:
            self.notes.trouble(
                path, "this may wait for ever: write a `timeout` beside it, or give the journey a `max_duration`", of_key=True
            )
