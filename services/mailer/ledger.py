"""The three moves of a delivery that is going out, each one transaction: claimed, marked `sending`, settled.

Between them anything may happen: a crash, an unsubscription, a withdrawal, another replica. Each move therefore locks the row, looks at it
anew, and does nothing where somebody else has moved it since (`claims` is the fence).
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads, policy, store
from services.mailer.climbing import load_allowance, save_allowance
from services.mailer.editions import Editions
from services.mailer.endpoints import Mark, disable
from services.mailer.events import BOUNCED, mail_event
from services.mailer.handoff_desk import HandoffDesk
from services.mailer.lanes import RELAY, Rooms, domain_lane, is_mail
from services.mailer.outcomes import InDoubt, Outcome, Refused
from services.mailer.policy import (
    WAITING,
    Decision,
    Delivery,
    Policy,
    Recipient,
    Send,
    State,
    Suppress,
    WhenInDoubt,
    address_of,
    decide,
    decided,
)
from services.mailer.recipients import load_domains, load_recipients
from services.mailer.store import Front
from shared import wire
from shared.failpoints import passing
from shared.work import Outbox, Work

CLAIM_LEASE = timedelta(minutes=5)
"""How long one has to get from the claim to the mark; longer than an offer may take."""
SENDING_LEASE = timedelta(minutes=15)
"""How long one has to learn the outcome; longer than the relay may take to answer."""

SORTED = 250
"""So many at most are looked at together for whether their domain has a rate, and with it a lane, of its own."""

OPEN = WAITING | {"sending"}

_encode_targets = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery in our hands, with the lead it goes to (None for a hand-off: it carries its own)."""

    delivery: Delivery
    lead: wire.Lead | None = None

    @property
    def address(self) -> str | None:
        return address_of(self.delivery.send, self.lead) if self.lead else None


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim took in hand, and how many rows it moved in all."""

    claims: list[Claim]
    moved: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about a delivery; `change` is what that makes of its row, None where it may go."""

    claim: Claim
    decision: Decision

    @property
    def change(self) -> tuple[Delivery, State] | None:
        return None if isinstance(self.decision, Send) else (self.claim.delivery, decided(self.claim.delivery, self.decision))


@dataclass(frozen=True, slots=True)
class Written:
    """A mail that is ready: what the ledger must keep of it."""

    claim: Claim
    message_id: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """An attempt's outcome, with what decides about the next one."""

    claim: Claim
    outcome: Outcome
    when_in_doubt: WhenInDoubt
    held_until: datetime
    disables: Mark | None = None  # the endpoint that is gone


