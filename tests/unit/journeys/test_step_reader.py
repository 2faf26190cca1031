"""The waiting steps, updates, hand-offs and triggers as a marketer writes them; each mistake with its place and its remedy."""

from datetime import time, timedelta
from typing import Any

import pytest

from services.journeys.definitions import Journey
from services.journeys.loader import load
from services.journeys.localtime import EVERY_DAY
from services.journeys.steps import Answers, HandoffStep, Lasting, NextClock, Until, UpdateStep, WaitForStep, WaitStep, Window
from shared.expressions import Expression
from shared.yaml import PlaybookError


def read(steps: str, trigger: str = "{event: Seen}", keys: str = "") -> Journey:
    text = f"journey: x\ntrigger: {trigger}\n{keys}steps: {steps}\n"
    return load({"journeys/x.yaml": text.encode()}, {}).by_name["x"]


def step(text: str, **more: Any) -> Any:
    return read(f"[{text}, {{id: last, exit: done}}]", **more).steps["steps.0"]


def troubles(*args: Any, **more: Any) -> list[str]:
    with pytest.raises(PlaybookError) as caught:
        read(*args, **more)
    return [str(trouble).removeprefix("journeys/x.yaml:") for trouble in caught.value.troubles]


@pytest.mark.parametrize(
    ("written", "wait"),
    [
        ("2d", Lasting(timedelta(days=2))),
        ('{at: "09:00"}', NextClock(time(9), EVERY_DAY)),
        ('{at: "23:59", days: [mon, sun]}', NextClock(time(23, 59), frozenset({0, 6}))),
        ('{window: {from: "09:00", to: "17:30"}}', Window(time(9), time(17, 30), EVERY_DAY)),
        ('{window: {from: "22:00", to: "06:00", days: [fri]}}', Window(time(22), time(6), frozenset({4}))),
        ('{window: {from: "00:00", to: "24:00", days: [sat]}}', Window(time(), time(), frozenset({5}))),
    ],
)
def test_every_form_of_a_wait_is_read(written, wait):
    found = step(f"{{wait: {written}}}")
    assert isinstance(found, WaitStep)
    assert (found.wait, found.do, found.if_past, found.next) == (wait, "last", "last", "last")


def test_a_wait_until_has_two_ways_and_goes_on_after_either():
    journey = read(
        "[{wait: {until: lead.traits.ends, offset: -1d12h}, do: [{send: a}], if_past: [{send: b}, {send: c}]}, {id: last, exit: done}]"
    )
    found = journey.steps["steps.0"]
    assert isinstance(found, WaitStep)
    assert isinstance(found.wait, Until)
    assert (found.wait.moment.source, found.wait.offset) == ("lead.traits.ends", (-1, -timedelta(hours=12)))
    assert (found.do, found.if_past, found.next) == ("steps.0.do.0", "steps.0.if_past.0", "last")
    assert [(name, one.next) for name, one in journey.steps.items() if name.startswith("steps.0.")] == [
        ("steps.0.do.0", "last"),
        ("steps.0.if_past.0", "steps.0.if_past.1"),
        ("steps.0.if_past.1", "last"),
    ]


def test_a_wait_for_of_one_case_is_read():
    found = step(
        "{wait_for: {event: [A, B], where: event.properties.n > 1}, timeout: 1d, since: entry, reset_on: {event: C}, do: [{send: a}],"
        " on_timeout: [{send: b}]}"
    )
    assert isinstance(found, WaitForStep)
    (case,) = found.cases
    assert case.match is not None
    assert (case.match.events, case.to) == ({"A", "B"}, "steps.0.do.0")
    assert (found.timeout, found.since_entry, found.on_timeout) == (timedelta(days=1), True, "steps.0.on_timeout.0")
    assert found.names == {"A", "B", "C"}


def test_a_wait_for_of_several_cases_is_read():
    found = step("{wait_for: [{event: A, do: [{send: a}]}, {when: lead.hot and hours_since(entered_at) > 1}, {event: B}], timeout: 1d}")
    assert isinstance(found, WaitForStep)
    assert [(case.label, case.to) for case in found.cases] == [("1", "steps.0.wait_for.0.do.0"), ("2", "last"), ("3", "last")]
    assert (found.on_timeout, found.hourly, found.since_entry) == ("last", True, False)


