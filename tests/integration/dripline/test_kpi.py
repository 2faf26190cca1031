"""The figures, counted from rows of three services as the definitions in docs/api.md say."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from sqlmodel import SQLModel

import services.journeys.tables
import services.mailer.tables
import services.scoring.tables  # noqa: F401 - the rows of all three
from services.journeys.kpi import count_conversions
from services.journeys.tables import ENROLLMENTS
from services.mailer.kpi import count_handoffs, count_mail
from services.mailer.tables import DELIVERIES, HANDOFFS, SUPPRESSIONS
from services.scoring.kpi import count_leads, first_id
from services.scoring.store import IDENTITIES, LEADS
from shared.db import Database
from tests.builders import NOON

SINCE = NOON - timedelta(days=30)
LONG_AGO = NOON - timedelta(days=60)
DAY = timedelta(days=1)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/state.db")
    async with database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    yield database
    await database.close()


async def put(database: Database, table: Any, defaults: dict[str, Any], *rows: dict[str, Any]) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(table), [defaults | row for row in rows])


async def test_leads_are_counted_by_kind_and_by_when_they_came(database: Database):
    lead = {"id": "", "readiness": 1, "hot": False, "sleeping": False, "mailable": False, "orders": 0, "sequence": 1, "merged_into": None}
    await put(
        database,
        LEADS,
        lead | {"state": b""},
        {"id": first_id(LONG_AGO) + "a", "readiness": 7, "mailable": True, "orders": 3},
        {"id": first_id(LONG_AGO) + "b", "sleeping": True, "orders": 1},
        {"id": first_id(NOON) + "c", "readiness": 9, "hot": True},
        {"id": first_id(NOON) + "d", "merged_into": "c"},
    )
    owned = [{"identity": "user:u1", "lead_id": "a"}, {"identity": "user:u2", "lead_id": "a"}, {"identity": "device:d", "lead_id": "c"}]
    await put(database, IDENTITIES, {}, *owned)
    async with database.reading() as connection:
        found = await count_leads(connection, SINCE)
    assert {value: number for value, number in found.pop("by_readiness").items() if number} == {"1": 1, "7": 1, "9": 1}
    assert found == {"total": 3, "known": 1, "mailable": 1, "hot": 1, "sleeping": 1, "new": 1, "merged": 1} | {
        "orders": 4,
        "customers": 2,
        "repeat_customers": 1,
    }


async def test_conversion_is_told_apart_for_the_holdout(database: Database):
    walk = {"lead_id": "l", "journey": "welcome", "version": "v", "status": "active", "holdout": False, "transition": 0, "state": b""}
    walk |= {"entry_at": NOON, "entered_at": NOON, "converted_at": None}
    await put(
        database,
        ENROLLMENTS,
        walk,
        *({"id": f"n{number}", "converted_at": NOON if number < 3 else None} for number in range(4)),
        {"id": "h1", "holdout": True},
        {"id": "old", "entered_at": LONG_AGO},
    )
    async with database.reading() as connection:
        (found,) = await count_conversions(connection, SINCE)
    assert (found["entered"], found["converted"], found["conversion"]) == (4, 3, 0.75)
    assert (found["holdout"], found["holdout_converted"], found["holdout_conversion"]) == (1, 0, 0.0)


async def test_mails_readers_and_answers_of_sales(database: Database):
    mail = {"kind": "email", "lane": "relay", "rank": 1, "lead_id": "l", "journey": "j", "version": "v", "step": "s", "template": "t"}
    mail |= {"status": "sent", "reached_at": NOON, "queued_at": NOON, "message": b"{}", "opened_at": None, "clicked_at": None}
    opened = {"opened_at": NOON}
    await put(
        database,
        DELIVERIES,
        mail,
        {"id": "1"} | opened | {"clicked_at": NOON},
        {"id": "2"} | opened,
        {"id": "3"},
        {"id": "4", "status": "failed"},
        {"id": "5", "queued_at": LONG_AGO},
        {"id": "6", "kind": "webhook"},
    )
    marketing = {"scope": "marketing", "at": NOON}
    await put(database, SUPPRESSIONS, marketing, {"address": "a@b.ie", "reason": "unsubscribed"}, {"address": "c@b.ie", "reason": "manual"})
    handoff = {"lead_id": "l", "opened_at": NOON, "told_at": NOON, "answered_at": None, "moves": 0}
    await put(
        database,
        HANDOFFS,
        handoff,
        {"id": "1", "delivery_id": "1", "status": "accepted", "answered_at": NOON + DAY},
        {"id": "2", "delivery_id": "2", "status": "rejected", "answered_at": NOON + 3 * DAY},
        {"id": "3", "delivery_id": "3", "status": "open"},
        {"id": "4", "delivery_id": "4", "status": "expired", "opened_at": LONG_AGO, "answered_at": NOON},
    )
    async with database.reading() as connection:
        mails, handoffs = await count_mail(connection, SINCE), await count_handoffs(connection, SINCE)
    assert (mails["sent"], mails["opened"], mails["clicked"], mails["unsubscribed"]) == (3, 2, 1, 1)
    assert (mails["opened_rate"], mails["bounced_rate"]) == (2 / 3, 0.0)
    assert handoffs == {"given": 3, "open": 1, "accepted": 1, "rejected": 1, "expired": 0, "median_answer_seconds": 2 * DAY.total_seconds()}


async def test_a_rate_of_nothing_is_none(database: Database):
    async with database.reading() as connection:
        mails, handoffs = await count_mail(connection, SINCE), await count_handoffs(connection, SINCE)
        leads, journeys = await count_leads(connection, SINCE), await count_conversions(connection, SINCE)
    assert (mails["opened_rate"], handoffs["median_answer_seconds"], leads["total"], journeys) == (None, None, 0, [])
