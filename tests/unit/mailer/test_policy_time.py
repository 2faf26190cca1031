"""When marketing may go: pauses, quiet hours and caps, alone and together, on the reader's own clock."""

from datetime import UTC, datetime, time, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.mailer.caps import Cap, free_at
from services.mailer.policy import SOON, Decision, Defer, Delivery, Policy, Recipient, Send, State, Suppress, decide, decided, rank
from services.mailer.quiet import QuietHours, quiet_until
from shared.wire import Consent
from tests.builders import NOON, a_lead, a_send

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CONSENT = Consent(marketing=True, address="ana@example.com", at=NOON - DAY)
NIGHT = QuietHours(time(21), time(8))
DUBLIN = ZoneInfo("Europe/Dublin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def a_delivery(**send: Any) -> Delivery:
    return Delivery(id="m1", kind="email", lead_id="l1", send=a_send(**send), status="queued", queued_at=NOON)


def a_recipient(zone: str | None = "UTC", **more: Any) -> Recipient:
    return Recipient(a_lead(consent=CONSENT, timezone=zone), **more)


def judged(now: datetime, policy: Policy, recipient: Recipient | None = None, **send: Any) -> Decision:
    return decide(a_delivery(**send), recipient or a_recipient(), policy, now)


# quiet hours


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2027-03-01T20:59:59", None),
        ("2027-03-01T21:00", "2027-03-02T08:00"),
        ("2027-03-01T23:59", "2027-03-02T08:00"),
        ("2027-03-02T00:00", "2027-03-02T08:00"),
        ("2027-03-02T07:59:59", "2027-03-02T08:00"),
        ("2027-03-02T08:00", None),
    ],
)
def test_quiet_hours_go_over_midnight_and_end_to_the_second(now: str, until: str | None) -> None:
    assert quiet_until(NIGHT, ZoneInfo("UTC"), utc(now)) == (utc(until) if until else None)


def test_quiet_hours_may_lie_within_a_day() -> None:
    lunch = QuietHours(time(12), time(13, 30))
    assert quiet_until(lunch, ZoneInfo("UTC"), utc("2027-03-01T12:00")) == utc("2027-03-01T13:30")
    assert quiet_until(lunch, ZoneInfo("UTC"), utc("2027-03-01T13:30")) is None
    assert quiet_until(lunch, ZoneInfo("UTC"), utc("2027-03-01T03:00")) is None


def test_a_whole_day_is_quiet_and_the_nights_beside_it_make_it_longer() -> None:
    friday = QuietHours(time(21), time(8), frozenset({4}))
    for now in ("2027-03-04T21:00", "2027-03-05T07:00", "2027-03-05T12:00", "2027-03-06T01:00"):  # Thursday night to Saturday morning
        assert quiet_until(friday, ZoneInfo("UTC"), utc(now)) == utc("2027-03-06T08:00")
    alone = QuietHours(None, None, frozenset({4, 5}))
    assert quiet_until(alone, ZoneInfo("UTC"), utc("2027-03-05T00:00")) == utc("2027-03-07T00:00")
    assert quiet_until(alone, ZoneInfo("UTC"), utc("2027-03-04T23:59:59")) is None


def test_a_day_is_the_readers_day() -> None:
    friday = QuietHours(None, None, frozenset({4}))
    tehran = ZoneInfo("Asia/Tehran")
    assert quiet_until(friday, tehran, utc("2027-03-04T20:29:59")) is None
    assert quiet_until(friday, tehran, utc("2027-03-04T20:30")) == utc("2027-03-05T20:30")


@pytest.mark.parametrize(
    ("quiet", "now", "until"),
    [
        (NIGHT, "2027-03-27T22:00", "2027-03-28T07:00"),  # the night in which an hour is lost
        (NIGHT, "2027-10-30T22:00", "2027-10-31T08:00"),  # and the one in which it is found again
        (QuietHours(time(21), time(1, 30)), "2027-03-28T00:00", "2027-03-28T01:00"),  # 01:30 does not exist: the first time that does
        (QuietHours(time(21), time(1, 30)), "2027-10-30T23:00", "2027-10-31T00:30"),  # 01:30 exists twice: the first
        (QuietHours(time(21), time(1, 30)), "2027-10-31T01:00", None),  # the second 01:00 is past it
        (QuietHours(time(1, 10), time(1, 50)), "2027-03-28T01:00", None),  # a quiet that the lost hour takes away whole
    ],
)
def test_quiet_hours_keep_to_the_clock_when_it_is_changed(quiet: QuietHours, now: str, until: str | None) -> None:
    assert quiet_until(quiet, DUBLIN, utc(now)) == (utc(until) if until else None)


