"""All that journeys holds of one lead while a batch is handled, and what an activity does to it. Pure; in memory.

store.py loads dossiers ──► react ──► store.py saves what changed; the effects are published
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from services.journeys.definitions import Journey
from services.journeys.engine import Absorbed, Learned, Merged, Stimulus, advance
from services.journeys.enrollment import Effect, Enrollment, KnownLead, Remembered
from services.journeys.entering import Call, Entered, Past, Refused, enter, find_call
from services.journeys.matching import DEEPEST
from shared.wire import Activity, Event

FindJourney = Callable[[str, str], Journey | None]
"""The journey of a version and a name, with the status it has now; None where that version can no longer be read."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A journey was not begun or woken, for its event is our own doing too many times over (rule 14)."""

    journey: str


@dataclass(slots=True)
class Handled:
    """Which of a lead's activities were handled: all up to `highest` but those in the gaps."""

    highest: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def take(self, sequence: int) -> bool:
        """Count this activity as handled; False where it was before."""
        if sequence > self.highest:
            if sequence > self.highest + 1:
                self.gaps.append((self.highest + 1, sequence - 1))
            self.highest = sequence
            return True
        for index, (low, high) in enumerate(self.gaps):
            if low <= sequence <= high:
                self.gaps[index : index + 1] = [part for part in ((low, sequence - 1), (sequence + 1, high)) if part[0] <= part[1]]
                return True
        return False


@dataclass(slots=True)
class Dossier:
    """One lead. `open` holds the enrollments that walk or still count a goal, `entered` when each journey and key was last entered."""

    lead_id: str
    known: KnownLead | None = None
    handled: Handled = field(default_factory=Handled)
    merged_into: str | None = None
    open: dict[str, Enrollment] = field(default_factory=dict)
    saved: dict[str, Enrollment | None] = field(default_factory=dict)  # each as it is in the table; None: not there
    entered: dict[str, dict[str | None, datetime]] = field(default_factory=dict)
    recent: list[Remembered] = field(default_factory=list)
    fresh: list[Remembered] = field(default_factory=list)  # of the recent ones, those not in the table yet
    changed: set[str] = field(default_factory=set)
    touched: bool = False  # the lead itself changed, or what was handled of it
    newly_merged: bool = False

    def see(self, sequence: int, lead: bytes) -> bool:
        """Take note of an activity of this very lead, and of the lead as it left it; False where it was handled before."""
        if not self.handled.take(sequence):
            return False
        self.touched = True
        if sequence == self.handled.highest:
            self.known = KnownLead(lead, sequence)
        return True

    def remember(self, event: Event, sequence: int, *, late: bool = False) -> None:
        """Keep an event that an exit, a goal or a `wait_for` names: what it means something to may begin after it."""
        remembered = Remembered(event, sequence, late)
        self.recent.append(remembered)
        self.fresh.append(remembered)

    def keep(self, enrollment: Enrollment) -> None:
        """Hold an enrollment as it is now."""
        if self.open.get(enrollment.id) == enrollment:
            return
        self.open[enrollment.id] = enrollment
        self.changed.add(enrollment.id)
        self.saved.setdefault(enrollment.id, None)
        keys = self.entered.setdefault(enrollment.journey, {})
        keys[enrollment.key] = max(enrollment.entry.at, keys.get(enrollment.key, enrollment.entry.at))

    def move(self, journey: Journey, enrollment: Enrollment, stimulus: Stimulus, now: datetime) -> tuple[Effect, ...]:
        """Advance one enrollment of this lead."""
        assert self.known is not None
        moved, effects = advance(journey, enrollment, stimulus, self.known, now, self.recent)
        self.keep(moved)
        self._believe(effects)
        return effects

    def admit(self, journey: Journey, call: Call, now: datetime) -> Entered | Refused:
        """Let the lead into a journey if it may enter; needs its past and its recent events."""
        assert self.known is not None
        outcome = enter(journey, call, self.known, self._past(journey.name), self.recent, now)
        if isinstance(outcome, Entered):
            self.keep(outcome.enrollment)
            self._believe(outcome.effects)
        return outcome

    def _believe(self, effects: Iterable[Effect]) -> None:
        """What our own updates say of the lead holds here at once; scoring tells it to all with its next activity."""
        for effect in effects:
            if isinstance(effect, Event) and self.known is not None:
                self.known = self.known.told(effect)
                self.touched = True

    def _past(self, journey: str) -> Past:
        inside = {enrollment.key for enrollment in self.open.values() if enrollment.active and enrollment.journey == journey}
        return Past(self.entered.get(journey, {}), inside)


