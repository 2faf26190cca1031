"""What an answer, the clock and the endpoint make of a hand-off."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mailer.handoffs import Answer, Handoff, answered, expired, opened, passed_on, to_fallback, told, undeliverable
from services.mailer.sla import Sla
from shared.wire import Send
from tests.builders import NOON, a_send

HOUR = timedelta(hours=1)
SLA = Sla(4 * HOUR)


def a_handoff(**overrides: Any) -> Handoff:
    return replace(opened(a_handed_over(), "l1", SLA, NOON), **overrides)


def a_handed_over(**overrides: Any) -> Send:
    return a_send(kind="handoff", template="", endpoint="sales", id="h1", **overrides)


def test_without_an_sla_no_clock_runs() -> None:
    still = opened(a_handed_over(), "l1", None, NOON)
    assert still.due_at is told(still, None, NOON).due_at is None
    assert answered(still, Answer("snoozed", until=NOON + HOUR), None, NOON).due_at is None


def test_once_taken_sales_has_its_whole_time() -> None:
    assert told(a_handoff(), SLA, NOON + 3 * HOUR).due_at == NOON + 7 * HOUR


def test_what_sales_put_off_before_the_webhook_counted_as_taken_stays_put_off() -> None:
    snoozed = answered(a_handoff(), Answer("snoozed", until=NOON + 48 * HOUR), SLA, NOON)
    assert told(snoozed, SLA, NOON + HOUR).due_at == snoozed.due_at == NOON + 52 * HOUR


@pytest.mark.parametrize("word", ["accepted", "rejected"])
def test_an_answer_ends_it_with_its_reason_and_stops_the_clock(word: Any) -> None:
    ended = answered(a_handoff(snoozed_until=NOON), Answer(word, "so be it"), SLA, NOON)
    assert (ended.status, ended.reason, ended.answered_at) == (word, "so be it", NOON)
    assert ended.due_at is ended.snoozed_until is None


def test_a_shorter_snooze_replaces_a_longer_one() -> None:
    first = answered(a_handoff(), Answer("snoozed", until=NOON + 48 * HOUR), SLA, NOON + HOUR)
    assert answered(first, Answer("snoozed", until=NOON + 5 * HOUR), SLA, NOON + 2 * HOUR).due_at == NOON + 8 * HOUR


def test_one_that_cannot_be_delivered_waits_for_nobody_but_only_where_there_is_a_fallback() -> None:
    assert undeliverable(a_handoff(), a_handed_over(fallback="lead"), NOON).due_at == NOON
    assert undeliverable(a_handoff(), a_handed_over(), NOON) == a_handoff()


def test_the_fallback_begins_anew_and_is_the_last() -> None:
    send = to_fallback(a_handed_over(fallback="lead", sequence=7), NOON + HOUR)
    assert (send.endpoint, send.fallback, send.sequence, send.reached_at) == ("lead", "", 8, NOON + HOUR)
    assert send.id == to_fallback(a_handed_over(fallback="lead", sequence=7), NOON).id != "h1"
    moved = passed_on(a_handoff(told_at=NOON, snoozed_until=NOON), send.id, SLA, NOON + HOUR)
    assert (moved.status, moved.delivery_id, moved.due_at) == ("open", send.id, NOON + 5 * HOUR)
    assert moved.told_at is moved.snoozed_until is None


def test_each_move_is_counted_so_that_who_looked_before_it_is_too_late() -> None:
    moves = [told(a_handoff(), SLA, NOON), answered(a_handoff(), Answer("accepted"), SLA, NOON), expired(a_handoff(), NOON)]
    moves += [passed_on(a_handoff(), "d2", SLA, NOON), answered(a_handoff(), Answer("snoozed", until=NOON + HOUR), SLA, NOON)]
    assert [move.moves for move in moves] == [1] * 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=6))
def test_however_often_it_is_put_off_sales_keeps_what_is_left_of_its_time(snoozes: list[tuple[int, int]]) -> None:
    handoff, now, used = a_handoff(), NOON, timedelta(0)
    for waited, days in snoozes:
        stands_until = max(handoff.snoozed_until or now, now)
        now += waited * HOUR
        used += max(timedelta(0), now - stands_until)
        if used >= SLA.length:
            return
        handoff = answered(handoff, Answer("snoozed", until=now + timedelta(days=days)), SLA, now)
        assert handoff.due_at == now + timedelta(days=days) + SLA.length - used
