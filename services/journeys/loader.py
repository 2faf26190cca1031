"""Journeys' part of the playbook: every `journeys/*.yaml`, to frozen definitions, with every mistake told at once.

published files ──load──► Journeys ──► catalogue.py; `dripline check` compares what they mention with the other parts
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo

from services.journeys.circles import Moves, circles
from services.journeys.definitions import Journey
from services.journeys.engine import BUILT_IN_EXITS
from services.journeys.journey_forms import JourneyForm
from services.journeys.localtime import UTC_ZONE, find_zone
from services.journeys.notes import Mention
from services.journeys.reader import Reading
from shared.yaml import PlaybookError, Trouble, read, shape

PLAYBOOK_KEYS = frozenset({"late_after"})
"""The keys of playbook.yaml that are journeys' (scoring, which marks the late, reads `late_after`)."""

FOLDER = "journeys"


@dataclass(frozen=True, slots=True)
class Journeys:
    """All journeys of a playbook. What they mention of other parts is for `dripline check`."""

    by_name: Mapping[str, Journey]
    by_event: Mapping[str, tuple[Journey, ...]]  # by the names their triggers have, the most urgent first
    watched: frozenset[str]  # names of events that may end or wake a walk: kept a while, for they may overtake what they mean something to
    histories: frozenset[str]  # names whose history conditions ask for: scoring must keep them
    templates: tuple[Mention, ...] = ()
    endpoints: tuple[Mention, ...] = ()
    topics: tuple[Mention, ...] = ()
    events: tuple[Mention, ...] = ()
    working: tuple[Mention, ...] = ()  # where hours are counted only while sales works
    triggers: tuple[Mention, ...] = ()  # where each journey, by its name, says what starts it

    def round_trips(self, moves: Moves) -> Iterator[Trouble]:
        """The circles among the journeys, where `moves` says which updates readiness goes by."""
        places = {mention.name: mention for mention in self.triggers}
        for first, *others in circles(self.by_name.values(), moves):
            yield places[first.name].trouble(_circle(first, others))


def load(files: Mapping[str, bytes], environ: Mapping[str, str]) -> Journeys:
    """Read every journey of a playbook. Raises PlaybookError with all that is wrong, in the order of the files."""
    journeys, troubles = survey(files, environ)
    if troubles:
        raise PlaybookError(troubles)
    return journeys


def survey(files: Mapping[str, bytes], environ: Mapping[str, str]) -> tuple[Journeys, list[Trouble]]:
    """The journeys that can be read, to compare what they mention, and all that is wrong, in the order of the files."""
    troubles: list[Trouble] = []
    readings, journeys = [], []
    zone = _zone(files, environ)
    for file in sorted(files):
        try:
            found = _read(file, files[file], zone)
        except PlaybookError as error:
            troubles += error.troubles
            continue
        if found is not None:
            reading, journey = found
            readings.append(reading)
            journeys.append(journey)
            troubles += reading.notes.troubles
    collected = _collected(journeys, readings)
    troubles += collected.round_trips(lambda _: False)
    return collected, sorted(troubles, key=lambda trouble: (trouble.file, trouble.line, trouble.column))


def _zone(files: Mapping[str, bytes], environ: Mapping[str, str]) -> ZoneInfo:
    """The zone of leads of whom we know none; what is wrong with playbook.yaml its owners say."""
    try:
        said = read(files["playbook.yaml"], "playbook.yaml").with_environment(environ, ("mail",)).value
    except (KeyError, PlaybookError):
        return UTC_ZONE
    mail = said.get("mail") if isinstance(said, dict) else None
    return find_zone(mail.get("timezone") if isinstance(mail, dict) else None) or UTC_ZONE


def _read(file: str, text: bytes, zone: ZoneInfo) -> tuple[Reading, Journey] | None:
    """One file of the playbook; None where it is no journey."""
    path = PurePosixPath(file)
    if path.parts[0] != FOLDER or path.suffix not in (".yaml", ".yml"):
        return None
    if path.suffix == ".yml" or len(path.parts) != 2:
        raise PlaybookError([Trouble(file, 1, 1, f"journeys lie in {FOLDER}/NAME.yaml: rename the file to {FOLDER}/{path.stem}.yaml")])
    document = read(text, file)
    reading = Reading(document, shape(document, JourneyForm))
    journey = reading.journey(zone)
    if journey.name != path.stem:
        message = f"the journey is called `{journey.name}` and its file `{path.name}`: write `journey: {path.stem}`, or rename the file"
        reading.notes.trouble(("journey",), message)
    return reading, journey


def _circle(first: Journey, others: Iterable[Journey]) -> str:
    way = "".join(f" begins `{other.name}`, which" for other in others)
    return (
        f"a circle without a wait: what `{first.name}` makes happen{way} begins it again at once; "
        "put a wait of an hour before that step, or a `where` here"
    )


def _collected(journeys: Sequence[Journey], readings: Sequence[Reading]) -> Journeys:
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
        histories=frozenset(name for reading in readings for name in reading.notes.histories),
        templates=tuple(mention for reading in readings for mention in reading.notes.templates),
        endpoints=tuple(mention for reading in readings for mention in reading.notes.endpoints),
        topics=tuple(mention for reading in readings for mention in reading.notes.topics),
        events=tuple(mention for reading in readings for mention in reading.notes.events),
        working=tuple(mention for reading in readings for mention in reading.notes.working),
        triggers=tuple(_trigger_of(journey, reading) for journey, reading in zip(journeys, readings, strict=True)),
    )


def _trigger_of(journey: Journey, reading: Reading) -> Mention:
    document = reading.notes.document
    return Mention(journey.name, document.file, *document.mark(("trigger",), of_key=True))


def watched_by(journey: Journey) -> frozenset[str]:
    """The names of events that may end a walk through this journey, convert it or wake it."""
    named = {name for match in journey.exits for name in match.events}
    goal = journey.goal.match.events if journey.goal else frozenset()
    return frozenset(named) | goal | journey.awaited | (BUILT_IN_EXITS if journey.category == "marketing" else frozenset())
