"""Journeys of every kind of step, put together at random, under random events, wake-ups, answers, pauses and merges: what always holds."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.journeys.definitions import Journey
from services.journeys.enrollment import Effect, Enrollment, Visit, message_id
from services.journeys.localtime import moment_named, next_within
from services.journeys.steps import Lasting, NextClock, Until, WaitForStep, WaitStep, Window
from shared.wire import Event, Send, Withdraw
from tests.builders import a_lead
from tests.unit.journeys.stage import Stage

ZONE = "Europe/Dublin"
NAMES = st.sampled_from(["A", "B", "C"])
DAYS = st.lists(st.sampled_from(["mon", "wed", "sun"]), min_size=1, unique=True)
CONDITIONS = st.sampled_from(
    ["lead.hot", "entry.properties.n > 1", "hours_since(entered_at) > 30", "'t' in lead.tags", "lead.traits.n == 2"]
)
LENGTHS = st.sampled_from(["1m", "1h", "1d", "3d"])
STEP = dict[str, Any]

waits = st.one_of(
    LENGTHS.map(lambda length: {"wait": length}),
    st.tuples(st.sampled_from(["09:00", "01:30"]), DAYS).map(lambda one: {"wait": {"at": one[0], "days": one[1]}}),
    st.tuples(st.sampled_from([["09:00", "17:00"], ["22:00", "06:00"]]), DAYS).map(
        lambda one: {"wait": {"window": {"from": one[0][0], "to": one[0][1], "days": one[1]}}}
    ),
)
plain = st.one_of(
    waits,
    st.just({"send": "mail"}),
    st.just({"handoff": "sales"}),
    CONDITIONS.map(lambda condition: {"send": "mail", "max_age": "2h", "if_unreachable": "exit"}),
    st.just({"update": {"traits": {"n": "=entry.properties.n"}, "tags": {"add": ["t"]}}}),
)


def nested(steps: st.SearchStrategy[list[STEP]]) -> st.SearchStrategy[STEP]:
    """The kinds of steps that hold steps."""
    match = st.one_of(NAMES.map(lambda name: {"event": name}), CONDITIONS.map(lambda when: {"when": when}))
    return st.one_of(
        st.tuples(CONDITIONS, steps, steps).map(lambda one: {"branch": [{"if": one[0], "do": one[1]}, {"else": one[2]}]}),
        st.tuples(st.sampled_from(["entered_at + hours(50)", "entry.at", "lead.traits.n"]), steps, steps).map(
            lambda one: {"wait": {"until": one[0], "offset": "-1d"}, "do": one[1], "if_past": one[2]}
        ),
        st.tuples(match, steps, steps, LENGTHS, NAMES, st.sampled_from(["step", "entry"])).map(
            lambda one: {
                "wait_for": one[0], "do": one[1], "on_timeout": one[2], "timeout": one[3], "reset_on": {"event": one[4]}, "since": one[5],
            }
        ),
        st.tuples(match, steps, match).map(lambda one: {"wait_for": [one[0] | {"do": one[1]}, one[2]]}),
        st.tuples(steps, steps).map(lambda one: {"handoff": "sales", "sla": "4h", "do": one[0], "on_timeout": one[1]}),
    )  # fmt: skip


def lists(steps: st.SearchStrategy[STEP]) -> st.SearchStrategy[list[STEP]]:
    return st.lists(steps, min_size=1, max_size=3)


STEPS = lists(st.recursive(plain, lambda steps: nested(lists(steps)), max_leaves=8))
JOURNEYS = st.tuples(STEPS, st.sampled_from(["ignore", "update", "reset_timer", "restart"]), st.sampled_from(["once", "always"]))
MOVES = st.one_of(
    st.tuples(st.just("event"), NAMES, st.integers(0, 90), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("time"), st.sampled_from(["1m", "59m", "1h", "1d", "3d"])),
    st.tuples(st.just("settle"), st.sampled_from(["Email Sent", "Email Suppressed"])),
    st.tuples(st.just("answer"), st.sampled_from(["Handoff Accepted", "Handoff Rejected", "Handoff Snoozed", "Handoff Expired"])),
    st.tuples(st.just("wake")),
    st.tuples(st.just("pause")),
    st.tuples(st.just("resume")),
    st.tuples(st.just("becomes"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("merge")),
)


class Timed(list[Any]):
    """Effects, each with when it was asked for."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.asked: list[tuple[datetime, Effect]] = []

    def __iadd__(self, effects: Any) -> "Timed":  # type: ignore[misc]
        for effect in effects:
            self.append(effect)
            self.asked.append((self.stage.now, effect))
        return self


