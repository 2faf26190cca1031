"""Claiming due work on PostgreSQL, with ten thousand and with a million rows that wait: the claim must not feel them.

A claim is what a beat of journeys and one of mailer's begin with: the due rows, locked, but for those that others hold. It is rolled
back each time, so that every round finds the same rows due; all the others wait for a day to come.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bench import town
from bench.pairs import Figure
from dripline.migrate import migrate
from services.journeys import store as journeys
from services.mailer import store as mailer
from shared import wire
from shared.clock import SystemClock
from shared.db import Database
from shared.instant import EPOCH, MICROSECOND

FEW, MANY = 10_000, 1_000_000
PAGE = 10_000
"""Rows put in by one statement."""
DUE = 500
ROUNDS = 60
Claim = Callable[[AsyncConnection, datetime], Awaitable[int]]

NUMBERS = "generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n"
NOW = "CAST(:now AS bigint)"
DUE_AT = f"CASE WHEN n % CAST(:apart AS bigint) = 0 THEN {NOW} ELSE CAST(:later AS bigint) + n END"
LEADS = f"INSERT INTO journeys_lead (lead_id, sequence, gaps) SELECT 'lead-' || n, 1, '' FROM {NUMBERS}"
ENROLLMENTS = f"""
    INSERT INTO journeys_enrollment
        (id, lead_id, journey, version, status, holdout, step, transition, state, entry_at, entered_at, wake_at)
    SELECT md5(n::text), 'lead-' || n, 'welcome', 'v1', 'active', false, 'pause', 2, :blob, {NOW}, {NOW}, {DUE_AT}
    FROM {NUMBERS}"""
DELIVERIES = f"""
    INSERT INTO mailer_delivery
        (id, kind, lane, rank, lead_id, journey, version, step, template, status, attempts, claims,
        due_at, reached_at, queued_at, opens, clicks, targets, message, by_newest)
    SELECT md5(n::text), 'email', 'relay', 1, 'lead-' || n, 'welcome', 'v1', 'hello', 'hello', 'deferred', 1, 1,
        {DUE_AT}, {NOW}, {NOW}, 0, 0, convert_to('[]', 'UTF8'), :blob, false
    FROM {NUMBERS}"""


def rows() -> Iterator[Figure]:
    few, many = (asyncio.run(_measured(count)) for count in (FEW, MANY))
    for name in few:
        note = f"{many[name]:.1f} / {few[name]:.1f} ms a claim of {DUE}"
        yield Figure(f"claim of {name} due, {MANY:,} waiting / {FEW:,}", many[name] / few[name], "x", 1.5, note=note)


async def _measured(count: int) -> Mapping[str, float]:
    """The median milliseconds of each kind of claim, with this many waiting."""
    url = town.fresh_database()
    await asyncio.to_thread(migrate, url)
    database = Database(url)
    now = SystemClock().now()
    for first in range(0, count, PAGE):
        async with database.transaction() as connection:
            await _fill(connection, first + 1, first + PAGE, count // DUE, now)
    for table in ("journeys_lead", "journeys_enrollment", "mailer_delivery"):
        async with database.transaction() as connection:
            await connection.execute(text(f"ANALYZE {table}"))
    found = {name: await _median(database, claim, now) for name, claim in CLAIMS.items()}
    await database.close()
    return found


async def _fill(connection: AsyncConnection, first: int, last: int, apart: int, now: datetime) -> None:
    micros = (now - EPOCH) // MICROSECOND
    page = {"first": first, "last": last}
    times = page | {"apart": apart, "now": micros, "later": micros + timedelta(days=1) // MICROSECOND}
    await connection.execute(text(LEADS), page)
    await connection.execute(text(ENROLLMENTS), times | {"blob": b"{}" * 200})
    await connection.execute(text(DELIVERIES), times | {"blob": wire.encode(_send(now))})


def _send(now: datetime) -> wire.Send:
    lead = wire.Lead(id="lead-1", email="ana@example.com", traits={"name": "Ana", "city": "Dublin"}, created_at=now, last_seen_at=now)
    entry = wire.Entry(event_id="e1", event="Ebook Downloaded", at=now)
    return wire.Send(
        id="m1",
        kind="email",
        lead_id="lead-1",
        journey="welcome",
        version="v1",
        step="hello",
        template="hello",
        reached_at=now,
        entry=entry,
        entered_at=now,
        lead=lead,
    )


async def _median(database: Database, claim: Claim, now: datetime) -> float:
    taken = []
    for _ in range(ROUNDS):
        async with database.transaction() as connection:
            started = time.perf_counter()
            assert await claim(connection, now) == DUE
            taken.append(time.perf_counter() - started)
            await connection.rollback()
    return statistics.median(taken) * 1000


async def _walks(connection: AsyncConnection, now: datetime) -> int:
    waiting = await journeys.find_waiting(connection, now, journeys.not_of((), ()), DUE)
    return len(await journeys.lock_free(connection, waiting))


async def _deliveries(connection: AsyncConnection, now: datetime) -> int:
    return len(await mailer.lock_due(connection, mailer.Front("relay", 1, now), now, DUE))


CLAIMS: Mapping[str, Claim] = {"walks": _walks, "deliveries": _deliveries}
