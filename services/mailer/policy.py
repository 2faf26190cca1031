"""What becomes of a delivery: whether it may go now, and where an attempt's outcome leaves it. Pure.

received ──► queued ──decide──► sending ──settle──► sent | deferred | in_doubt | failed
                 └────────────► suppressed | deferred | failed
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, assert_never

from services.mailer.caps import Cap, free_at
from services.mailer.outcomes import Deferred, Delivered, Gone, Held, InDoubt, Outcome, Refused, Unwritten
from services.mailer.quiet import QuietHours, quiet_until
from shared import wire
from shared.local_time import find_zone

Status = Literal["queued", "sending", "sent", "deferred", "suppressed", "in_doubt", "failed"]
WAITING: frozenset[str] = frozenset({"queued", "deferred"})
WhenInDoubt = Literal["hold", "retry"]

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
MAIL_RETRIES = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 8 * HOUR)
"""Between one 4xx and the next try; nine of them fill 24 hours."""
WEBHOOK_RETRIES = (timedelta(seconds=5), 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR)
WEBHOOK_JITTER = 0.1
LONGEST_RETRY_AFTER = timedelta(hours=24)

LEAD_ON_ITS_WAY = timedelta(seconds=60)
"""A message may overtake its lead's activity by this much before it counts as deferred."""
LEAD_AWAITED = timedelta(hours=24)

NEWEST_PLAYBOOK = frozenset({"template", "gone", "endpoint_disabled"})
"""Reasons that a newer playbook may mend: such a delivery goes by the newest from then on, no more by its own."""

TRANSACTIONAL_FIRST = 1_000_000
TOPIC = "topic:"
"""Begins the scope of a suppression that is for one topic only."""
PUTS_OFF = frozenset({"paused", "quiet_hours", "frequency_cap", "warm_up"})
SOON = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the ledger, as decisions see it."""

    id: str
    kind: Literal["email", "webhook"]
    lead_id: str
    send: wire.Send
    status: Status
    queued_at: datetime
    reason: str | None = None
    attempts: int = 0
    claims: int = 0
    address: str | None = None
    message_id: str | None = None
    targets: tuple[str, ...] = ()
    by_newest: bool = False
    body: bytes | None = None
    withdrawn: str | None = None  # why it was taken back
    lane: str = ""  # what it waits in


@dataclass(frozen=True, slots=True)
class Suppression:
    scope: str  # all | marketing | topic:NAME
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Recipient:
    """The lead a delivery is for, and what is known of the address it goes to: what stands against it, and what marketing it got."""

    lead: wire.Lead
    suppressions: tuple[Suppression, ...] = ()
    paused_until: datetime | None = None  # by the reader's own wish
    mailed: tuple[datetime, ...] = ()  # when, as far back as the longest cap looks
    going: int = 0  # more that are in hand and will count unless they fail


@dataclass(frozen=True, slots=True)
class Policy:
    """When mail may go, as the playbook in force has it. Rates bind all of it, the rest marketing only.

    `timezone` is that of leads of whom we know none, and of the days by which a new sender warms up; `warm_up` is his name, `rates` are the
    mails a second, by lane.
    """

    quiet_hours: QuietHours | None = None
    caps: tuple[Cap, ...] = ()
    timezone: str = "UTC"
    warm_up: str | None = None
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def remembers(self) -> timedelta:
        """How far back the longest cap looks."""
        return max((cap.per for cap in self.caps), default=timedelta(0))


@dataclass(frozen=True, slots=True)
class Send:
    """It may go now."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Look again at `until`. Without a reason it simply stays queued."""

    until: datetime
    why: str | None


@dataclass(frozen=True, slots=True)
class Suppress:
    why: str


@dataclass(frozen=True, slots=True)
class Fail:
    why: str


Decision = Send | Defer | Suppress | Fail


@dataclass(frozen=True, slots=True)
class State:
    """Where a delivery stands after a decision or an attempt."""

    status: Status
    reason: str | None = None
    detail: str | None = None
    due_at: datetime | None = None
    attempts: int = 0


def rank(send: wire.Send) -> int:
    """The order among those that are due: transactional first, then the journey's priority."""
    return send.priority - TRANSACTIONAL_FIRST if send.category == "transactional" else send.priority


def address_key(address: str) -> str:
    """What two spellings of one mailbox have in common: suppressions and consent are kept under it."""
    return address.strip().casefold()


