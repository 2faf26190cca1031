"""What may go, and where an outcome leaves a delivery."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mailer.outcomes import Deferred, Delivered, Gone, Held, InDoubt, Refused, Unwritten
from services.mailer.policy import (
    MAIL_RETRIES,
    WEBHOOK_RETRIES,
    Defer,
    Delivery,
    Fail,
    Policy,
    Recipient,
    Send,
    State,
    Suppress,
    Suppression,
    decide,
    rank,
    retry_after,
    settle,
)
from shared.wire import Consent
from tests.builders import NOON, a_lead, a_send

CONSENT = Consent(marketing=True, address="Ana@Example.com", at=NOON)
HELD_UNTIL = NOON + timedelta(seconds=5)


def a_delivery(*, kind: str = "email", attempts: int = 0, **send: Any) -> Delivery:
    return Delivery(id="m1", kind=kind, lead_id="l1", send=a_send(**send), status="queued", queued_at=NOON, attempts=attempts)


def a_recipient(*suppressions: Suppression, **lead: Any) -> Recipient:
    return Recipient(a_lead(**({"consent": CONSENT} | lead)), suppressions)


def settled(delivery: Delivery, outcome: Any, when_in_doubt: Any = "hold") -> State:
    return settle(delivery, outcome, NOON, when_in_doubt=when_in_doubt, held_until=HELD_UNTIL)


UNSUBSCRIBED = Suppression("marketing", "unsubscribed", NOON + timedelta(hours=1))
BOUNCED = Suppression("all", "hard_bounce", NOON)


@pytest.mark.parametrize(
    ("delivery", "recipient", "decision"),
    [
        (a_delivery(), a_recipient(), Send()),
        (a_delivery(), a_recipient(email=None), Suppress("no_address")),
        (a_delivery(), a_recipient(consent=Consent()), Suppress("no_consent")),
        (a_delivery(), a_recipient(consent=Consent(marketing=True)), Suppress("no_consent")),
        (a_delivery(), a_recipient(email="other@example.com"), Suppress("no_consent")),
        (a_delivery(), a_recipient(UNSUBSCRIBED), Suppress("no_consent")),
        (a_delivery(), a_recipient(BOUNCED), Suppress("suppressed")),
        (a_delivery(topic="offers"), a_recipient(), Send()),
        (a_delivery(category="transactional"), a_recipient(consent=Consent()), Send()),
        (a_delivery(category="transactional"), a_recipient(UNSUBSCRIBED), Send()),
        (a_delivery(category="transactional"), a_recipient(BOUNCED), Suppress("suppressed")),
        (a_delivery(category="transactional"), a_recipient(address_trusted=False), Suppress("unconfirmed_address")),
        (a_delivery(), a_recipient(address_trusted=False), Suppress("no_consent")),
        (a_delivery(expires_at=NOON), a_recipient(), Suppress("expired")),
        (a_delivery(expires_at=NOON + timedelta(seconds=1)), a_recipient(), Send()),
        (a_delivery(kind="webhook"), None, Send()),
        (a_delivery(kind="webhook", expires_at=NOON), None, Suppress("expired")),
    ],
)
def test_who_may_be_reached(delivery: Delivery, recipient: Recipient | None, decision: object) -> None:
    assert decide(delivery, recipient, Policy(), NOON) == decision


def test_a_withdrawn_one_never_goes_whatever_else_holds() -> None:
    mail, handoff = a_delivery(expires_at=NOON), a_delivery(kind="webhook")
    assert decide(replace(mail, withdrawn="goal"), a_recipient(), Policy(), NOON) == Suppress("goal")
    assert decide(replace(handoff, withdrawn="exited"), None, Policy(), NOON) == Suppress("exited")


def test_a_consent_given_after_unsubscribing_counts_again() -> None:
    later = Consent(marketing=True, address="ana@example.com", at=UNSUBSCRIBED.at + timedelta(seconds=1))
    assert decide(a_delivery(), a_recipient(UNSUBSCRIBED, consent=later), Policy(), NOON) == Send()


def test_a_topic_left_alone_is_left_alone() -> None:
    consent = Consent(marketing=True, address="ana@example.com", topics={"offers": False})
    assert decide(a_delivery(topic="offers"), a_recipient(consent=consent), Policy(), NOON) == Suppress("topic")
    assert decide(a_delivery(topic="digest"), a_recipient(consent=consent), Policy(), NOON) == Send()


@pytest.mark.parametrize(
    ("age", "decision"),
    [
        (timedelta(seconds=59), Defer(NOON + timedelta(seconds=64), None)),
        (timedelta(seconds=60), Defer(NOON + timedelta(seconds=360), "lead_unknown")),
        (timedelta(hours=24), Fail("lead_unknown")),
    ],
)
def test_a_message_may_overtake_its_lead_by_a_day_at_most(age: timedelta, decision: object) -> None:
    assert decide(a_delivery(), None, Policy(), NOON + age) == decision


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Delivered("250 ok"), State("sent", None, "250 ok", None, 1)),
        (Deferred("relay_deferred", detail="451"), State("deferred", "relay_deferred", "451", NOON + timedelta(minutes=1), 1)),
        (Deferred("relay_deferred", timedelta(minutes=5)), State("deferred", "relay_deferred", "", NOON + timedelta(minutes=5), 1)),
        (Refused("recipient_refused", detail="550"), State("failed", "recipient_refused", "550", None, 1)),
        (Held("relay_unreachable"), State("deferred", "relay_unreachable", "", HELD_UNTIL, 0)),
        (InDoubt("no_answer"), State("in_doubt", "no_answer", "", None, 1)),
        (Gone("410"), State("failed", "gone", "410", None, 1)),
        (Unwritten("no template"), State("deferred", "template", "no template", NOON, 0)),
    ],
)
def test_where_an_outcome_leaves_a_delivery(outcome: Any, state: State) -> None:
    assert settled(a_delivery(), outcome) == state


def test_in_doubt_is_tried_again_only_where_the_playbook_wants_it() -> None:
    state = settled(a_delivery(), InDoubt("no_answer"), "retry")
    assert (state.status, state.due_at, state.attempts) == ("queued", NOON + timedelta(minutes=1), 1)
    assert settled(a_delivery(attempts=len(MAIL_RETRIES)), InDoubt("no_answer"), "retry").status == "in_doubt"


@pytest.mark.parametrize("outcome", [Deferred("relay_deferred"), Held("relay_unreachable")])
def test_what_would_wait_beyond_its_max_age_is_given_up_at_once(outcome: Any) -> None:
    state = settled(a_delivery(expires_at=NOON + timedelta(seconds=5)), outcome)
    assert (state.status, state.reason, state.due_at) == ("suppressed", "expired", None)


def test_a_held_template_expires_with_its_max_age() -> None:
    expires_at = NOON + timedelta(hours=1)
    held = replace(a_delivery(expires_at=expires_at), by_newest=True)
    assert settled(held, Unwritten("x")).due_at == expires_at


def test_what_the_newest_playbook_cannot_write_either_waits_for_a_newer_one() -> None:
    assert settled(replace(a_delivery(), by_newest=True), Unwritten("x")).due_at is None


def test_mail_is_tried_for_a_day() -> None:
    total = timedelta(0)
    for tried in range(1, len(MAIL_RETRIES) + 1):
        pause = retry_after(a_delivery(), tried)
        assert pause is not None
        total += pause
    assert timedelta(hours=23) < total < timedelta(hours=24)
    assert retry_after(a_delivery(), len(MAIL_RETRIES) + 1) is None


def test_an_endless_retry_after_is_cut_to_a_day() -> None:
    assert settled(a_delivery(), Deferred("endpoint_busy", timedelta(days=400))).due_at == NOON + timedelta(hours=24)


@given(tried=st.integers(1, len(WEBHOOK_RETRIES)), delivery_id=st.uuids().map(str))
def test_webhook_pauses_differ_by_ten_per_cent_and_always_alike(tried: int, delivery_id: str) -> None:
    delivery = Delivery(delivery_id, "webhook", "l1", a_send(), "queued", NOON)
    pause = retry_after(delivery, tried)
    assert pause is not None
    assert pause == retry_after(delivery, tried)
    assert 0.9 <= pause / WEBHOOK_RETRIES[tried - 1] <= 1.1


def test_transactional_ranks_before_every_marketing_priority() -> None:
    ranks = [rank(a_send(category="transactional", priority=500)), rank(a_send(priority=1)), rank(a_send(priority=100))]
    assert ranks == sorted(ranks)
