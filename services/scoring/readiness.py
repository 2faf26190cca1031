"""How ready a lead is, from 1 to 10, and why: pure arithmetic over what its events have earned.

event ──fold──► evidence (one small record a rule) ──readiness──► value, points, reasons

The same events in any order, cut into any parts, give the same points: a record holds a maximum, a count and whole numbers, which
join alike whatever the order. Floating point begins only when a record is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import floor, log, log2
from typing import Literal, NamedTuple

from shared.durations import format_duration
from shared.expressions import Expression
from shared.wire import Event, Lead, Reason

LOWEST, HIGHEST = 1, 10
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE = 1 << 34
"""The weight of an event at the beginning of a half-life: so fine that it vanishes in rounding, so small that 64 bits hold 10^8 events."""
HALF_LIVES_KEPT = 64
"""What is older than the newest by more half-lives weighs less than any rounding, and is dropped."""
MICRO = 1_000_000
HALF_A_MICRO = 0.5 / MICRO
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an event is worth: a level that the points reach (`at_least`), or points on top (`add`), together at most `most` in size."""

    id: str
    kind: Literal["at_least", "add"]
    points: float
    events: frozenset[str]
    when: Expression | None = None
    most: float | None = None
    half_life: timedelta | None = None
    text: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        """`key` names its evidence: weights belong to one half-life, so under another the rule starts anew."""
        weighed = f"/{format_duration(self.half_life)}" if self.kind == "add" and self.half_life else ""
        object.__setattr__(self, "key", self.id + weighed)


