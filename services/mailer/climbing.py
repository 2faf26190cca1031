"""The warm-up in the ledger: how many marketing mails may go today, counted in the transaction that marks them `sending`.

A claim only looks; a mark counts, under the row of its sender. So no mail holds a place that it does not use, and none is given away twice,
whichever replica sends.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.policy import SOON, Defer, Delivery, Policy
from services.mailer.tables import WARM_UPS
from services.mailer.warm_up import Climb, climb
from shared.db import insert_new, upsert
from shared.local_time import find_zone, moment_of

W = WARM_UPS.c


@dataclass(slots=True)
class Allowance:
    """What today's rung leaves to a group of mails, in their order."""

    sender: str
    climb: Climb
    now: datetime
    tomorrow: datetime
    taken: int = 0

    def admit(self, delivery: Delivery) -> Defer | None:
        """Take a place for this mail; otherwise when to ask again. A place that others only reserved may yet be free."""
        left = self.climb.left
        if left is None or not _is_bound(delivery):
            return None
        if self.taken < left:
            self.taken += 1
            return None
        return Defer(self.now + SOON, None) if left else Defer(self.tomorrow, "warm_up")


async def load_allowance(
    connection: AsyncConnection, policy: Policy, deliveries: Iterable[Delivery], now: datetime, *, marking: bool
) -> Allowance | None:
    """What the warm-up leaves today; None where it does not bind. When `marking`, its row is held until the transaction ends."""
    if policy.warm_up is None or not any(map(_is_bound, deliveries)):
        return None
    today, tomorrow = _day(policy, now)
    before = await _find(connection, policy.warm_up)
    if before is not None and before.left is None:
        return None
    if marking:
        await insert_new(connection, WARM_UPS, [_row(policy.warm_up, Climb(today))], "sender")
        before = await _find(connection, policy.warm_up, lock=True)
    return Allowance(policy.warm_up, climb(before, today), now, tomorrow)


async def _find(connection: AsyncConnection, sender: str, *, lock: bool = False) -> Climb | None:
    statement = select(WARM_UPS).where(W.sender == sender)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else Climb(date.fromisoformat(row.day), row.rung, row.used)


def _is_bound(delivery: Delivery) -> bool:
    return delivery.kind == "email" and delivery.send.category == "marketing"


async def save_allowance(connection: AsyncConnection, allowance: Allowance | None) -> None:
    """Count those that were let through."""
    if allowance is not None and allowance.taken:
        counted = replace(allowance.climb, used=allowance.climb.used + allowance.taken)
        await upsert(connection, WARM_UPS, [_row(allowance.sender, counted)], ["sender"])


def _day(policy: Policy, now: datetime) -> tuple[date, datetime]:
    """The sender's day, and when his next one begins."""
    zone = find_zone(policy.timezone) or ZoneInfo("UTC")
    today = now.astimezone(zone).date()
    return today, moment_of(today + timedelta(days=1), time(0), zone).astimezone(UTC)


def _row(sender: str, climb: Climb) -> dict[str, object]:
    return {"sender": sender, "day": climb.day.isoformat(), "rung": climb.rung, "used": climb.used}