def written(journey: tuple[list[STEP], str, str]) -> str:
    steps, on_repeat, reentry = journey
    keys = {
        "trigger": [{"event": "A", "key": "event.properties.k"}, {"event": "B", "key": "event.properties.k"}],
        "max_duration": "60d",
        "exit_when": {"event": "C", "match_key": "event.properties.k", "where": "event.properties.n == 3"},
        "on_repeat": on_repeat,
        "reentry": reentry,
        "steps": steps,
    }
    return "journey: random\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())


def staged(text: str, lead: str = "l1") -> Stage:
    stage = Stage(text, lead=a_lead(id=lead), zone=ZONE)
    stage.effects = Timed(stage)
    return stage


def played(text: str, moves: list[tuple[Any, ...]]) -> Stage:
    stage, others = staged(text), count(2)
    for move in moves:
        play(stage, move, text, others)
        for walk in stage.walks:
            check_standing(walk)
    return stage


def play(stage: Stage, move: tuple[Any, ...], text: str, others: Iterator[int]) -> None:
    match move:
        case ("event", name, minutes, number, late):
            stage.happens(name, ago=f"{minutes}m", late=late and number == 0, n=number, k="k")
        case ("time", duration):
            stage.passes(duration)
        case ("settle", name) if any(one.message is not None for one in stage.walks):
            stage.settles(name)
        case ("answer", name) if any(is_handed_over(stage, one) for one in stage.walks):
            answer(stage, name)
        case ("wake",):
            stage.wake()
        case ("pause",):
            stage.sets_status(random="paused")
        case ("resume",):
            stage.sets_status()
        case ("becomes", number, hot):
            stage.becomes(traits={"n": number}, hot=hot, tags=["t"] if hot else [])
        case ("merge",):
            other = staged(text, f"l{next(others)}")
            other.now = stage.now
            other.happens("A", ago="30m", n=1, k="k")
            stage.effects += other.effects
            stage.happens("Lead Merged")
            stage.merges(other)


def is_handed_over(stage: Stage, walk: Enrollment) -> bool:
    return walk.awaits is not None and not isinstance(journey_of(stage).steps[walk.step or ""], WaitForStep)


def answer(stage: Stage, name: str) -> None:
    walk = next(one for one in stage.walks if is_handed_over(stage, one))
    stage.happens(name, enrollment_id=walk.id, transition=walk.awaits)


def journey_of(stage: Stage) -> Journey:
    return stage.in_force.newest.by_name["random"]


def check_standing(walk: Enrollment) -> None:
    """Who walks stands for one reason, or is held; who has ended stands nowhere."""
    if walk.active:
        assert walk.step is not None
        assert walk.message is None or (walk.due_at is None and walk.awaits is None)
        assert walk.wake_at is not None, "max_duration wakes every walk"
    else:
        assert (walk.wake_at, walk.step, walk.message, walk.due_at, walk.awaits) == (None,) * 5


