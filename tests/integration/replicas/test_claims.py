"""Claims of due work on PostgreSQL go by their partial indexes, however many rows wait: a plan is looked at, not a time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, event, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys import store as journeys
from services.journeys.tables import ENROLLMENTS
from services.mailer import handoff_store
from services.mailer import store as mailer
from services.mailer.tables import DELIVERIES, HANDOFFS
from services.scoring import scheduler as scoring
from services.scoring.store import LEADS
from shared.db import Database
from shared.instant import EPOCH, MICROSECOND
from tests import databases
from tests.builders import NOON

WAITING = 10_000
AT = (NOON - EPOCH) // MICROSECOND
"""The first of them is due now, the others one a second later each."""
BULK = f"FROM generate_series(0, {WAITING - 1}) AS n"
FILLED = (
    "INSERT INTO journeys_enrollment (id, lead_id, journey, version, status, holdout, transition, state, entry_at, entered_at, wake_at) "
    f"SELECT 'e' || n, 'l' || n, 'cart', 'v1', 'active', false, 1, '', 0, 0, {AT} + n * 1000000::bigint {BULK}",
    "INSERT INTO mailer_delivery (id, kind, lane, rank, lead_id, journey, version, step, template, status, attempts, claims, reached_at, "
    "queued_at, opens, clicks, targets, message, by_newest, due_at) "
    f"SELECT 'd' || n, 'email', 'relay', 100, 'l' || n, 'cart', 'v1', 's', 't', 'queued', 0, 0, 0, n, 0, 0, '', '', false, "
    f"{AT} + n * 1000000::bigint {BULK}",
    "INSERT INTO mailer_handoff (id, delivery_id, lead_id, status, opened_at, due_at) "
    f"SELECT 'h' || n, 'd' || n, 'l' || n, 'open', 0, {AT} + n * 1000000::bigint {BULK}",
    "INSERT INTO scoring_lead (id, readiness, hot, sequence, next_change_at, state) "
    f"SELECT 'l' || n, 5, false, 1, {AT} + n * 1000000::bigint, '' {BULK}",
)


@pytest.fixture
async def crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """Ten thousand of each kind wait, and PostgreSQL knows of it."""
    monkeypatch.setenv(databases.KIND, "postgresql")
    database = Database(databases.database_url(tmp_path))
    async with database.transaction() as connection:
        for statement in FILLED:
            await connection.execute(text(statement))
        await connection.execute(text("ANALYZE"))
    yield database
    await database.close()


async def plans(database: Database, does: Callable[[AsyncConnection], Awaitable[object]]) -> list[str]:
    """How PostgreSQL carries out each statement that this function runs."""
    said: list[tuple[str, Any]] = []
    async with database.transaction() as connection:

        @event.listens_for(connection.sync_connection, "before_cursor_execute")
        def _listen(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
            said.append((statement, parameters))

        await does(connection)
        event.remove(connection.sync_connection, "before_cursor_execute", _listen)
        found = [
            await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING off) {statement}", parameters) for statement, parameters in said
        ]
        return ["\n".join(plan.scalars()) for plan in found]


def everything() -> ColumnElement[bool]:
    return journeys.not_of((), ())


@pytest.mark.parametrize(
    ("index", "does"),
    [
        ("ix_journeys_enrollment_due", lambda c: journeys.find_waiting(c, NOON + timedelta(seconds=20), everything(), 501)),
        ("ix_journeys_enrollment_due", lambda c: journeys.find_next_due(c, everything())),
        ("ix_mailer_delivery_due", lambda c: mailer.lock_due(c, mailer.Front("relay", 100, NOON), NOON - timedelta(seconds=1), 50)),
        ("ix_mailer_handoff_due", lambda c: handoff_store.load_due(c, NOON + timedelta(seconds=20), 100)),
        ("ix_mailer_handoff_due", handoff_store.next_due),
        ("ix_scoring_lead_fading", lambda c: scoring._claimed(c, NOON + timedelta(seconds=20))),
    ],
    ids=["wakes", "next wake", "deliveries", "clocks", "next clock", "sweep"],
)
async def test_a_claim_reads_its_index_and_no_more_than_it_takes(
    crowded: Database, index: str, does: Callable[[AsyncConnection], Awaitable[object]]
) -> None:
    (plan,) = await plans(crowded, does)
    assert index in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
    assert most_rows(plan) <= 50


def most_rows(plan: str) -> int:
    """The most rows that any node of the plan gave."""
    return max(int(line.split("(actual rows=")[1].split()[0]) for line in plan.splitlines() if "(actual rows=" in line)


async def test_the_crowd_is_as_large_as_it_says(crowded: Database) -> None:
    async with crowded.reading() as connection:
        for table in (ENROLLMENTS, DELIVERIES, HANDOFFS, LEADS):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == WAITING
