"""PostgreSQL's own housekeeping under `serve`: indexes of due work made anew, and dead rows told to the operators.

Rows leave such an index at one end as fast as they come in at the other, and its pages stay behind half empty.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import NullPool, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shared.db import Database, translated
from shared.telemetry import DEAD_ROWS
from shared.telemetry import log as logger

REINDEXED = timedelta(hours=24)
"""How often; all replicas ring at the same moment of the day, and one of them does it."""

DUE_INDEXES = (
    "ix_journeys_enrollment_due",
    "ix_mailer_delivery_due",
    "ix_mailer_handoff_due",
    "ix_scoring_lead_fading",
    "ix_shared_outbox_age",
    "shared_outbox_pkey",
)
HOT_TABLES = (
    "journeys_enrollment",
    "journeys_lead",
    "mailer_address",
    "mailer_delivery",
    "scoring_lead",
    "shared_outbox",
    "shared_position",
)

LOCK = 0x64726971
"""The advisory lock of who reindexes; kept by the session, for a REINDEX CONCURRENTLY stands in no transaction."""


async def reindex(url: str, indexes: Sequence[str] = DUE_INDEXES) -> list[str]:
    """Make these indexes anew without holding anybody up, unless another replica is at it; answers which were."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with translated(), engine.connect() as connection:
            if not (await connection.execute(text(f"SELECT pg_try_advisory_lock({LOCK})"))).scalar_one():
                return []
            await connection.execute(text("SET lock_timeout = '10s'"))
            await _drop_halves(connection)
            for index in indexes:
                await connection.execute(text(f"REINDEX INDEX CONCURRENTLY {index}"))
    finally:
        await engine.dispose()
    logger.info("database.reindexed", indexes=len(indexes))
    return [*indexes]


async def _drop_halves(connection: AsyncConnection) -> None:
    """What is left of a reindexing that was killed: invalid copies, which every write has to keep up."""
    left = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indexrelid::regclass::text LIKE '%\\_ccnew%'"
    for index in (await connection.execute(text(left))).scalars().all():
        await connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {index}"))


async def measure_dead_rows(database: Database, tables: Sequence[str] = HOT_TABLES) -> None:
    """Dead rows of the hot tables, as PostgreSQL counts them: many and growing mean that vacuum does not keep up, or is kept from it."""
    dead = text("SELECT relname, n_dead_tup FROM pg_stat_user_tables WHERE relname IN :tables")
    asked = dead.bindparams(bindparam("tables", list(tables), expanding=True))
    async with database.reading() as connection:
        rows: Sequence[Any] = (await connection.execute(asked)).all()
    for name, count in rows:
        DEAD_ROWS.labels(name).set(count)
