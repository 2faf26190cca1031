"""What journeys holds of one lead: which activities were handled, and the lead as the newest of them left it."""

import random

from hypothesis import given
from hypothesis import strategies as st

from services.journeys.dossier import Dossier, Handled
from shared.wire import encode
from tests.builders import a_lead


@given(st.lists(st.integers(1, 30)), st.integers(0, 1000))
def test_each_activity_is_taken_once_in_any_order(sequences, seed):
    handled = Handled()
    random.Random(seed).shuffle(sequences)
    taken = [sequence for sequence in sequences if handled.take(sequence)]
    assert sorted(taken) == sorted(set(sequences))


@given(st.permutations(range(1, 20)))
def test_once_all_have_come_no_gap_is_left(order):
    handled = Handled()
    for sequence in order:
        handled.take(sequence)
    assert (handled.highest, handled.gaps) == (19, [])


def test_a_gap_of_a_million_costs_one_entry():
    handled = Handled()
    handled.take(1_000_000)
    assert handled.gaps == [(1, 999_999)]


def test_an_older_activity_does_not_take_the_newer_state_away():
    dossier = Dossier("l1")
    assert dossier.see(2, encode(a_lead(readiness=8)))
    assert dossier.see(1, encode(a_lead(readiness=3)))
    assert dossier.known is not None
    assert dossier.known.lead.readiness == 8


def test_a_repeated_activity_changes_nothing():
    dossier = Dossier("l1")
    dossier.see(1, encode(a_lead(readiness=8)))
    assert not dossier.see(1, encode(a_lead(readiness=3)))
    assert dossier.known is not None
    assert dossier.known.lead.readiness == 8
