"""What operators see of the ledger: how many deliveries stand where. Only reads; told to Prometheus every half minute."""

from sqlalchemy import func, select

from services.mailer.tables import DELIVERIES
from shared.db import Database
from shared.telemetry import DELIVERIES_OPEN

OPEN = ("queued", "sending", "deferred", "in_doubt")


async def measure_open(database: Database) -> None:
    """Count by status; those that have ended are far more, and are counted as they end."""
    status = DELIVERIES.c.status
    async with database.reading() as connection:
        rows = await connection.execute(select(status, func.count()).where(status.in_(OPEN)).group_by(status))
        found = {row[0]: row[1] for row in rows}
    for name in OPEN:
        DELIVERIES_OPEN.labels(name).set(found.get(name, 0))