def test_what_is_awaited_is_watched_and_its_histories_are_kept():
    text = (
        "journey: x\ntrigger: {event: Seen}\nmax_duration: 9d\nsteps: [{wait_for: [{event: A}, "
        "{when: \"lead.events['B'].count > 0\"}], timeout: 1d, reset_on: [{event: C}]}]"
    )
    journeys = load({"journeys/x.yaml": text.encode()}, {})
    assert {"A", "C"} <= journeys.watched
    assert journeys.by_name["x"].awaited == {"A", "C"}
    assert journeys.histories == {"B"}
    assert {mention.name for mention in journeys.events} == {"Seen", "A", "C"}


def test_an_update_is_read():
    found = step('{update: {traits: {stage: "=entry.properties.s", n: 7, gone: null}, tags: {add: [vip, "=key"], remove: [new]}}}')
    assert isinstance(found, UpdateStep)
    assert isinstance(found.traits["stage"], Expression)
    assert (found.traits["n"], found.traits["gone"], found.add[0], found.remove) == (7, None, "vip", ("new",))
    assert isinstance(found.add[1], Expression)


def test_a_hand_off_that_waits_is_read():
    found = step("{handoff: sales, sla: {within: 4h, hours: working}, fallback: boss, do: [{send: a}], on_timeout: [{send: b}]}")
    assert isinstance(found, HandoffStep)
    assert found.answers == Answers(timedelta(hours=4), True, "boss", "steps.0.do.0", "last", "steps.0.on_timeout.0")
    assert step("{handoff: sales, sla: 30m}").answers == Answers(timedelta(minutes=30), False, "", "last", "last", "last")
    assert step("{handoff: sales}").answers is None


def test_the_fallback_is_an_endpoint_too():
    text = "journey: x\ntrigger: {event: Seen}\nsteps: [{handoff: sales, sla: 4h, fallback: boss}]"
    assert [mention.name for mention in load({"journeys/x.yaml": text.encode()}, {}).endpoints] == ["sales", "boss"]


def test_triggers_of_the_api_and_of_sleep_are_read():
    journey = read("[{exit: done}]", "[{sleeping: true, where: lead.hot}, {api: true, key: event.properties.id}]")
    assert [(trigger.events, trigger.api) for trigger in journey.triggers] == [({"Lead Asleep"}, False), (frozenset(), True)]
    assert journey.triggers[0].where is not None
    assert journey.triggers[1].key is not None


