"""Journeys' part of the playbook: every `journeys/*.yaml`, to frozen definitions, with every mistake told at once.

published files ──load──► Journeys ──► catalogue.py; `dripline check` compares what they mention with the other parts
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.journeys.definitions import After, BranchStep, ExitStep, HandoffStep, Journey, Once, SendStep, WaitStep
from services.journeys.engine import BUILT_IN_EXITS
from services.journeys.forms import JourneyForm
from services.journeys.reader import Mention, Reading
from shared.yaml import PlaybookError, Trouble, read, shape

PLAYBOOK_KEYS = frozenset({"late_after"})
"""The keys of playbook.yaml that are journeys' (scoring, which marks the late, reads `late_after`)."""

FOLDER = "journeys"
BY_THEMSELVES = frozenset({"Email Sent", "Email Delivered", "Email Suppressed", "Email Failed", "Email In Doubt", "Email Bounced"})
"""What a send step makes happen without anybody doing anything."""


@dataclass(frozen=True, slots=True)
class Journeys:
    """All journeys of a playbook. `mentions` of templates, endpoints, topics and events are for `dripline check`."""

    by_name: Mapping[str, Journey]
    by_event: Mapping[str, tuple[Journey, ...]]  # by the names their triggers have, the most urgent first
    watched: frozenset[str]  # names of events that may end a walk: kept a while, for they may overtake its trigger
    histories: frozenset[str]  # names whose history conditions ask for: scoring must keep them
    templates: tuple[Mention, ...] = ()
    endpoints: tuple[Mention, ...] = ()
    topics: tuple[Mention, ...] = ()
    events: tuple[Mention, ...] = ()


def load(files: Mapping[str, bytes], environ: Mapping[str, str]) -> Journeys:
    """Read every journey of a playbook. Raises PlaybookError with all that is wrong, in the order of the files."""
    troubles: list[Trouble] = []
    readings, journeys = [], []
    for file in sorted(files):
        try:
            found = _read(file, files[file])
        except PlaybookError as error:
            troubles += error.troubles
            continue
        if found is not None:
            reading, journey = found
            readings.append(reading)
            journeys.append(journey)
            troubles += reading.troubles
    if troubles:
        raise PlaybookError(sorted(troubles, key=lambda trouble: (trouble.file, trouble.line, trouble.column)))
    return _collected(journeys, readings)


def _read(file: str, text: bytes) -> tuple[Reading, Journey] | None:
    """One file of the playbook; None where it is no journey."""
    path = PurePosixPath(file)
    if path.parts[0] != FOLDER or path.suffix not in (".yaml", ".yml"):
        return None
    if path.suffix == ".yml" or len(path.parts) != 2:
        raise PlaybookError([Trouble(file, 1, 1, f"journeys lie in {FOLDER}/NAME.yaml: rename the file to {FOLDER}/{path.stem}.yaml")])
    document = read(text, file)
    reading = Reading(document, shape(document, JourneyForm))
    journey = reading.journey()
    if journey.name != path.stem:
        message = f"the journey is called `{journey.name}` and its file `{path.name}`: write `journey: {path.stem}`, or rename the file"
        reading.troubles.append(document.trouble(("journey",), message))
    if _circles(journey):
        message = "a circle without a wait: the journey's own mail begins it again at once; put a wait before the mail, or a `where` here"
        reading.troubles.append(document.trouble(("trigger",), message, of_key=True))
    return reading, journey


def _collected(journeys: Iterable[Journey], readings: Iterable[Reading]) -> Journeys:
    by_event: dict[str, list[Journey]] = defaultdict(list)
    watched: set[str] = set()
    for journey in sorted(journeys, key=lambda journey: journey.urgency):
        for name in {name for trigger in journey.triggers for name in trigger.events}:
            by_event[name].append(journey)
        watched |= watched_by(journey)
    return Journeys(
        by_name={journey.name: journey for journey in journeys},
        by_event={name: tuple(found) for name, found in by_event.items()},
        watched=frozenset(watched),
        histories=frozenset(name for reading in readings for name in reading.histories),
        templates=tuple(mention for reading in readings for mention in reading.templates),
        endpoints=tuple(mention for reading in readings for mention in reading.endpoints),
        topics=tuple(mention for reading in readings for mention in reading.topics),
        events=tuple(mention for reading in readings for mention in reading.events),
    )


def watched_by(journey: Journey) -> frozenset[str]:
    """The names of events that may end a walk through this journey or convert it."""
    named = {name for match in journey.exits for name in match.events}
    goal = journey.goal.match.events if journey.goal else frozenset()
    return frozenset(named) | goal | (BUILT_IN_EXITS if journey.category == "marketing" else frozenset())


def _circles(journey: Journey) -> bool:
    """Whether its own mails begin it again and again. A `where` gives the benefit of the doubt: rule 14 stops it at run time."""
    endless = not isinstance(journey.reentry, Once | After) and journey.gap is None
    begun_by_mail = any(trigger.events & BY_THEMSELVES and trigger.where is None for trigger in journey.triggers)
    return endless and begun_by_mail and _mails_at_once(journey)


def _mails_at_once(journey: Journey) -> bool:
    """Whether a walk can come to a mail without waiting first."""
    ahead, seen = [journey.first], set[str]()
    while ahead:
        name = ahead.pop()
        if name is None or name in seen:
            continue
        seen.add(name)
        match journey.steps[name]:
            case SendStep():
                return True
            case BranchStep(arms=arms, next=onward):
                ahead += [onward, *(arm.to for arm in arms)]
            case HandoffStep(next=onward):
                ahead.append(onward)
            case WaitStep() | ExitStep():
                pass
    return False