@dataclass(frozen=True, slots=True)
class Fit:
    """What a trait, a tag or a consent is worth on top. It does not fade."""

    id: str
    when: Expression
    points: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """The whole of readiness.yaml. Without `hot` nobody becomes hot; a rule without a half-life does not fade."""

    rules: tuple[Rule, ...] = ()
    fit: tuple[Fit, ...] = ()
    hot: float | None = None
    rearm_below: float | None = None
    hold: timedelta = timedelta(0)
    by_event: Mapping[str, tuple[Rule, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {name for rule in self.rules for name in rule.events}
        object.__setattr__(self, "by_event", {name: tuple(rule for rule in self.rules if name in rule.events) for name in names})


class Evidence(NamedTuple):
    """What a lead's events have earned under one rule.

    `weights` is there for an `add` that fades: by the number of the half-life since 1970 in which events lie, the sum of 2^(how far
    in they lie) in parts of ONE. Whole numbers, so that no order of adding shows in the sum.
    """

    at: datetime  # the newest event's
    times: int
    weights: dict[int, int]


class Readiness(NamedTuple):
    """`points` are rounded to 1e-6 and are the sum of the reasons, largest first; `value` is points rounded half up, held to 1…10.

    Fading alone does not change the value before `stands_until`; None: never.
    """

    value: int
    points: float
    reasons: list[Reason]
    stands_until: datetime | None


def earned_at(event: Event) -> datetime:
    """When an event counts: at its own time; one dated in the future, when it was received."""
    return event.at if event.at <= event.received_at else event.received_at


def fold(evidence: Mapping[str, Evidence], rules: Rules, event: Event) -> Mapping[str, Evidence]:
    """The evidence with one more event in it. The caller sees to it that no event is folded twice."""
    matching = rules.by_event.get(event.name)
    if not matching:
        return evidence
    scope = {"event": {"name": event.name, "properties": event.properties, "context": event.context, "at": event.at}}
    learned = dict(evidence)
    for rule in matching:
        if rule.when is None or rule.when.truth(scope):
            _join(learned, rule.key, _record(rule, earned_at(event)))
    return learned


def merge(one: Mapping[str, Evidence], other: Mapping[str, Evidence]) -> Mapping[str, Evidence]:
    """The evidence of two leads that are one person: as if all events had been folded into one."""
    merged = dict(one)
    for key, record in other.items():
        _join(merged, key, record)
    return merged


def readiness(evidence: Mapping[str, Evidence], rules: Rules, lead: Lead, now: datetime) -> Readiness:
    """What the evidence is worth at `now`; of `lead` fit rules see traits, tags and consent.

    Evidence of rules that are no longer there counts for nothing; a new rule has none yet and starts from now.
    """
    lines = _standing(evidence, rules, now)
    if rules.fit:
        lines += [_Line(fit.id, "fit", fit.points, fit.text) for fit in rules.fit if fit.when.truth({"lead": lead})]
    total = sum([line.points for line in lines])
    points = floor(total * MICRO + 0.5)
    value = _value(points)
    pause = _pause(lines, total, value, now)
    return Readiness(value, points / MICRO, _reasons(lines, points), None if pause is None else now + pause)


def is_hot(rules: Rules, before: Lead, value: int) -> bool:
    """Whether a lead is hot now: it becomes so when its readiness rises to `hot` or above, and stays so until below `rearm_below`.

    Rising is what makes it hot: whom changed rules left above `hot` is not hot by standing there.
    """
    if rules.hot is None:
        return False
    if before.hot:
        return value >= (rules.hot if rules.rearm_below is None else rules.rearm_below)
    return value >= rules.hot and value > before.readiness


def next_change_at(evidence: Mapping[str, Evidence], rules: Rules, lead: Lead, now: datetime) -> datetime | None:
    """When fading alone first changes the value, to the second; None if never. Dearer than `stands_until`, which it narrows down.

    Never later than the change. Where gains and losses nearly cancel each other out it may be too early: then ask again.
    """
    found = readiness(evidence, rules, lead, now)
    value, moment = found.value, now
    for _ in range(64):
        if found.value != value or found.stands_until is None:
            break
        moment = max(found.stands_until, moment + SECOND)
        found = readiness(evidence, rules, lead, moment)
    return moment if found.value != value or found.stands_until is not None else None


class _Line(NamedTuple):
    """One summand of the points at a moment."""

    id: str
    kind: str
    points: float
    text: str
    record: Evidence | None = None
    half_life: timedelta | None = None  # None: it does not fade
    steady_until: datetime | None = None  # it begins to fade only then


def _record(rule: Rule, at: datetime) -> Evidence:
    if rule.kind == "at_least" or rule.half_life is None:
        return Evidence(at, 1, {})
    number, rest = divmod(at - EPOCH, rule.half_life)
    return Evidence(at, 1, {number: round(2 ** (rest / rule.half_life) * ONE)})


def _join(evidence: dict[str, Evidence], key: str, record: Evidence) -> None:
    known = evidence.get(key)
    if known is None:
        evidence[key] = record
        return
    weights = record.weights
    if known.weights:
        weights = dict(known.weights)
        for number, weight in record.weights.items():
            weights[number] = weights.get(number, 0) + weight
        if len(weights) > 1:
            oldest = max(weights) - HALF_LIVES_KEPT
            weights = {number: weights[number] for number in sorted(weights) if number >= oldest}
    evidence[key] = Evidence(record.at if record.at > known.at else known.at, known.times + record.times, weights)


def _standing(evidence: Mapping[str, Evidence], rules: Rules, now: datetime) -> list[_Line]:
    """What the rules give now. Of those that say `at_least` only the highest counts; of two level ones the first in the file."""
    lines = []
    highest: _Line | None = None
    for rule in rules.rules:
        record = evidence.get(rule.key)
        if record is None:
            continue
        if rule.kind == "add":
            lines.append(_sum(rule, record, now))
        else:
            level = _level(rule, record, rules.hold, now)
            highest = level if highest is None or level.points > highest.points else highest
    return lines if highest is None else [highest, *lines]


def _level(rule: Rule, record: Evidence, hold: timedelta, now: datetime) -> _Line:
    if rule.half_life is None:
        return _Line(rule.id, rule.kind, rule.points, rule.text, record)
    fades_from = record.at + hold
    if now < fades_from:
        return _Line(rule.id, rule.kind, rule.points, rule.text, record, rule.half_life, fades_from)
    return _Line(rule.id, rule.kind, rule.points * 2 ** -((now - fades_from) / rule.half_life), rule.text, record, rule.half_life)


def _sum(rule: Rule, record: Evidence, now: datetime) -> _Line:
    points = rule.points * (record.times if rule.half_life is None else _weight(record.weights, rule.half_life, now))
    if rule.most is None or abs(points) <= rule.most:
        return _Line(rule.id, rule.kind, points, rule.text, record, rule.half_life)
    held = rule.most if points > 0 else -rule.most
    if rule.half_life is None:
        return _Line(rule.id, rule.kind, held, rule.text, record)
    return _Line(rule.id, rule.kind, held, rule.text, record, rule.half_life, now + rule.half_life * log2(points / held))


def _weight(weights: Mapping[int, int], half_life: timedelta, now: datetime) -> float:
    """How many fresh events the faded ones amount to."""
    number, rest = divmod(now - EPOCH, half_life)
    return sum([weight * 2.0 ** min(at - number, 0) for at, weight in weights.items()]) / ONE * 2 ** -(rest / half_life)


def _value(points: int) -> int:
    return max(LOWEST, min(HIGHEST, (points + MICRO // 2) // MICRO))


def _reasons(lines: Sequence[_Line], points: int) -> list[Reason]:
    """The largest line also bears what rounding each of them left over, so that they add up to the points."""
    rounded = [floor(line.points * MICRO + 0.5) for line in lines]
    if rest := points - sum(rounded):
        rounded[max(range(len(lines)), key=lambda index: abs(rounded[index]))] += rest
    reasons = [_reason(line, share / MICRO) for line, share in zip(lines, rounded, strict=True) if share]
    if len(reasons) > 1:
        reasons.sort(key=lambda reason: -reason.points)
    return reasons


def _reason(line: _Line, points: float) -> Reason:
    if line.record is None:
        return Reason(line.id, line.kind, points, text=line.text)
    return Reason(line.id, line.kind, points, line.record.times, line.record.at, line.text)


def _pause(lines: Sequence[_Line], total: float, value: int, now: datetime) -> timedelta | None:
    """How long the value is sure to stand; None for ever. Exact where one line alone fades."""
    pauses: list[timedelta] = []
    falling: list[_Line] = []
    rising: list[_Line] = []
    for line in lines:
        if line.steady_until is not None:
            pauses.append(line.steady_until - now)
        elif line.half_life is not None:
            (falling if line.points > 0 else rising).append(line)
    if falling and value > LOWEST:
        pauses += _until_lost(falling, total - (value - 0.5) + HALF_A_MICRO)
    if rising and value < HIGHEST:
        pauses += _until_lost(rising, (value + 0.5) - total - HALF_A_MICRO)
    return min(pauses, default=None)


def _until_lost(lines: Sequence[_Line], amount: float) -> list[timedelta]:
    """How long these lines need at least to lose `amount` of their size together; empty if they never will.

    The better of two bounds: as if all faded as fast as the fastest, and as if none slowed down.
    """
    size, amount = sum([abs(line.points) for line in lines]), max(amount, 0.0)
    if size <= amount:
        return []
    fastest = min(line.half_life for line in lines if line.half_life is not None)
    pause = fastest * log2(size / (size - amount))
    if len(lines) == 1:
        return [pause]
    speed = sum(abs(line.points) / line.half_life.total_seconds() for line in lines if line.half_life is not None) * log(2)
    return [max(pause, timedelta(seconds=amount / speed))]