@given(
    minutes=st.integers(0, 3 * 365 * 24 * 60),
    start=st.times(),
    end=st.times(),
    days=st.frozensets(st.integers(0, 6), max_size=6),
    zone=st.sampled_from(["UTC", "Europe/Dublin", "Asia/Tehran", "Pacific/Auckland", "America/Santiago"]),
)
def test_quiet_ends_at_a_moment_that_is_not_quiet(minutes: int, start: time, end: time, days: frozenset[int], zone: str) -> None:
    quiet = QuietHours(start.replace(microsecond=0), end.replace(microsecond=0), days)
    assume(quiet.start != quiet.end)  # the loader refuses it
    moment = NOON + timedelta(minutes=minutes)
    until = quiet_until(quiet, ZoneInfo(zone), moment)
    if until is not None:
        assert moment < until <= moment + 16 * DAY
        assert quiet_until(quiet, ZoneInfo(zone), until) is None


# caps


def test_a_cap_has_room_again_when_its_oldest_has_left_the_stretch() -> None:
    two = Cap(2, timedelta(days=7))
    sent = [NOON - 6 * DAY, NOON - DAY, NOON - 8 * DAY]
    assert free_at(two, sent, NOON) == NOON + DAY
    assert free_at(two, sent, NOON + DAY) is None
    assert free_at(two, sent[1:], NOON) is None
    assert free_at(Cap(1, 20 * HOUR), [NOON], NOON) == NOON + 20 * HOUR


@given(st.lists(st.integers(0, 500), max_size=12), st.integers(1, 4), st.integers(1, 200))
def test_a_cap_is_kept_by_whoever_waits_for_its_room(hours: list[int], messages: int, per: int) -> None:
    cap, sent = Cap(messages, per * HOUR), [NOON - hour * HOUR for hour in hours]
    free = free_at(cap, sent, NOON) or NOON
    assert free_at(cap, sent, free) is None
    assert sum(at > free - cap.per for at in sent) < messages


# rule 10


EVENING = utc("2027-03-01T22:00")
MORNING = utc("2027-03-02T08:00")
CAPPED = (Cap(1, 20 * HOUR, skips=False),)
PAUSED_UNTIL = utc("2027-03-20T23:00")


@pytest.mark.parametrize(
    ("paused", "quiet", "capped", "decision"),
    [
        (False, False, False, Send()),
        (False, False, True, Defer(EVENING + 8 * HOUR, "frequency_cap")),
        (False, True, False, Defer(MORNING, "quiet_hours")),
        (False, True, True, Defer(MORNING, "quiet_hours")),  # by then the cap has room
        (True, False, False, Defer(PAUSED_UNTIL, "paused")),
        (True, False, True, Defer(PAUSED_UNTIL, "paused")),
        (True, True, False, Defer(utc("2027-03-21T08:00"), "paused")),  # a pause that ends at night ends in the morning
        (True, True, True, Defer(utc("2027-03-21T08:00"), "paused")),
    ],
)
def test_rule_10_marketing_waits_for_the_next_moment_that_everything_allows(
    paused: bool, quiet: bool, capped: bool, decision: Decision
) -> None:
    policy = Policy(NIGHT if quiet else None, CAPPED if capped else ())
    recipient = a_recipient(paused_until=PAUSED_UNTIL if paused else None, mailed=(EVENING - 12 * HOUR,))
    assert judged(EVENING, policy, recipient) == decision


def test_rule_10_a_cap_that_has_room_at_night_waits_for_the_morning() -> None:
    late = a_recipient(mailed=(utc("2027-03-01T09:00"),))
    assert judged(utc("2027-03-01T12:00"), Policy(NIGHT, CAPPED), late) == Defer(MORNING, "frequency_cap")


@pytest.mark.parametrize(("paused", "quiet", "capped"), list(product([False, True], repeat=3)))
def test_rule_10_transactional_mail_goes_whatever_binds_marketing(paused: bool, quiet: bool, capped: bool) -> None:
    policy = Policy(QuietHours(time(21), time(8), skips=True) if quiet else None, (Cap(1, DAY),) if capped else ())
    recipient = a_recipient(paused_until=PAUSED_UNTIL if paused else None, mailed=(EVENING - HOUR,), going=3)
    assert judged(EVENING, policy, recipient, category="transactional") == Send()


def test_rule_10_what_skips_is_given_up_at_once_and_says_why() -> None:
    assert judged(EVENING, Policy(QuietHours(time(21), time(8), skips=True))) == Suppress("quiet_hours")
    assert judged(NOON, Policy(None, (Cap(1, 20 * HOUR),)), a_recipient(mailed=(NOON - HOUR,))) == Suppress("frequency_cap")
    both = Policy(NIGHT, (Cap(2, 7 * DAY), Cap(1, HOUR, skips=False)))
    assert judged(EVENING, both, a_recipient(mailed=(EVENING - DAY, EVENING - 2 * DAY))) == Suppress("frequency_cap")


def test_rule_10_the_strictest_of_several_caps_counts() -> None:
    caps = (Cap(1, 20 * HOUR, skips=False), Cap(2, 7 * DAY, skips=False))
    recipient = a_recipient(mailed=(NOON - HOUR, NOON - 2 * DAY))
    assert judged(NOON, Policy(None, caps), recipient) == Defer(NOON + 5 * DAY, "frequency_cap")