def decide(delivery: Delivery, recipient: Recipient | None, policy: Policy, now: datetime) -> Decision:
    """Whether the delivery may go at `now`. Asked when it is claimed, and again in the transaction that marks it `sending`.

    A hand-off is no mail: neither consent nor suppression stops it. Pauses, quiet hours and caps bind marketing only. `recipient` is None
    while its lead is not known here.
    """
    if delivery.withdrawn is not None:
        return Suppress(delivery.withdrawn)
    if delivery.send.expires_at is not None and now >= delivery.send.expires_at:
        return Suppress("expired")
    if delivery.kind == "webhook":
        return Send()
    if recipient is None:
        return _lead_unknown(delivery, now)
    obstacle = _obstacle(delivery.send, recipient)
    if obstacle is not None:
        return Suppress(obstacle)
    return Send() if delivery.send.category == "transactional" else _in_its_time(recipient, policy, now)


def _lead_unknown(delivery: Delivery, now: datetime) -> Decision:
    age = now - delivery.queued_at
    if age < LEAD_ON_ITS_WAY:
        return Defer(now + timedelta(seconds=5), None)
    if age < LEAD_AWAITED:
        return Defer(now + 5 * MINUTE, "lead_unknown")
    return Fail("lead_unknown")


def address_of(send: wire.Send, lead: wire.Lead) -> str | None:
    """Where this mail goes: to the address that its message names, else to the lead's."""
    return send.to or lead.email


def _obstacle(send: wire.Send, recipient: Recipient) -> str | None:
    address, consent = address_of(send, recipient.lead), recipient.lead.consent
    if not address:
        return "no_address"
    if any(suppression.scope == "all" for suppression in recipient.suppressions):
        return "suppressed"
    if send.to is None and not recipient.lead.address_trusted:
        return "unconfirmed_address" if send.category == "transactional" else "no_consent"
    if send.category == "transactional":
        return None
    if not consent.marketing or consent.address is None or address_key(consent.address) != address_key(address):
        return "no_consent"
    standing = {suppression.scope for suppression in recipient.suppressions if suppresses(suppression, consent)}
    if "marketing" in standing:
        return "no_consent"
    if send.topic is not None and (consent.topics.get(send.topic) is False or TOPIC + send.topic in standing):
        return "topic"
    return None


def suppresses(suppression: Suppression, consent: wire.Consent) -> bool:
    """Whether it stands: unsubscribing is kept here at once, and only a later word on the same thing lifts it."""
    scope = suppression.scope
    said_at = consent.topics_at.get(scope.removeprefix(TOPIC)) if scope.startswith(TOPIC) else consent.at
    return said_at is None or said_at <= suppression.at


def _in_its_time(recipient: Recipient, policy: Policy, now: datetime) -> Decision:
    """Rule 10, for a marketing mail that may go at all: at the first moment that pause, quiet hours and caps allow."""
    moment, why = now, ""
    if recipient.paused_until is not None and recipient.paused_until > now:
        moment, why = recipient.paused_until, "paused"
    if (quiet_end := _quiet_until(recipient, policy, moment)) is not None:
        if moment == now and policy.quiet_hours is not None and policy.quiet_hours.skips:
            return Suppress("quiet_hours")
        moment, why = quiet_end, why or "quiet_hours"
    hits = list(_hits(policy, recipient.mailed, moment))
    if any(cap.skips for cap, _ in hits):
        return Suppress("frequency_cap")
    if hits:
        free = max(free for _, free in hits)
        moment, why = _quiet_until(recipient, policy, free) or free, why or "frequency_cap"
    if why:
        return Defer(moment, why)
    reserved = (*recipient.mailed, *[now] * recipient.going)
    return Defer(now + SOON, None) if any(_hits(policy, reserved, now)) else Send()


def _quiet_until(recipient: Recipient, policy: Policy, moment: datetime) -> datetime | None:
    if policy.quiet_hours is None:
        return None
    zone = find_zone(recipient.lead.timezone or "") or find_zone(policy.timezone) or find_zone("UTC")
    assert zone is not None
    return quiet_until(policy.quiet_hours, zone, moment)


def _hits(policy: Policy, mailed: Sequence[datetime], moment: datetime) -> Iterator[tuple[Cap, datetime]]:
    """The caps that are full at this moment, each with when it has room again."""
    for cap in policy.caps:
        free = free_at(cap, mailed, moment)
        if free is not None:
            yield cap, free