BUSY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@BUSY
@given(JOURNEYS, st.lists(MOVES, max_size=20))
def test_whatever_the_journey_and_whatever_comes_the_promises_hold(journey, moves):
    stage = played(written(journey), moves)
    check_effects(stage)
    check_no_wait_fires_early(stage, on_repeat=journey[1])
    if journey[1] != "restart":
        visited = Counter((visit.enrollment_id, visit.step) for visit in visits(stage))
        assert all(times == 1 for times in visited.values()), "no step is visited twice"


@BUSY
@given(JOURNEYS, st.lists(MOVES, max_size=15))
def test_every_walk_ends_if_only_mails_and_hand_offs_do(journey, moves):
    stage = played(written(journey), moves)
    stage.sets_status()
    for _ in range(200):
        stage.passes("1d")
        while any(one.message is not None for one in stage.walks):
            stage.settles()
        while any(is_handed_over(stage, one) for one in stage.walks):
            answer(stage, "Handoff Expired")
        if not any(walk.active for walk in stage.walks):
            return
    raise AssertionError("it walks for ever")


@BUSY
@given(JOURNEYS, st.lists(MOVES, max_size=15))
def test_played_again_everything_is_the_same(journey, moves):
    one, two = (played(written(journey), moves) for _ in range(2))
    assert list(one.effects) == list(two.effects)
    assert one.walks == two.walks


def visits(stage: Stage) -> list[Visit]:
    return [effect for effect in stage.effects if isinstance(effect, Visit)]


def check_effects(stage: Stage) -> None:
    """Each message and each update is its own; nothing is asked for before its step was reached; what is taken back was asked for."""
    ids = [effect.id for effect in stage.effects if isinstance(effect, Send | Event)]
    assert len(ids) == len(set(ids))
    sends = {effect.id: effect for effect in stage.effects if isinstance(effect, Send)}
    assert {effect.id for effect in stage.effects if isinstance(effect, Withdraw)} <= sends.keys()
    assert {visit.message_id for visit in visits(stage) if visit.message_id} == sends.keys()
    assert all(send.id == message_id(send.enrollment_id, send.transition) for send in sends.values())
    assert isinstance(stage.effects, Timed)
    for asked_at, effect in stage.effects.asked:
        assert not isinstance(effect, Visit) or effect.at <= asked_at
    transitions = [(visit.enrollment_id, visit.transition) for visit in visits(stage)]
    assert len(transitions) == len(set(transitions))


def check_no_wait_fires_early(stage: Stage, on_repeat: str) -> None:
    """The step after a wait was reached when the wait was over, or later."""
    steps, zone = journey_of(stage).steps, ZoneInfo(ZONE)
    for walk in stage.walks:
        own = [visit for visit in visits(stage) if visit.enrollment_id == walk.id]
        for earlier, following in pairwise(own):
            step = steps[earlier.step]
            if on_repeat == "restart" and following.step == journey_of(stage).first:
                continue
            if isinstance(step, WaitStep):
                check_wait(step, earlier.at, following, zone)
                if isinstance(step.wait, Until) and on_repeat != "restart" and following.step == step.do != step.next:
                    check_until(step.wait, walk, following, zone)
            elif isinstance(step, WaitForStep) and step.timeout and following.step == step.on_timeout != step.next:
                assert following.at >= earlier.at + step.timeout


def check_wait(step: WaitStep, since: datetime, following: Visit, zone: ZoneInfo) -> None:
    wait = step.wait
    match wait:
        case Lasting():
            assert following.at >= since + wait.duration
        case NextClock():
            local = following.at.astimezone(zone)
            assert following.at > since
            assert local.weekday() in wait.days
            assert local.time() >= wait.clock
        case Window():
            assert next_within(following.at, wait.opens, wait.closes, wait.days, zone) == following.at
        case Until():
            assert following.at >= since


def check_until(wait: Until, walk: Enrollment, following: Visit, zone: ZoneInfo) -> None:
    if wait.moment.source.startswith("entered_at"):
        moment = moment_named(walk.entered_at + timedelta(hours=50), wait.offset, zone)
        assert moment is not None
        assert following.at >= moment