class Ledger:
    """The shell around `policy`: load, decide, save."""

    def __init__(self, outbox: Outbox, editions: Editions, desk: HandoffDesk) -> None:
        self._outbox = outbox
        self._editions = editions
        self._desk = desk

    async def claim(self, fronts: Sequence[Front], rooms: Rooms, in_hand: Collection[str], now: datetime) -> Claimed:
        """Take due deliveries, as many as there is room; those that may not go are settled here. `in_hand` are ours already."""
        async with self._outbox.work() as work:
            due, rerouted = await self._lock_due(work, fronts, rooms, in_hand, now)
            await self._doubt_expired(work, [delivery for delivery in due if delivery.status == "sending"])
            claims = await self._take(work, [delivery for delivery in due if delivery.status in WAITING])
            passing("mailer.before_claim")
        passing("mailer.after_claim")
        return Claimed(claims, len(due) + rerouted)

    async def _lock_due(
        self, work: Work, fronts: Sequence[Front], rooms: Rooms, in_hand: Collection[str], now: datetime
    ) -> tuple[list[Delivery], int]:
        """What is due and has room, and how many more were given another lane."""
        due: list[Delivery] = []
        rates = (await self._editions.policy()).rates
        for front in fronts:
            if room := rooms.of(front.lane):
                sorts = is_mail(front.lane) and any(lane != RELAY for lane in rates)
                locked = await store.lock_due(work.conn, front, now, (max(room, SORTED) if sorts else room) + len(in_hand))
                free = [delivery for delivery in locked if delivery.id not in in_hand]
                elsewhere = await _elsewhere(work.conn, free, rates) if sorts else {}
                if elsewhere:  # first they find their places: what waits behind them here must not overtake them
                    await store.reroute(work.conn, elsewhere)
                    return due, len(elsewhere)
                due += free[:room]
                rooms.take(front.lane, min(room, len(free)))
        return due, 0

    async def _doubt_expired(self, work: Work, expired: Sequence[Delivery]) -> None:
        """Still `sending` after its lease: whoever sent it is gone, and the mail may have been accepted."""
        outcome = InDoubt("interrupted")
        states = []
        for delivery in expired:
            wish = await self._editions.when_in_doubt(delivery)
            states.append((delivery, policy.settle(delivery, outcome, work.now, when_in_doubt=wish, held_until=work.now)))
        await store.save_states(work, states)

    async def _take(self, work: Work, due: Sequence[Delivery]) -> list[Claim]:
        judged = await judge(work.conn, due, await self._editions.policy(), work.now)
        await store.save_states(work, [change for verdict in judged if (change := verdict.change)])
        going = [verdict.claim for verdict in judged if isinstance(verdict.decision, Send)]
        await store.take(work.conn, [(claim.delivery, claim.address) for claim in going], work.now, work.now + CLAIM_LEASE)
        return [replace(claim, delivery=replace(claim.delivery, claims=claim.delivery.claims + 1)) for claim in going]

    async def mark(self, work: Work, mails: Sequence[Written]) -> list[bool]:
        """Mark those that may still go as `sending`: after the commit their mails must be handed over. False: keep your hands off."""
        rows = await store.lock(work.conn, [mail.claim.delivery.id for mail in mails])
        ours = [rows[mail.claim.delivery.id] for mail in mails if _is_ours(rows.get(mail.claim.delivery.id), mail.claim, WAITING)]
        judged = await judge(work.conn, ours, await self._editions.policy(), work.now, marking=True)
        verdicts = {verdict.claim.delivery.id: verdict for verdict in judged}
        going = {mail.claim.delivery.id: mail for mail in mails if _may_go(mail, verdicts.get(mail.claim.delivery.id))}
        staying = [verdict for delivery_id, verdict in verdicts.items() if delivery_id not in going]
        await store.save_states(work, [verdict.change or _again(verdict.claim.delivery, work.now) for verdict in staying])
        sending = [
            {"the_id": delivery_id, "message_id": mail.message_id, "targets": _encode_targets(mail.targets)}
            for delivery_id, mail in going.items()
        ]
        await store.mark_sending(work.conn, sending, work.now, work.now + SENDING_LEASE)
        passing("mailer.before_sending")
        return [mail.claim.delivery.id in going for mail in mails]

    async def settle(self, work: Work, endings: Sequence[Ending]) -> list[None]:
        """Write down how attempts ended."""
        rows = await store.lock(work.conn, [ending.claim.delivery.id for ending in endings])
        ours = [
            (rows[ending.claim.delivery.id], ending)
            for ending in endings
            if _is_ours(rows.get(ending.claim.delivery.id), ending.claim, OPEN)
        ]
        dead = [ending for _, ending in ours if isinstance(ending.outcome, Refused) and ending.outcome.dead_address]
        for ending in dead:
            _tell_bounced(work, ending)
        changes = [(row, _settled(row, ending, work.now)) for row, ending in ours]
        await store.save_states(work, changes)
        await self._desk.settled(work, changes)
        await leads.save_suppressions(work.conn, [_dead_address(ending, work.now) for ending in dead])
        for _, ending in ours:
            if ending.disables is not None:
                await disable(work.conn, ending.disables, "gone", work.now)
        passing("mailer.before_settle")
        return [None] * len(endings)


