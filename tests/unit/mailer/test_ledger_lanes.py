"""A lane in trouble holds its own, tries with one, and opens again by itself."""

from datetime import timedelta

from services.mailer.attempt import POSTS_AT_ONCE
from services.mailer.lanes import ENDPOINT_PLACES, ENDPOINT_REFILL, RELAY_PLACES, Lane, new_lane
from services.mailer.ledger import CLAIM_LEASE
from services.mailer.outcomes import Deferred, Delivered, Held, InDoubt, Refused
from services.mailer.webhook import TIMEOUT_SECONDS
from tests.builders import NOON

SECOND = timedelta(seconds=1)


def a_lane() -> Lane:
    return new_lane("relay")


def test_an_outage_closes_the_lane_and_one_tries_it_when_the_pause_is_over() -> None:
    lane = a_lane()
    assert lane.learn(Held("relay_unreachable"), NOON)
    assert (lane.room(NOON), lane.opens_at(NOON)) == (0, NOON + SECOND)
    assert lane.room(NOON + SECOND) == 1


def test_those_that_fail_together_are_one_trouble() -> None:
    lane = a_lane()
    assert [lane.learn(Held("relay_unreachable"), NOON) for _ in range(3)] == [True, False, False]
    assert lane.held_until == NOON + SECOND


def test_pauses_grow_while_it_stays_away() -> None:
    lane, now, pauses = a_lane(), NOON, []
    for _ in range(8):
        lane.learn(Held("relay_unreachable"), now)
        assert lane.held_until is not None
        pauses.append((lane.held_until - now).total_seconds())
        now = lane.held_until
    assert pauses == [1, 2, 5, 10, 30, 60, 60, 60]


def test_any_answer_opens_it_again() -> None:
    for answer in (Delivered(), Deferred("relay_deferred"), Refused("recipient_refused")):
        lane = a_lane()
        lane.learn(Held("relay_unreachable"), NOON)
        lane.learn(answer, NOON + SECOND)
        assert lane.room(NOON + SECOND) == RELAY_PLACES


def test_one_mail_that_the_relay_will_not_have_holds_nobody() -> None:
    lane = a_lane()
    assert not lane.learn(Refused("mail_refused", ours=True), NOON)
    assert lane.room(NOON) == RELAY_PLACES


def test_three_such_mails_in_a_row_hold_the_lane() -> None:
    lane = a_lane()
    outcomes = [Refused("mail_refused", ours=True), Deferred("sender_refused", ours=True), Refused("mail_refused", ours=True)]
    assert [lane.learn(outcome, NOON) for outcome in outcomes] == [False, False, True]
    assert lane.opens_at(NOON) == NOON + timedelta(seconds=30)


def test_a_taken_mail_forgives_the_strikes() -> None:
    lane = a_lane()
    for _ in range(5):
        lane.learn(Refused("mail_refused", ours=True), NOON)
        lane.learn(Delivered(), NOON)
    assert lane.room(NOON) == RELAY_PLACES


def test_a_full_lane_says_nothing_of_when_it_opens() -> None:
    lane = a_lane()
    lane.busy = RELAY_PLACES
    assert (lane.room(NOON), lane.opens_at(NOON)) == (0, None)


def test_a_relay_that_falls_silent_three_times_in_a_row_is_away() -> None:
    lane = a_lane()
    silences = [InDoubt("no_answer"), Deferred("connection_lost", unanswered=True), InDoubt("no_answer")]
    assert [lane.learn(silence, NOON) for silence in silences] == [False, False, True]
    assert lane.opens_at(NOON) == NOON + SECOND


def test_an_endpoint_is_given_more_only_when_it_is_worth_a_claim() -> None:
    lane = new_lane("endpoint:sales")
    assert lane.room(NOON) == ENDPOINT_PLACES
    lane.busy = ENDPOINT_PLACES - ENDPOINT_REFILL + 1
    assert (lane.room(NOON), lane.opens_at(NOON)) == (0, None)
    lane.busy = ENDPOINT_PLACES - ENDPOINT_REFILL
    assert lane.room(NOON) == ENDPOINT_REFILL


def test_the_last_of_a_claim_is_posted_before_its_lease_ends() -> None:
    slowest = timedelta(seconds=TIMEOUT_SECONDS) * (ENDPOINT_PLACES / POSTS_AT_ONCE)
    assert slowest < CLAIM_LEASE
