"""Hand-offs between their webhooks, the people who answer and the clock: load, decide (`handoffs.py`), save, tell.

consumer ──receive──► rows      ledger ──settled──► the clock begins      POST /hooks/handoff/ ──answer──► `Handoff Accepted` and its like
metronome ──tick──► the fallback's webhook, or `Handoff Expired`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.mailer import handoff_store, leads, store
from services.mailer.editions import Editions
from services.mailer.events import handoff_event
from services.mailer.handoffs import Answer, Handoff, answered, expired, opened, passed_on, to_fallback, told, undeliverable
from services.mailer.policy import WAITING, Delivery, State
from services.mailer.sla import Sla
from services.mailer.webhook import webhook_body
from shared import wire
from shared.db import Database
from shared.errors import ConfigurationError
from shared.failpoints import passing
from shared.telemetry import log as logger
from shared.work import Outbox, Work

BATCH = 100
"""Clocks that have run out and are seen to in one transaction."""
LOOKS_AGAIN = timedelta(seconds=1)
"""When to come back for those that another replica sees to."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of an answer: whether it was taken, and how the hand-off stands."""

    taken: bool
    handoff: Handoff


class HandoffDesk:
    """The shell around `handoffs`. Each of its calls is one transaction, or part of the one it is handed."""

    def __init__(self, outbox: Outbox, database: Database, editions: Editions, respond_url: Callable[[str], str]) -> None:
        self._outbox = outbox
        self._database = database
        self._editions = editions
        self._respond_url = respond_url

    def body(self, send: wire.Send, handoff_id: str) -> bytes:
        """What the webhook of this message says, on every attempt."""
        return webhook_body(send, handoff_id, self._respond_url(send.id))

    async def receive(self, work: Work, sends: Sequence[wire.Send]) -> None:
        """Open a hand-off for each message that has just been received."""
        now_is = await leads.resolve(work.conn, {send.lead_id for send in sends})
        new = [opened(send, now_is[send.lead_id], await self._sla(send), work.now) for send in sends]
        await handoff_store.open_all(work.conn, new)

    async def settled(self, work: Work, changes: Sequence[tuple[Delivery, State]]) -> None:
        """Attempts at webhooks ended: the clock starts where an endpoint took one, and ends where it never will. Their rows are locked."""
        moved = {row.id: (row, state) for row, state in changes if row.kind == "webhook" and state.status in ("sent", "failed")}
        waiting = [one for one in await handoff_store.lock(work.conn, moved) if one.told_at is None] if moved else []
        after = [await self._after_attempt(one, *moved[one.delivery_id], work.now) for one in waiting if one.status == "open"]
        await handoff_store.save_clocks(work.conn, after)

    async def _after_attempt(self, handoff: Handoff, row: Delivery, state: State, now: datetime) -> Handoff:
        return told(handoff, await self._sla(row.send), now) if state.status == "sent" else undeliverable(handoff, row.send, now)

    async def find(self, delivery_id: str) -> tuple[Handoff, Delivery] | None:
        """The hand-off that a webhook told of, with the webhook; None where nothing of it is kept any more."""
        async with self._database.reading() as connection:
            handoff = await handoff_store.find(connection, delivery_id)
            delivery = await store.find_delivery(connection, delivery_id)
        return (handoff, delivery) if handoff and delivery and handoff.lead_id else None

    async def answer(self, delivery_id: str, answer: Answer) -> Judged | None:
        """What sales says to the webhook of that id. Of two answers the row takes one; None as in `find`.

        Whoever no longer has the lead may still accept it; only who has it can put it off or turn it down.
        """
        async with self._outbox.work() as work:
            handoff = await self._locked(work, delivery_id)
            if handoff is None or not handoff.lead_id:
                return None
            if handoff.status != "open" or (answer.word != "accepted" and handoff.delivery_id != delivery_id):
                return Judged(False, handoff)
            row = (await store.lock(work.conn, [handoff.delivery_id]))[handoff.delivery_id]
            after = answered(handoff, answer, await self._sla(row.send), work.now)
            await handoff_store.save(work.conn, handoff, after)
            if after.status != "open":
                await _stop(work, row, "answered")
            await _tell(work, row, after, answer.word)
            passing("mailer.before_answer")
        passing("mailer.after_answer")
        return Judged(True, after)

    async def _locked(self, work: Work, delivery_id: str) -> Handoff | None:
        """The hand-off with its newest webhook's row, both locked in the order that everybody keeps."""
        while True:
            found = await handoff_store.find(work.conn, delivery_id)
            if found is None:
                return None
            await store.lock(work.conn, [found.delivery_id])
            locked = await handoff_store.lock(work.conn, [found.delivery_id])
            if locked:  # else it was passed on between the two
                return locked[0]

    async def tick(self, now: datetime) -> datetime | None:
        """See to the clocks that have run out; answers when the next one will."""
        async with self._database.reading() as connection:
            due = await handoff_store.load_due(connection, now, BATCH)
            following = await handoff_store.next_due(connection) if not due else None
        if not due:
            return following
        async with self._outbox.work() as work:
            rows = await store.lock(work.conn, [handoff.delivery_id for handoff in due], only_free=True)
            for handoff in await handoff_store.lock(work.conn, rows):
                if handoff.due_at is not None and handoff.due_at <= now:
                    await self._run_out(work, handoff, rows[handoff.delivery_id])
        return now if rows else now + LOOKS_AGAIN

    async def _run_out(self, work: Work, handoff: Handoff, row: Delivery) -> None:
        if row.send.fallback:
            await self._pass_on(work, handoff, row)
            return
        after = expired(handoff, work.now)
        await handoff_store.save(work.conn, handoff, after)
        await _tell(work, row, after, "expired")

    async def _pass_on(self, work: Work, handoff: Handoff, row: Delivery) -> None:
        """The fallback gets it by a webhook of its own; the first endpoint, if it did not take it yet, no more."""
        await _stop(work, row, "passed_on")
        send = to_fallback(row.send, work.now)
        await store.receive(work, [send], {send.id: self.body(send, handoff.id)})
        await handoff_store.save(work.conn, handoff, passed_on(handoff, send.id, await self._sla(send), work.now))
        logger.info("handoff.passed_on", handoff_id=handoff.id, delivery_id=send.id, endpoint=send.endpoint)

    async def _sla(self, send: wire.Send) -> Sla | None:
        """Its SLA; in working hours that its playbook does not say (any more), every hour counts."""
        if send.sla is None:
            return None
        try:
            hours = (await self._editions.version(send.version)).working_hours if send.sla_working else None
        except ConfigurationError:
            hours = None
        return Sla(send.sla, hours)


async def _stop(work: Work, row: Delivery, why: str) -> None:
    """Try no more to deliver what needs no delivering any more."""
    if row.status in WAITING:
        await store.save_states(work, [(row, State("suppressed", why, attempts=row.attempts))])


async def _tell(work: Work, row: Delivery, handoff: Handoff, word: str) -> None:
    lead_id = (await leads.resolve(work.conn, [handoff.lead_id]))[handoff.lead_id]
    store.tell(work, handoff_event(row.send, handoff, word, work.now, lead_id))
    logger.info("handoff.moved", handoff_id=handoff.id, word=word, moves=handoff.moves)