@pytest.mark.parametrize(
    ("zone", "decision"),
    [
        ("Asia/Tehran", Defer(utc("2027-03-02T04:30"), "quiet_hours")),
        ("America/New_York", Send()),
        (None, Defer(utc("2027-03-01T23:00"), "quiet_hours")),  # the playbook's own: Tokyo, 08:00
        ("Nowhere/Else", Defer(utc("2027-03-01T23:00"), "quiet_hours")),
    ],
)
def test_rule_10_quiet_hours_are_the_readers_own_or_the_playbooks_where_his_zone_is_unknown(zone: str | None, decision: Decision) -> None:
    policy = Policy(NIGHT, (), "Asia/Tokyo")
    assert judged(utc("2027-03-01T18:30"), policy, a_recipient(zone)) == decision


def test_rule_10_what_stands_against_an_address_comes_before_any_waiting() -> None:
    silent = Recipient(a_lead(consent=Consent(), timezone="UTC"), paused_until=PAUSED_UNTIL)
    assert decide(a_delivery(), silent, Policy(NIGHT), EVENING) == Suppress("no_consent")
    left = Recipient(a_lead(consent=Consent(marketing=True, address="ana@example.com", topics={"offers": False}), timezone="UTC"))
    assert decide(a_delivery(topic="offers"), left, Policy(NIGHT), EVENING) == Suppress("topic")


@pytest.mark.parametrize(
    ("expires_at", "state"),
    [
        (MORNING + timedelta(seconds=1), State("deferred", "quiet_hours", None, MORNING)),
        (MORNING, State("suppressed", "quiet_hours", "until 2027-03-02 08:00 UTC, later than its max_age allows")),
        (EVENING + HOUR, State("suppressed", "quiet_hours", "until 2027-03-02 08:00 UTC, later than its max_age allows")),
    ],
)
def test_rule_10_a_deferral_beyond_max_age_skips_at_once(expires_at: datetime, state: State) -> None:
    delivery = a_delivery(expires_at=expires_at)
    decision = decide(delivery, a_recipient(), Policy(NIGHT), EVENING)
    assert isinstance(decision, Defer)
    assert decided(delivery, decision) == state


@given(
    quiet=st.none()
    | st.builds(QuietHours, st.just(time(21)), st.sampled_from([time(7), time(23, 30)]), st.frozensets(st.integers(0, 6), max_size=5)),
    caps=st.lists(st.builds(lambda n, hours: Cap(n, hours * HOUR, skips=False), st.integers(1, 3), st.integers(1, 200)), max_size=3),
    mailed=st.lists(st.integers(0, 200), max_size=8),
    paused=st.none() | st.integers(1, 40 * 24),
    zone=st.sampled_from(["UTC", "Europe/Dublin", "Asia/Tehran", None]),
    minutes=st.integers(0, 60 * 24 * 60),
)
def test_rule_10_what_waits_waits_for_the_first_moment_that_all_allow_and_no_longer(
    quiet: QuietHours | None, caps: list[Cap], mailed: list[int], paused: int | None, zone: str | None, minutes: int
) -> None:
    now = NOON + timedelta(minutes=minutes)
    policy = Policy(quiet, tuple(caps), "Europe/Dublin")
    recipient = a_recipient(zone, mailed=tuple(now - hour * HOUR for hour in mailed), paused_until=now + paused * HOUR if paused else None)
    decision = judged(now, policy, recipient)
    if isinstance(decision, Defer):
        assert judged(decision.until, policy, recipient) == Send()
        assert isinstance(judged(decision.until - timedelta(seconds=1), policy, recipient), Defer)
    else:
        assert decision == Send()


@pytest.mark.parametrize(("paused", "quiet", "capped"), list(product([False, True], repeat=3)))
def test_rule_10_with_everything_set_to_skip_the_pause_alone_still_waits(paused: bool, quiet: bool, capped: bool) -> None:
    policy = Policy(QuietHours(time(21), time(8), skips=True) if quiet else None, (Cap(1, DAY),) if capped else ())
    until = EVENING + 2 * DAY + 12 * HOUR  # ten in the morning, when the cap has room
    recipient = a_recipient(paused_until=until if paused else None, mailed=(EVENING - HOUR,))
    allowed = Defer(until, "paused") if paused else Send()
    skipped = Suppress("quiet_hours") if quiet else Suppress("frequency_cap") if capped else None
    assert judged(EVENING, policy, recipient) == (allowed if paused else skipped or allowed)


# rule 9


def test_rule_09_transactional_first_then_priority() -> None:
    order = [a_send(category="transactional", priority=900), a_send(priority=1), a_send(priority=30), a_send()]
    assert sorted(order, key=rank) == order


def test_rule_09_who_comes_after_one_in_hand_waits_to_see_whether_it_goes() -> None:
    """Else a mail of lower priority could take the last place of a cap while a more urgent one is on its way."""
    policy = Policy(None, (Cap(1, 20 * HOUR),))
    assert judged(NOON, policy, a_recipient(going=1)) == Defer(NOON + SOON, None)
    assert judged(NOON, policy, a_recipient(mailed=(NOON,), going=1)) == Suppress("frequency_cap")
    assert judged(NOON, Policy(None, (Cap(2, 20 * HOUR),)), a_recipient(going=1)) == Send()
