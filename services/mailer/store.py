"""The ledger in SQL: every statement that writes a delivery, and what is read to decide about one.

Whoever changes a delivery locks its row first and looks at what it is now; a row that moved on is left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Boolean, bindparam, case, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer import leads
from services.mailer.addresses import forget_asked
from services.mailer.events import EVENT_OF, mail_event
from services.mailer.lanes import lane_of
from services.mailer.opt_in import asked_in_vain
from services.mailer.policy import NEWEST_PLAYBOOK, PUTS_OFF, Delivery, State, address_key, rank
from services.mailer.tables import DELIVERIES, RECEIVED, WITHDRAWALS
from shared import wire
from shared.db import among, insert_new
from shared.names import mailbox_of
from shared.telemetry import DELIVERIES as COUNTED
from shared.telemetry import log as logger
from shared.work import Work

D = DELIVERIES.c
COUNT = frozenset({"sending", "sent", "in_doubt"})
"""The states in which a mail counts for the caps of its address; one that did not go makes room again."""
_COLUMNS = (
    *(D.id, D.kind, D.lead_id, D.message, D.status, D.queued_at, D.reason, D.attempts, D.claims),
    *(D.address, D.message_id, D.targets, D.by_newest, D.body, D.lane),
)
_decode_targets = msgspec.json.Decoder(tuple[str, ...]).decode


@dataclass(frozen=True, slots=True)
class Front:
    """The earliest of those that wait in one lane at one rank."""

    lane: str
    rank: int
    due_at: datetime


async def receive(work: Work, sends: Sequence[wire.Send], bodies: dict[str, bytes]) -> list[wire.Send]:
    """One row a message, due at once; answers those that are new, for one that came before changes nothing.

    `bodies` are the hand-offs', by message id.
    """
    now_is = await leads.resolve(work.conn, {send.lead_id for send in sends})
    rows = [_row(send, now_is[send.lead_id], bodies.get(send.id), work.now) for send in sends]
    new = await insert_new(work.conn, DELIVERIES, rows, "id")
    fresh = [send for send in sends if send.id in new]
    await _count_received(work.conn, fresh)
    return fresh


def _row(send: wire.Send, lead_id: str, body: bytes | None, now: datetime) -> dict[str, Any]:
    return {
        "id": send.id,
        "kind": "webhook" if send.kind == "handoff" else "email",
        "lane": lane_of(send),
        "rank": rank(send),
        "lead_id": lead_id,
        "journey": send.journey,
        "version": send.version,
        "step": send.step,
        "template": send.template,
        "status": "queued",
        "attempts": 0,
        "claims": 0,
        "opens": 0,
        "clicks": 0,
        "due_at": now,
        "reached_at": send.reached_at,
        "queued_at": now,
        "targets": b"[]",
        "by_newest": False,
        "address": send.to,
        "message": wire.encode(send),
        "body": body,
    }


async def _count_received(connection: AsyncConnection, sends: Sequence[wire.Send]) -> None:
    counts: dict[tuple[str, str], int] = {}
    for send in sends:
        counts[send.journey, send.step] = counts.get((send.journey, send.step), 0) + 1
    if not counts:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(RECEIVED)
    statement = statement.on_conflict_do_update(
        index_elements=["journey", "step"], set_={"count": RECEIVED.c.count + statement.excluded.count}
    )
    rows = [{"journey": journey, "step": step, "count": counts[journey, step]} for journey, step in sorted(counts)]
    await connection.execute(statement, rows)


async def save_withdrawals(connection: AsyncConnection, withdrawals: Iterable[wire.Withdraw]) -> None:
    rows = [{"id": withdrawal.id, "reason": withdrawal.reason, "at": withdrawal.at} for withdrawal in withdrawals]
    await insert_new(connection, WITHDRAWALS, rows, "id")


async def load_withdrawn(connection: AsyncConnection, delivery_ids: Iterable[str]) -> dict[str, str]:
    """The reasons of those that were taken back."""
    rows = await connection.execute(select(WITHDRAWALS.c.id, WITHDRAWALS.c.reason).where(among(WITHDRAWALS.c.id, delivery_ids)))
    return {row.id: row.reason for row in rows}


async def load_fronts(connection: AsyncConnection) -> list[Front]:
    """The earliest due row of every lane and rank: one index look-up each, however many wait behind."""
    fronts: list[Front] = []
    after: tuple[str, int] = ("", 0)
    while True:
        found = await connection.execute(_NEXT_FRONT, {"lane": after[0], "rank": after[1]})
        row = found.one_or_none()
        if row is None:
            return fronts
        fronts.append(Front(row.lane, row.rank, row.due_at))
        after = (row.lane, row.rank)


_NEXT_FRONT = (
    select(D.lane, D.rank, D.due_at)
    .where(D.due_at.is_not(None), tuple_(D.lane, D.rank) > tuple_(bindparam("lane"), bindparam("rank")))
    .order_by(D.lane, D.rank, D.due_at)
    .limit(1)
)


async def lock_due(connection: AsyncConnection, front: Front, now: datetime, limit: int) -> list[Delivery]:
    """The first due rows of this lane and rank that nobody else has locked."""
    rows = await connection.execute(
        select(*_COLUMNS)
        .where(D.lane == front.lane, D.rank == front.rank, D.due_at <= now)
        .order_by(D.due_at, D.queued_at, D.journey)  # those put off to one moment keep the order in which they came
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_delivery(row) for row in rows]


async def lock(connection: AsyncConnection, delivery_ids: Iterable[str], *, only_free: bool = False) -> dict[str, Delivery]:
    """The rows as they are now, held until the transaction ends; if `only_free`, without those that somebody else holds."""
    wanted = select(*_COLUMNS).where(among(D.id, delivery_ids)).order_by(D.id)
    rows = await connection.execute(wanted.with_for_update(skip_locked=only_free))
    return {row.id: _delivery(row) for row in rows}


async def find_delivery(connection: AsyncConnection, delivery_id: str) -> Delivery | None:
    row = (await connection.execute(select(*_COLUMNS).where(D.id == delivery_id))).one_or_none()
    return None if row is None else _delivery(row)


def _delivery(row: Any) -> Delivery:
    send = wire.decode_message(row.message)
    assert isinstance(send, wire.Send)
    return Delivery(
        id=row.id,
        kind=row.kind,
        lead_id=row.lead_id,
        send=send,
        status=row.status,
        queued_at=row.queued_at,
        reason=row.reason,
        attempts=row.attempts,
        claims=row.claims,
        address=row.address,
        message_id=row.message_id,
        targets=_decode_targets(row.targets),
        by_newest=row.by_newest,
        body=row.body,
        lane=row.lane,
    )


async def reroute(connection: AsyncConnection, lanes: Mapping[str, str]) -> None:
    """These deliveries wait in other lanes from now on, each at the place in line that it had."""
    if lanes:
        await connection.execute(_REROUTE, [{"the_id": delivery_id, "lane": lane} for delivery_id, lane in sorted(lanes.items())])


_REROUTE = update(DELIVERIES).where(D.id == bindparam("the_id")).values(lane=bindparam("lane"), reason="rate")


async def take(connection: AsyncConnection, claims: Sequence[tuple[Delivery, str | None]], now: datetime, until: datetime) -> None:
    """Take deliveries in hand until then: each with the address it is going to. Their `claims` rise by one and fence earlier hands."""
    if claims:
        rows = [_taken(delivery, address) for delivery, address in claims]
        await connection.execute(_TAKE.values(claimed_at=now, due_at=until, counted_at=now), rows)


def _taken(delivery: Delivery, address: str | None) -> dict[str, Any]:
    counts = address is not None and delivery.kind == "email" and delivery.send.category == "marketing"
    counted_for = address_key(address) if counts and address else None
    return {"the_id": delivery.id, "claims": delivery.claims + 1, "address": address, "counted_for": counted_for}


_TAKE = (
    update(DELIVERIES)
    .where(D.id == bindparam("the_id"))
    .values(claims=bindparam("claims"), address=bindparam("address"), counted_for=bindparam("counted_for"))
)


async def mark_sending(connection: AsyncConnection, rows: Sequence[dict[str, Any]], now: datetime, until: datetime) -> None:
    """The point of no return: rows of {the_id, message_id, targets}. What is still `sending` at `until` is in doubt."""
    if rows:
        await connection.execute(_MARK.values(status="sending", due_at=until, counted_at=now), list(rows))


_MARK = update(DELIVERIES).where(D.id == bindparam("the_id")).values(message_id=bindparam("message_id"), targets=bindparam("targets"))


async def save_states(work: Work, changes: Sequence[tuple[Delivery, State]]) -> None:
    """Write where deliveries stand now, and tell of each mail whose step is over."""
    if not changes:
        return
    rows = [
        {
            "the_id": delivery.id,
            "status": state.status,
            "reason": state.reason,
            "detail": state.detail,
            "due_at": state.due_at,
            "attempts": state.attempts,
            "by_newest": delivery.by_newest or state.reason in NEWEST_PLAYBOOK,
            "sent_at": work.now if state.status == "sent" else None,
            "counts": state.status in COUNT,
        }
        for delivery, state in changes
    ]
    await work.conn.execute(_SAVE, rows)
    in_vain = [delivery.send for delivery, state in changes if asked_in_vain(delivery.send, state)]
    await forget_asked(work.conn, [(mailbox_of(send.to or ""), send.reached_at) for send in in_vain])
    for delivery, state in changes:
        _tell(work, delivery, state)


_SAVE = (
    update(DELIVERIES)
    .where(D.id == bindparam("the_id"))
    .values(
        status=bindparam("status"),
        reason=bindparam("reason"),
        detail=bindparam("detail"),
        due_at=bindparam("due_at"),
        attempts=bindparam("attempts"),
        by_newest=bindparam("by_newest"),
        sent_at=bindparam("sent_at"),
        claimed_at=None,
        counted_for=case((bindparam("counts", type_=Boolean()), D.counted_for), else_=None),
    )
)


def _tell(work: Work, delivery: Delivery, state: State) -> None:
    say = logger.debug if state.status == "sent" else logger.info
    say("delivery.moved", delivery_id=delivery.id, kind=delivery.kind, status=state.status, reason=state.reason, attempts=state.attempts)
    COUNTED.labels(delivery.kind, state.status).inc()
    name = EVENT_OF.get(state.status)
    if name is not None and delivery.kind == "email":
        why = {"reason": state.reason} if state.reason else {}
        tell(work, mail_event(delivery, name, work.now, **why))


def tell(work: Work, event: wire.Event) -> None:
    """Tell an event of its lead. Of a message asked for over the API for somebody who is none, there is nobody to tell it of."""
    if event.lead_id:
        work.publish(wire.EVENTS, event.lead_id, event)


async def requeue(work: Work, delivery: Delivery) -> None:
    """Queue it anew, with a fresh retry schedule; whoever has it in hand is fenced off."""
    await work.conn.execute(
        update(DELIVERIES)
        .where(D.id == delivery.id)
        .values(
            status="queued",
            due_at=work.now,
            queued_at=work.now,
            attempts=0,
            claims=delivery.claims + 1,
            claimed_at=None,
            counted_for=None,
        )
    )


async def make_due(connection: AsyncConnection, lead_ids: Iterable[str], now: datetime) -> None:
    """What waited for these leads need not wait longer."""
    waits = (D.status.in_(("queued", "deferred")), D.due_at > now, D.claimed_at.is_(None), D.kind == "email")
    unknown_lead = (D.reason.is_(None) & (D.status == "queued")) | (D.reason == "lead_unknown")
    await connection.execute(update(DELIVERIES).where(among(D.lead_id, lead_ids), *waits, unknown_lead).values(due_at=now))


async def release_templates(connection: AsyncConnection, now: datetime) -> int:
    """A newer playbook is out: what waits for one is due."""
    released = await connection.execute(
        update(DELIVERIES).where(D.status == "deferred", D.reason == "template", D.claimed_at.is_(None)).values(due_at=now)
    )
    return released.rowcount


async def release_put_off(connection: AsyncConnection, now: datetime, lead_id: str | None = None) -> int:
    """What pauses, quiet hours and caps put off is judged anew: one lead's, whose reader goes on, or all where the rules have changed."""
    whose = () if lead_id is None else (D.lead_id == lead_id,)
    released = await connection.execute(
        update(DELIVERIES).where(*whose, D.status == "deferred", D.reason.in_(PUTS_OFF), D.claimed_at.is_(None)).values(due_at=now)
    )
    return released.rowcount


async def release_leftovers(connection: AsyncConnection, now: datetime) -> int:
    """This process works alone and has just begun: whatever is in hand was so in an earlier life, and its lease ends now."""
    released = await connection.execute(
        update(DELIVERIES)
        .where(D.due_at.is_not(None), D.claimed_at.is_not(None))
        .values(due_at=now, claimed_at=None, counted_for=case((D.status.in_(COUNT), D.counted_for), else_=None))
    )
    return released.rowcount
