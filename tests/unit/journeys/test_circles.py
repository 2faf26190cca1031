"""Journeys that would begin each other for ever are told when they are read."""

import pytest

from services.journeys.circles import circles
from services.journeys.loader import Journeys, load
from shared.yaml import PlaybookError


def a_journey(name: str, trigger: str, steps: str, keys: str = "reentry: always") -> dict[str, bytes]:
    return {f"journeys/{name}.yaml": f"journey: {name}\ntrigger: {trigger}\n{keys}\nsteps: {steps}\n".encode()}


def found(files: dict[str, bytes]) -> list[str]:
    try:
        load(files, {})
    except PlaybookError as error:
        return [str(trouble) for trouble in error.troubles]
    return []


SENT, EXPIRED = "{event: Email Sent}", "{event: Handoff Expired}"


@pytest.mark.parametrize(
    "steps",
    [
        "[{send: a}]",
        "[{wait: 59m}, {send: a}]",
        "[{wait: {window: {from: '09:00', to: '17:00'}}}, {send: a}]",
        "[{wait: {until: lead.traits.x}, if_past: [{send: a}]}]",
        "[{wait: {until: lead.traits.x}}, {send: a}]",
        "[{branch: [{if: lead.hot, do: [{exit: x}]}]}, {update: {tags: {add: [x]}}}, {handoff: sales}, {send: a}]",
        "[{wait_for: {when: lead.hot}, timeout: 1d, do: [{send: a}], on_timeout: [{exit: x}]}]",
        "[{wait_for: {event: A}, timeout: 5m, do: [{exit: x}], on_timeout: [{send: a}]}]",
        "[{wait_for: {event: Email Delivered}, timeout: 9d, do: [{send: a}], on_timeout: [{exit: x}]}]",
        "[{handoff: sales, sla: 5m, do: [{exit: x}], on_rejected: [{exit: x}], on_timeout: [{send: a}]}]",
    ],
)
def test_a_mail_that_goes_without_a_wait_of_an_hour_closes_a_circle(steps):
    (trouble,) = found(a_journey("x", SENT, steps))
    assert trouble.startswith("journeys/x.yaml:2:1: a circle without a wait: what `x` makes happen begins it again at once; ")


@pytest.mark.parametrize(
    "steps",
    [
        "[{wait: 1h}, {send: a}]",
        "[{wait: {at: '09:00'}}, {send: a}]",
        "[{wait: {until: lead.traits.x}, do: [{send: a}, {exit: x}], if_past: [{exit: x}]}]",
        "[{wait_for: {event: A}, timeout: 1h}, {send: a}]",
        "[{wait_for: {event: Email Delivered, where: event.properties.x}, timeout: 1h}, {send: a}]",
        "[{handoff: sales, sla: 1h}, {send: a}]",
        "[{exit: x}]",
    ],
)
def test_a_wait_an_answer_or_an_event_of_the_lead_breaks_it(steps):
    assert found(a_journey("x", SENT, steps)) == []


@pytest.mark.parametrize("keys", ["reentry: once", "reentry: {after: 1d}", "reentry: always\ngap: 1d"])
def test_who_may_not_return_at_once_goes_round_no_circle(keys):
    assert found(a_journey("x", SENT, "[{send: a}]", keys)) == []


def test_a_where_gets_the_benefit_of_the_doubt():
    assert found(a_journey("x", "{event: Email Sent, where: event.properties.journey == 'y'}", "[{send: a}]")) == []


def test_a_circle_through_two_journeys_is_told_once_with_its_way():
    files = (
        a_journey("b", SENT, "[{handoff: sales, sla: 5m}]") | a_journey("a", EXPIRED, "[{send: x}]") | a_journey("c", SENT, "[{exit: x}]")
    )
    (trouble,) = found(files)
    assert trouble == (
        "journeys/a.yaml:2:1: a circle without a wait: what `a` makes happen begins `b`, which begins it again at once; "
        "put a wait of an hour before that step, or a `where` here"
    )


def read(*files: dict[str, bytes]) -> Journeys:
    return load({name: text for one in files for name, text in one.items()}, {})


UP, DOWN = "{readiness: {rises_to: 5}}", "{readiness: {falls_to: 4}}"


def names(journeys: Journeys, moves: bool) -> list[list[str]]:
    return [[journey.name for journey in circle] for circle in circles(journeys.by_name.values(), lambda _: moves)]


def test_updates_that_move_the_readiness_up_and_down_are_a_circle():
    swing = read(a_journey("up", UP, "[{update: {traits: {x: 1}}}]"), a_journey("down", DOWN, "[{update: {traits: {x: 0}}}]"))
    assert names(swing, True) == [["down", "up"]]
    assert names(swing, False) == []


def test_a_readiness_that_only_rises_comes_to_an_end():
    assert names(read(a_journey("up", UP, "[{update: {traits: {x: 1}}}]")), True) == []


def test_one_journey_may_swing_by_itself():
    assert names(read(a_journey("both", f"[{UP}, {DOWN}]", "[{update: {traits: {x: '=now'}}}]")), True) == [["both"]]