def decided(delivery: Delivery, decision: Defer | Suppress | Fail) -> State:
    """Where a decision other than to send leaves the delivery."""
    match decision:
        case Defer(until, why):
            return _put_off(delivery, until, why)
        case Suppress(why):
            return State("suppressed", why, attempts=delivery.attempts)
        case Fail(why):
            return State("failed", why, attempts=delivery.attempts)
        case never:
            assert_never(never)


def _put_off(delivery: Delivery, until: datetime, why: str | None) -> State:
    """What a pause, quiet hours, a cap or the warm-up would hold beyond its `max_age` is given up at once, for that reason."""
    expires_at = delivery.send.expires_at
    if why not in PUTS_OFF:
        return _waiting(delivery, "deferred" if why else delivery.status, why or delivery.reason, until)
    if expires_at is not None and until >= expires_at:
        return State("suppressed", why, f"until {until:%Y-%m-%d %H:%M} UTC, later than its max_age allows", attempts=delivery.attempts)
    return State("deferred", why, None, until, delivery.attempts)


def settle(delivery: Delivery, outcome: Outcome, now: datetime, *, when_in_doubt: WhenInDoubt, held_until: datetime) -> State:
    """Where an attempt's outcome leaves the delivery. `held_until` is when its lane opens again."""
    tried = delivery.attempts + 1
    match outcome:
        case Delivered():
            return State("sent", detail=outcome.detail, attempts=tried)
        case Deferred():
            return _retry(delivery, outcome, tried, now)
        case Refused():
            return State("failed", outcome.reason, outcome.detail, attempts=tried)
        case Held():
            return _waiting(delivery, "deferred", outcome.reason, held_until, outcome.detail)
        case InDoubt():
            return _in_doubt(delivery, outcome, tried, now, when_in_doubt)
        case Gone():
            return State("failed", "gone", outcome.detail, attempts=tried)
        case Unwritten():
            until = delivery.send.expires_at if delivery.by_newest else now  # the newest may have mended it already
            return State("deferred", "template", outcome.detail, until, delivery.attempts)
        case never:
            assert_never(never)


def _retry(delivery: Delivery, outcome: Deferred, tried: int, now: datetime) -> State:
    pause = retry_after(delivery, tried)
    if pause is None:
        return State("failed", outcome.reason, outcome.detail, attempts=tried)
    asked = min(outcome.retry_after or timedelta(0), LONGEST_RETRY_AFTER)
    return _waiting(delivery, "deferred", outcome.reason, now + max(pause, asked), outcome.detail, tried)


def _in_doubt(delivery: Delivery, outcome: InDoubt, tried: int, now: datetime, when_in_doubt: WhenInDoubt) -> State:
    pause = retry_after(delivery, tried)
    if when_in_doubt == "hold" or pause is None:
        return State("in_doubt", outcome.reason, outcome.detail, attempts=tried)
    return State("queued", outcome.reason, outcome.detail, now + pause, tried)


def _waiting(
    delivery: Delivery, status: Status, reason: str | None, until: datetime, detail: str | None = None, tried: int | None = None
) -> State:
    """Waiting until then; what would have to wait beyond its `max_age` is given up at once."""
    attempts = delivery.attempts if tried is None else tried
    expires_at = delivery.send.expires_at
    if expires_at is not None and until >= expires_at:
        return State("suppressed", "expired", detail, attempts=attempts)
    return State(status, reason, detail, until, attempts)


def retry_after(delivery: Delivery, tried: int) -> timedelta | None:
    """How long to wait after the `tried`-th attempt; None when that was the last."""
    schedule = WEBHOOK_RETRIES if delivery.kind == "webhook" else MAIL_RETRIES
    if tried > len(schedule):
        return None
    pause = schedule[tried - 1]
    return pause * _jitter(delivery.id, tried) if delivery.kind == "webhook" else pause


def _jitter(delivery_id: str, tried: int) -> float:
    """A factor within ±10 %, the same for the same attempt."""
    digest = hashlib.blake2b(f"{delivery_id}\0{tried}".encode(), digest_size=4).digest()
    return 1 + WEBHOOK_JITTER * (int.from_bytes(digest) / 0xFFFFFFFF * 2 - 1)
