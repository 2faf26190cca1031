"""Figures about what went out since a moment: mails and what readers did with them, and what sales answered."""

from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.tables import DELIVERIES, HANDOFFS, SUPPRESSIONS

D, H, S = DELIVERIES.c, HANDOFFS.c, SUPPRESSIONS.c
REASONS = {"unsubscribed": "unsubscribed", "hard_bounce": "bounced", "complaint": "complaints"}
"""What the reason of a suppression counts as."""


async def count_mail(connection: AsyncConnection, since: datetime) -> dict[str, Any]:
    """Mails queued since then that left; opened and clicked at least once. Suppressions made since then, by why."""
    gone = select(func.count(), func.count(D.opened_at), func.count(D.clicked_at))
    row = await connection.execute(gone.where(D.status == "sent", D.kind == "email", D.queued_at >= since))
    sent, opened, clicked = row.one()
    counts = {"sent": sent, "opened": opened, "clicked": clicked} | dict.fromkeys(REASONS.values(), 0)
    why = select(S.reason, func.count(S.address.distinct())).where(S.at >= since, S.reason.in_(REASONS)).group_by(S.reason)
    counts |= {REASONS[reason]: count for reason, count in await connection.execute(why)}
    return counts | {f"{what}_rate": count / sent if sent else None for what, count in counts.items() if what != "sent"}


async def count_handoffs(connection: AsyncConnection, since: datetime) -> dict[str, Any]:
    """Hand-offs opened since then, how they stand, and how long an answer took, in the middle."""
    by_status = select(H.status, func.count()).where(H.opened_at >= since).group_by(H.status)
    counts = dict.fromkeys(("open", "accepted", "rejected", "expired"), 0)
    counts |= {status: count for status, count in await connection.execute(by_status)}
    answered = select(H.told_at, H.answered_at).where(H.opened_at >= since, H.status.in_(("accepted", "rejected")), H.told_at.is_not(None))
    seconds = [(at - told).total_seconds() for told, at in await connection.execute(answered)]
    return {"given": sum(counts.values()), **counts, "median_answer_seconds": median(seconds) if seconds else None}