CLOCK = 'write a time of day with hours and minutes, such as "09:00"'


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("[{wait: {at: 9}}]", f"3:21: {CLOCK}"),
        ("[{wait: {at: '9:00'}}]", f"3:21: {CLOCK}"),
        ("[{wait: {at: '24:00'}}]", f"3:21: {CLOCK}"),
        ("[{wait: {at: '09:00', days: [monday]}}]", "3:37: write a day of the week as one of mon, tue, wed, thu, fri, sat, sun"),
        ("[{wait: {at: '09:00', days: []}}]", "3:36: nothing stands here: write at least one, or leave the key out"),
        ("[{wait: {at: '09:00', day: [mon]}}]", "3:30: unknown key `day`, did you mean `days`?"),
        ("[{wait: {untill: lead.traits.x}}]", "3:16: a wait is a duration such as `2d`, or has one of the keys `at`, `window`, `until`"),
        ("[{wait: {window: {from: '09:00', to: '09:00'}}}]", "3:25: this window never closes: write another time under `to`"),
        ("[{wait: {window: {from: '09:00'}}}]", "3:25: the key `to` is missing here"),
        ("[{wait: {until: lead.traits.x, offset: yesterday}}]", "3:47: `yesterday` is not a duration"),
        ("[{wait: {until: lead.traits.x, offset: 3}}]", "3:47: write an offset such as -1d (a day before) or 2h"),
        ("[{wait: {until: led.traits.x}}]", "3:24: unknown name `led`, did you mean `lead`?"),
        ("[{wait: 2d, do: [{exit: x}]}]", "3:9: `do` and `if_past` belong to a wait with `until`: write these steps behind the wait"),
        ("[{wait_for: {event: A}}]", "3:10: this may wait for ever: write a `timeout` beside it, or give the journey a `max_duration`"),
        ("[{wait_for: {evnt: A}, timeout: 1d}]", "3:21: unknown key `evnt`, did you mean `event`?"),
        ("[{wait_for: [], timeout: 1d}]", "3:20: nothing stands here: write at least one, or leave the key out"),
        ("[{wait_for: {event: A}, timeout: 1d, since: start}]", "3:52: expected one of `step`, `entry`, got the text `start`"),
        ("[{wait_for: {when: led.hot}, timeout: 1d}]", "3:27: unknown name `led`, did you mean `lead`?"),
        ("[{wait_for: {when: event.name}, timeout: 1d}]", "3:27: unknown name `event`"),
        ("[{wait_for: {event: A, do: [{exit: x}]}, timeout: 1d}]", "3:9: write `do` beside `wait_for`, not into it"),
        ("[{wait_for: [{event: A}], do: [{exit: x}], timeout: 1d}]", "3:9: of several cases each has a `do` of its own"),
        ("[{wait_for: {event: A}, on_timeout: [{exit: x}]}]", "3:9: there is no `timeout` that could run out or begin anew"),
        ("[{wait_for: {event: A}, reset_on: {event: B}}]", "3:9: there is no `timeout` that could run out or begin anew"),
        ("[{wait_for: {event: A, match_key: event.properties.x}, timeout: 1d}]", "3:31: there is no key to compare with"),
        ("[{wait_for: {event: Email Link Clicked, of: offer}, timeout: 1d}]", "3:52: no step has the id `offer`: write `id: offer`"),
        (
            "[{id: offr, send: a}, {wait_for: {event: Email Link Clicked, of: offer}, timeout: 1d}]",
            "3:73: no step has the id `offer`, did you mean `offr`?",
        ),
        (
            "[{id: pause, wait: 1d}, {wait_for: {event: Email Link Clicked, of: pause}, timeout: 1d}]",
            "3:75: `pause` sends no mail: name a `send` step",
        ),
        (
            "[{id: offer, send: a}, {wait_for: {event: Page Viewed, of: offer}, timeout: 1d}]",
            "3:50: `of` asks whose mail was clicked: write `event: Email Link Clicked`, or remove the `of`",
        ),
        ("[{update: {}}]", "3:18: nothing is changed here: write `traits: {stage: nurtured}` or `tags: {add: [vip]}`"),
        ("[{update: {trait: {a: 1}}}]", "3:19: unknown key `trait`, did you mean `traits`?"),
        ("[{update: {tags: {add: vip}}}]", "3:31: expected a list, got the text `vip`: write [vip]"),
        ("[{update: {traits: {a: '=led.x'}}}]", "3:33: unknown name `led`, did you mean `lead`?"),
        ("[{update: {tags: {add: ['=led.x']}}}]", "3:34: unknown name `led`, did you mean `lead`?"),
        ("[{update: {traits: {consent: true}}}]", "3:28: consent is no trait: only the lead gives it"),
        ("[{update: {traits: {email: '=entry.properties.email'}}}]", "3:28: a journey does not name an address: your server does"),
        ("[{handoff: sales, do: [{exit: x}]}]", "3:9: without `sla` the walk does not wait for an answer: write `sla: 4h`"),
        ("[{handoff: sales, fallback: boss}]", "3:9: without `sla` the walk does not wait for an answer: write `sla: 4h`"),
        ("[{handoff: sales, sla: soon}]", "3:31: `soon` is not a duration"),
        ("[{handoff: sales, sla: {within: 4h, hours: office}}]", "3:51: expected one of `working`, got the text `office`"),
        ("[{handoff: sales, sla: {within: 4h}}]", "3:31: the key `hours` is missing here"),
        (
            "[{wait_for: {event: A}, timeout: 1d, do: [{id: a, wait: 1d}], on_timeout: [{id: a, wait: 1d}]}]",
            "3:88: the id `a` stands twice",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_remedy(steps, expected):
    (trouble,) = troubles(steps)
    assert trouble.startswith(expected)


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ("{sleeping: false}", "2:21: write `true`, or leave the key out"),
        (
            "{api: true, event: A}",
            "2:10: write what starts the journey: one of `event: NAME`, `readiness: {rises_to: 9}`, `sleeping: true`",
        ),
        ("{where: lead.hot}", "2:10: write what starts the journey: one of"),
        ("{api: true, where: entry.at}", "2:29: unknown name `entry`"),
    ],
)
def test_a_mistake_in_a_trigger_is_told_with_its_place(trigger, expected):
    (trouble,) = troubles("[{exit: done}]", trigger)
    assert trouble.startswith(expected)


def test_a_journeys_duration_ends_a_wait_that_has_no_timeout():
    assert step("{wait_for: {event: A}}", keys="max_duration: 30d\n").timeout is None
