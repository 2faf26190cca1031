"""Whether the mailer's promises hold by the numbers: `GET /api/audit`, and what it received, to be compared with what journeys published.

Counts come from indexes. What must never be has an index that stays empty (`tables.ODD`), so that millions are not looked at to say so.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Boolean, ColumnElement, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.handoffs import STATUSES
from services.mailer.opt_in import CONFIRMATION
from services.mailer.tables import DELIVERIES, HANDOFFS, ODD, RECEIVED
from shared.auditing import Check, answer, first_of, house_checks, messages_set_aside, none_of
from shared.db import among
from shared.http import allow
from shared.positions import positions_of
from shared.service import Ports
from shared.wire import MESSAGES

LATE = timedelta(minutes=1)
"""A lease or a clock that ran out this long ago should have been looked at."""
MOST_ASKED = 10_000

D = DELIVERIES.c
H = HANDOFFS.c
NAMED = (D.lead_id.label("lead"), D.journey, D.step, D.id.label("delivery"))
WAITING = ("queued", "sending", "deferred")
ENDED = ("sent", "suppressed", "in_doubt", "failed")
IS_ODD, IS_WEBHOOK = literal_column(f"({ODD})", Boolean()), literal_column("mailer_delivery.kind = 'webhook'", Boolean())
"""Spelled as their indexes spell them: a bound value would hide them."""
Conditions = tuple[ColumnElement[bool], ...]

ODDITIES = {
    "a sent one without its time": (D.status == "sent") & D.sent_at.is_(None),
    "one with a time that was not sent": (D.status != "sent") & D.sent_at.is_not(None),
    "a sent mail without Message-ID": (D.status == "sent") & (D.kind == "email") & D.message_id.is_(None),
    "a settled one that is still due": D.status.in_(ENDED) & D.due_at.is_not(None),
    "a queued one that is never due": (D.status == "queued") & D.due_at.is_(None),
}


class Asked(BaseModel):
    """Messages by their ids."""

    ids: list[str] = Field(max_length=MOST_ASKED)


def audit_routes(ports: Ports) -> APIRouter:
    """Routes of the audit."""
    router = APIRouter(prefix="/api/audit", dependencies=[allow("marketer", "viewer")])

    @router.get("")
    async def audit() -> dict[str, Any]:
        async with ports.database.reading() as connection:
            checks = await _checks(connection, ports.clock.now())
            return answer("mailer", [*checks, *await house_checks(ports, connection, "mailer")])

    @router.get("/received", include_in_schema=False)
    async def received(before: AwareDatetime) -> dict[str, Any]:
        """What is here of the messages reached before a moment, by journey and step; `read` of `ends` says how far topic `messages` is.

        `refused`: those that came and could not be handled.
        """
        moment = before.astimezone(UTC)
        async with ports.database.reading() as connection:
            read = await positions_of(connection, "mailer", MESSAGES)
            items = await count_received(connection, moment)
            refused = await messages_set_aside(connection, "mailer", moment)
        ends = {partition: end for partition, (_, end) in (await ports.log.bounds(MESSAGES)).items()}
        return {"before": before, "items": items, "read": read, "ends": ends, "refused": refused}

    @router.post("/unknown", include_in_schema=False)
    async def unknown(asked: Asked) -> dict[str, Any]:
        """Those of these messages of which there is no delivery."""
        async with ports.database.reading() as connection:
            known = set((await connection.execute(select(D.id).where(among(D.id, asked.ids)))).scalars())
        return {"items": [one for one in asked.ids if one not in known]}

    return router


async def count_received(connection: AsyncConnection, before: datetime) -> list[dict[str, Any]]:
    """How many of the messages whose step was reached before then are here, by journey and step.

    What told a fallback, and what was asked for over the API, does not count: no journey asked for it.
    """
    columns, theirs = (D.journey, D.step), (D.reached_at < before, D.journey != "")
    rows = await connection.execute(select(*columns, func.count()).where(*theirs).group_by(*columns).order_by(*columns))
    counts = {(journey, step): count for journey, step, count in rows}
    told = select(*columns, func.count()).join(HANDOFFS, H.delivery_id == D.id).where(H.id != H.delivery_id, *theirs).group_by(*columns)
    for journey, step, count in await connection.execute(told):
        counts[journey, step] -= count
    return [{"journey": journey, "step": step, "count": count} for (journey, step), count in counts.items() if count]


async def _checks(connection: AsyncConnection, now: datetime) -> list[Check]:
    return [
        *await _by_step(connection),
        *await _given(connection),
        *[await _odd(connection, what) for what in ODDITIES],
        await none_of(
            connection,
            4,
            "no delivery is a `sending` that outlived its lease",
            (*NAMED, D.due_at),
            D.status == "sending",
            D.due_at < now - LATE,
        ),
        await _in_doubt(connection),
        *await _odd_handoffs(connection, now),
    ]


async def _by_step(connection: AsyncConnection) -> list[Check]:
    """For each journey and step: how many messages were received, by the counter beside the ledger, and where its rows stand."""
    received = await connection.execute(select(RECEIVED.c.journey, RECEIVED.c.step, RECEIVED.c.count.label("n")))
    counted = {(row.journey, row.step): row.n for row in received}
    columns = (D.journey, D.step, D.status)
    states: dict[tuple[str, str], dict[str, int]] = {}
    for journey, step, status, count in await connection.execute(select(*columns, func.count()).group_by(*columns)):
        states.setdefault((journey, step), {})[status] = count
    return [_sums_up(key, counted.get(key, 0), states.get(key, {})) for key in sorted(counted.keys() | states.keys())]


def _sums_up(key: tuple[str, str], received: int, states: Mapping[str, int]) -> Check:
    waiting = sum(states.get(status, 0) for status in WAITING)
    ended = {status: states.get(status, 0) for status in ENDED}
    counts = {"journey": key[0], "step": key[1], "received": received, "waiting": waiting, **ended}
    name = f"received = sent + suppressed + waiting + in_doubt + failed ({_where(*key)})"
    return Check(3, name, received, waiting + sum(ended.values()), _said(counts), counts=counts)


def _where(journey: str, step: str) -> str:
    if journey:
        return f"{journey} · {step}"
    return "mails that ask to confirm an address" if step == CONFIRMATION else "messages asked for over the API"


def _said(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if name not in ("journey", "step"))


async def _given(connection: AsyncConnection) -> list[Check]:
    """For each journey and step: how many hand-offs were given, by their webhooks, and where their rows stand."""
    other = HANDOFFS.alias()
    to_fallback = select(other.c.id).where(other.c.delivery_id == D.id, other.c.id != D.id).exists()
    rows = await connection.execute(
        select(D.journey, D.step, H.status, func.count())
        .select_from(DELIVERIES.outerjoin(HANDOFFS, H.id == D.id))
        .where(IS_WEBHOOK, ~to_fallback)
        .group_by(D.journey, D.step, H.status)
    )
    found: dict[tuple[str, str], dict[str | None, int]] = {}
    for journey, step, status, count in rows:
        found.setdefault((journey, step), {})[status] = count
    return [await _answered(connection, key, states) for key, states in sorted(found.items())]


async def _answered(connection: AsyncConnection, key: tuple[str, str], states: Mapping[str | None, int]) -> Check:
    given = sum(states.values())
    counts = {"journey": key[0], "step": key[1], "given": given} | {status: states.get(status, 0) for status in STATUSES}
    name = f"given = open + accepted + rejected + expired ({key[0]} · {key[1]})"
    kept = sum(states.get(status, 0) for status in STATUSES)
    offenders = []
    if kept != given:
        here: Conditions = (IS_WEBHOOK, D.journey == key[0], D.step == key[1])
        known = select(H.id).where((H.id == D.id) | (H.delivery_id == D.id)).exists()
        offenders = (await first_of(connection, select(*NAMED).where(*here, ~known)))[1]
    return Check(3, name, given, kept, _said(counts), offenders, counts)


async def _odd(connection: AsyncConnection, what: str) -> Check:
    """What must not be: `ODD` is the condition of the index that holds all of it, and nothing on a good day."""
    return await none_of(connection, 3, f"no delivery is {what}", (*NAMED, D.status), IS_ODD, ODDITIES[what])


async def _in_doubt(connection: AsyncConnection) -> Check:
    """Those that only a person can settle: shown, and no mistake of ours."""
    count, which = await first_of(connection, select(*NAMED).where(D.status == "in_doubt"))
    said = f"{count} in doubt: `dripline deliveries resolve` settles each" if count else "none is in doubt"
    return Check(4, "deliveries in doubt are kept as such", count, count, said, which)


async def _odd_handoffs(connection: AsyncConnection, now: datetime) -> list[Check]:
    odd = {
        "an open one whose clock ran out long ago": H.due_at < now - LATE,
        "an ended one whose clock still runs": (H.status != "open") & H.due_at.is_not(None),
        "an ended one without its time": (H.status != "open") & H.answered_at.is_(None),
    }
    shown = (H.lead_id.label("lead"), H.id.label("handoff"), H.status)
    return [await none_of(connection, 3, f"no hand-off is {what}", shown, condition) for what, condition in odd.items()]
