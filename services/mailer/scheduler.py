"""When deliveries go out: claims what is due, lane by lane, and keeps a bounded number under way.

tick ──claim──► one task a delivery ──attempt──► outcome ──settle──► the metronome is woken for the next
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from services.mailer import store
from services.mailer.attempt import Attempts
from services.mailer.editions import Editions
from services.mailer.endpoints import Mark, mark_of
from services.mailer.group_commit import GroupCommit
from services.mailer.lanes import RELAY, Lane, Rooms, is_mail, lane_of, new_lane
from services.mailer.ledger import Claim, Ending, Ledger
from services.mailer.outcomes import Deferred, Delivered, Gone, Held, InDoubt, Outcome, Refused
from services.mailer.rates import BEAT
from services.mailer.shares import Rates, Shares
from services.mailer.store import Front
from shared.clock import Clock
from shared.db import Database
from shared.errors import Outage
from shared.failpoints import passing
from shared.telemetry import log as logger
from shared.work import Outbox

DRAIN_SECONDS = 5.0
"""How long those under way may take to end when the service is told to stop."""


class Scheduler:
    """`tick` does what is due and answers when it wants to be called again. Belongs to one event loop."""

    def __init__(
        self,
        outbox: Outbox,
        database: Database,
        clock: Clock,
        ledger: Ledger,
        editions: Editions,
        attempts: Attempts,
        settle: GroupCommit[Ending, None],
        *,
        alone: bool,
    ) -> None:
        self._outbox = outbox
        self._database = database
        self._clock = clock
        self._ledger = ledger
        self._editions = editions
        self._attempts = attempts
        self._shares = Shares(database)
        self._settle = settle
        self._just_begun = alone
        self._newest_version: str | None = None
        self._lanes: dict[str, Lane] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self.on_free: Callable[[], None] = lambda: None

    async def tick(self, now: datetime) -> datetime | None:
        """Claim what is due and may go, and start it; does not wait for it to end."""
        await self._release(now)
        async with self._database.reading() as connection:
            fronts = await store.load_fronts(connection)
            await self._attempts.closed.refresh(connection)
        rates = (await self._editions.policy()).rates
        rooms = await self._rooms([front for front in fronts if front.due_at <= now], rates, now)
        due = sorted((front for front in fronts if front.due_at <= now and rooms.of(front.lane) > 0), key=_urgency)
        if not due:
            return self._next(fronts, rates, now)
        claimed = await self._ledger.claim(due, rooms, self._under_way.keys(), now)
        for claim in claimed.claims:
            self._start(claim)
        for limit in (limit for claim in claimed.claims for limit in _limits(claim.delivery.lane, rates)):
            self._shares.spend(limit, now)
        return now if claimed.moved else now + BEAT if rates else None

    async def _rooms(self, due: Sequence[Front], rates: Rates, now: datetime) -> Rooms:
        """What each lane has room for; where its rate does not let so many go now, for fewer."""
        rooms = {lane: self._lane(lane).room(now) for lane in {RELAY, *(front.lane for front in due)}}
        limited = {limit for front in due for limit in _limits(front.lane, rates)}
        if rooms[RELAY]:
            await self._shares.refresh(rates, limited, rooms[RELAY], now)
        return Rooms({lane: min(room, self._shares.open(lane, now)) if lane in limited else room for lane, room in rooms.items()})

    async def _release(self, now: datetime) -> None:
        """Make due what a restart or a newer playbook sets free."""
        if self._just_begun:
            async with self._outbox.work() as work:
                await store.release_leftovers(work.conn, now)
            self._just_begun = False
        newest = await self._editions.newest_version()
        if newest != self._newest_version:
            async with self._outbox.work() as work:
                await store.release_templates(work.conn, now)
                if self._newest_version is not None:
                    await store.release_put_off(work.conn, now)
            self._newest_version = newest

    def _lane(self, name: str) -> Lane:
        name = RELAY if is_mail(name) else name
        if name not in self._lanes:
            self._lanes[name] = new_lane(name)
        return self._lanes[name]

    def _next(self, fronts: Sequence[Front], rates: Rates, now: datetime) -> datetime | None:
        """When a front comes due, a held lane opens or a rate lets more go; a full lane wakes us itself."""
        moments = []
        for front in fronts:
            opens_at = self._lane(front.lane).opens_at(now)
            if opens_at is not None:
                shares = (self._shares.opens_at(limit, now) for limit in _limits(front.lane, rates) if front.due_at <= now)
                moments.append(max(front.due_at, opens_at, *shares))
        return min(moments, default=None)

    def _start(self, claim: Claim) -> None:
        lane = self._lane(lane_of(claim.delivery.send))
        lane.busy += 1
        task = asyncio.create_task(self._carry_out(claim, lane))
        self._under_way[claim.delivery.id] = task

        def ended(_: asyncio.Task[None]) -> None:
            lane.busy -= 1
            del self._under_way[claim.delivery.id]
            self.on_free()

        task.add_done_callback(ended)

    async def _carry_out(self, claim: Claim, lane: Lane) -> None:
        try:
            outcome = await self._attempts.carry_out(claim)
        except Outage as outage:
            outcome = Held("database_away", detail=str(outage))
        except Exception as error:  # noqa: BLE001 - whatever this delivery broke, it stops no other, and nothing of it has left
            logger.exception("delivery.attempt_failed", delivery_id=claim.delivery.id)
            outcome = Deferred("bug", detail=repr(error), unanswered=True)
        if outcome is not None:
            try:
                await self._write_down(await self._ending(claim, outcome, lane))
            except Exception:  # noqa: BLE001 - the lease will run out, and the ledger then says what that means
                logger.exception("delivery.not_settled", delivery_id=claim.delivery.id)

    async def _write_down(self, ending: Ending) -> None:
        """A mail that was handed over never goes again because its ending cannot be written: a person decides about it."""
        try:
            await self._settle.put(ending)
            passing("mailer.after_settle")
        except Exception:
            if ending.claim.delivery.kind != "email" or not isinstance(ending.outcome, Delivered | InDoubt):
                raise
            logger.exception("delivery.not_settled", delivery_id=ending.claim.delivery.id)
            await self._settle.put(replace(ending, outcome=InDoubt("bug"), when_in_doubt="hold"))

    async def _ending(self, claim: Claim, outcome: Outcome, lane: Lane) -> Ending:
        now = self._clock.now()
        if lane.learn(outcome, now):
            _alarm(claim, outcome, lane)
        wish = await self._editions.when_in_doubt(claim.delivery)
        return Ending(claim, outcome, wish, lane.held_until or now, await self._gone(claim) if isinstance(outcome, Gone) else None)

    async def _gone(self, claim: Claim) -> Mark:
        return mark_of((await self._editions.of(claim.delivery)).endpoints[claim.delivery.send.endpoint])

    async def idle(self) -> None:
        """Returns when nothing is under way."""
        while self._under_way:
            await asyncio.wait(list(self._under_way.values()))

    async def stop(self) -> None:
        """Let those under way end, for a while; what is cut off then is made good at the next start."""
        tasks = list(self._under_way.values())
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)


def _limits(lane: str, rates: Rates) -> set[str]:
    """The rates that bind what goes through this lane: that of all mail, and its domain's."""
    return {limit for limit in (RELAY, lane) if limit in rates} if is_mail(lane) else set()


def _urgency(front: Front) -> tuple[int, datetime]:
    """The order among those that share the relay, whichever lanes they wait in."""
    return front.rank, front.due_at


def _alarm(claim: Claim, outcome: Outcome, lane: Lane) -> None:
    ours = isinstance(outcome, Deferred | Refused | Held) and outcome.ours
    say = logger.error if ours else logger.warning
    say("lane.held", lane=lane_of(claim.delivery.send), why=getattr(outcome, "reason", ""), until=lane.held_until)