async def judge(
    connection: AsyncConnection, deliveries: Sequence[Delivery], policy: Policy, now: datetime, *, marking: bool = False
) -> list[Verdict]:
    """Decide about each in its turn, by what is known of its lead, its address and its withdrawal at this moment.

    What may go counts for those behind it: rule 9, caps take them in that order. Being claimed reserves a place, being marked takes it.
    """
    if not deliveries:
        return []
    allowance = await load_allowance(connection, policy, deliveries, now, marking=marking)
    recipients = await load_recipients(connection, deliveries, policy, now, marking=marking)
    withdrawn = await store.load_withdrawn(connection, [delivery.id for delivery in deliveries])
    verdicts = []
    for delivery in deliveries:
        verdict = _verdict(replace(delivery, withdrawn=withdrawn.get(delivery.id)), recipients.of(delivery), policy, now)
        if isinstance(verdict.decision, Send):
            verdict = replace(verdict, decision=(allowance and allowance.admit(delivery)) or verdict.decision)
        if isinstance(verdict.decision, Send):
            recipients.takes(delivery, now if marking else None)
        verdicts.append(verdict)
    if marking:
        await save_allowance(connection, allowance)
    return verdicts


def _verdict(delivery: Delivery, recipient: Recipient | None, policy: Policy, now: datetime) -> Verdict:
    lead = recipient.lead if recipient and delivery.kind == "email" else None
    return Verdict(Claim(delivery, lead), decide(delivery, recipient, policy, now))


def _is_ours(row: Delivery | None, claim: Claim, statuses: Set[str]) -> bool:
    """Whether the row still stands where we left it."""
    return row is not None and row.claims == claim.delivery.claims and row.status in statuses


def _may_go(mail: Written, verdict: Verdict | None) -> bool:
    """Allowed now, and still to the address that it was written for."""
    return verdict is not None and isinstance(verdict.decision, Send) and verdict.claim.address == mail.claim.address


def _again(delivery: Delivery, now: datetime) -> tuple[Delivery, State]:
    """It may go, but not as it was written: its lead has another address by now."""
    return delivery, State(delivery.status, delivery.reason, due_at=now, attempts=delivery.attempts)


def _settled(row: Delivery, ending: Ending, now: datetime) -> State:
    return policy.settle(row, ending.outcome, now, when_in_doubt=ending.when_in_doubt, held_until=ending.held_until)


def _tell_bounced(work: Work, ending: Ending) -> None:
    """The relay knows at once that nobody lives there: a hard bounce, which ends marketing journeys before any goes on past its send."""
    delivery, outcome = ending.claim.delivery, ending.outcome
    assert isinstance(outcome, Refused)
    store.tell(work, mail_event(delivery, BOUNCED, work.now, kind="hard", reason=outcome.reason))


def _dead_address(ending: Ending, now: datetime) -> dict[str, object]:
    delivery = ending.claim.delivery
    return {"address": ending.claim.address, "scope": "all", "reason": "hard_bounce", "delivery_id": delivery.id, "at": now}


async def _elsewhere(connection: AsyncConnection, due: Sequence[Delivery], rates: Mapping[str, float]) -> dict[str, str]:
    """The lanes of those that go to a domain with a rate of its own and stand in another lane."""
    waiting = [delivery for delivery in due if delivery.status in WAITING]
    domains = await load_domains(connection, waiting)
    lanes = [(delivery, domain_lane(domains.get(delivery.id, ""))) for delivery in waiting]
    return {delivery.id: lane for delivery, lane in lanes if lane in rates and lane != delivery.lane}


async def suppress_withdrawn(work: Work, delivery_ids: Collection[str]) -> None:
    """End those of the deliveries that were taken back and have not left."""
    withdrawn = await store.load_withdrawn(work.conn, delivery_ids)
    if not withdrawn:
        return
    rows = await store.lock(work.conn, withdrawn)
    waiting = [row for row in rows.values() if row.status in WAITING]
    await store.save_states(work, [(row, decided(row, Suppress(withdrawn[row.id]))) for row in waiting])