def react(dossier: Dossier, activity: Activity, find: FindJourney, starters: Iterable[Journey], now: datetime) -> Iterator[Effect | Loop]:
    """What an activity does to the walks of its lead, then which walks it begins (rule 1). `starters` have a trigger of its name."""
    for enrollment in list(dossier.open.values()):
        if activity.event.depth > DEEPEST and _awaits(enrollment, activity, find):
            yield Loop(enrollment.journey)
        yield from _move(dossier, enrollment, activity, find, now)
    if activity.late or dossier.known is None:
        return
    for journey in starters:
        call = find_call(journey, activity, dossier.known.lead, now)
        if not isinstance(call, Call):
            continue
        if call.depth > DEEPEST:
            yield Loop(journey.name)
            continue
        outcome = dossier.admit(journey, call, now)
        if isinstance(outcome, Entered):
            yield from outcome.effects


def merge(survivor: Dossier, other: Dossier, find: FindJourney, now: datetime) -> Iterator[Effect]:
    """Make `other` part of `survivor`: what either did ends the other's walks; of two left with one journey and key the earlier stays."""
    other.merged_into = survivor.lead_id
    other.touched = other.newly_merged = True
    learned = {key: Learned(list(other.recent)) for key in survivor.open}
    learned |= {key: Learned(list(survivor.recent)) for key in other.open}
    _move_history(survivor, other)
    moved = _move_walks(survivor, other)
    for key, stimulus in learned.items():
        yield from _move(survivor, survivor.open[key], stimulus, find, now)
    for key in moved:
        rival = _rival(survivor, survivor.open[key])
        if rival is not None:
            yield from _settle_rivals(survivor, rival, survivor.open[key], find, now)


def _move_walks(survivor: Dossier, other: Dossier) -> list[str]:
    """Hand over every walk; answers their ids."""
    moved = list(other.open)
    for enrollment in other.open.values():
        survivor.saved[enrollment.id] = other.saved[enrollment.id]
        survivor.keep(replace(enrollment, lead_id=survivor.lead_id))
    other.open, other.changed = {}, set()
    return moved


def _move_history(survivor: Dossier, other: Dossier) -> None:
    for journey, keys in other.entered.items():
        mine = survivor.entered.setdefault(journey, {})
        for key, at in keys.items():
            mine[key] = max(at, mine.get(key, at))
    survivor.recent += other.recent
    survivor.fresh += other.fresh
    other.recent, other.fresh = [], []


def _rival(dossier: Dossier, enrollment: Enrollment) -> Enrollment | None:
    same = (held for held in dossier.open.values() if (held.journey, held.key) == (enrollment.journey, enrollment.key))
    return next((held for held in same if held.active and enrollment.active and held.id != enrollment.id), None)


def _settle_rivals(dossier: Dossier, one: Enrollment, two: Enrollment, find: FindJourney, now: datetime) -> Iterator[Effect]:
    earlier, later = sorted((one, two), key=lambda enrollment: (enrollment.entered_at, enrollment.id))
    for enrollment, stimulus in ((later, Merged()), (earlier, Absorbed(later))):
        yield from _move(dossier, enrollment, stimulus, find, now)


def _awaits(enrollment: Enrollment, activity: Activity, find: FindJourney) -> bool:
    """Whether the walk stands waiting for something to come, and this name is among what its journey waits for."""
    journey = find(enrollment.version, enrollment.journey)
    return enrollment.awaits is not None and journey is not None and activity.event.name in journey.awaited


def _move(dossier: Dossier, enrollment: Enrollment, stimulus: Stimulus, find: FindJourney, now: datetime) -> tuple[Effect, ...]:
    """Advance an enrollment whose version can be read; any other stands still."""
    journey = find(enrollment.version, enrollment.journey)
    return () if journey is None else dossier.move(journey, enrollment, stimulus, now)
