"""Do the promise's counters agree? What `dripline audit` asks of scoring: every event counted once, and nothing left behind."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.leads import Definitions, Scored, refold
from services.scoring.queries import count, events_until, living_after, sample, strays, wrongly_told
from services.scoring.readiness import readiness
from services.scoring.renewal import waiting
from services.scoring.store import LEADS
from shared.auditing import SHOWN, Check, Offender, first_of, none_of

PATIENCE = timedelta(seconds=60)
SAMPLE, LONGEST_RECORD = 50, 1000


async def audit(connection: AsyncConnection, definitions: Definitions, now: datetime) -> list[Check]:
    """The checks, of one snapshot."""
    counts = await count(connection)
    wrong, whose = await first_of(connection, wrongly_told())
    lost, strayed = await first_of(connection, strays())
    left = await waiting(connection, definitions.version)
    return [
        Check(1, "recorded events = activities told", counts.recorded, counts.told, "each event was folded once, in its lead's sequence"),
        Check(1, "leads that told another number of activities than they have events", wrong, 0, "", whose),
        await _refolded(connection, definitions, now),
        Check(1, "leads renewed after a change of rules", left, left, f"{left} are still to be folded anew, in the background"),
        Check(1, "identities without a lead", lost, 0, "every known id leads to a living lead", strayed),
        await none_of(
            connection,
            2,
            "leads whose fading is overdue",
            (LEADS.c.id.label("lead"), LEADS.c.next_change_at.label("due")),
            LEADS.c.next_change_at <= now - PATIENCE,
            detail=f"by more than {PATIENCE.total_seconds():.0f} seconds",
        ),
    ]


async def refold_some(connection: AsyncConnection, definitions: Definitions, now: datetime, after: str, limit: int) -> dict[str, Any]:
    """Some leads folded anew, from the one after `after`: how many were, which disagree, and where to go on."""
    found = await living_after(connection, after, limit)
    leads = [scored for scored in found if scored.version == definitions.version]
    wrong = await _disagreeing(connection, leads, definitions, now)
    following = found[-1].lead.id if len(found) == limit else None
    return {"checked": len(leads), "waiting": len(found) - len(leads), "offenders": wrong, "next": following}


async def count_living(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.count()).where(LEADS.c.merged_into.is_(None)))).scalar_one())


async def _refolded(connection: AsyncConnection, definitions: Definitions, now: datetime) -> Check:
    leads = [scored for scored in await sample(connection, SAMPLE, LONGEST_RECORD) if scored.version == definitions.version]
    wrong = await _disagreeing(connection, leads, definitions, now)
    said = "of the newest leads that no change of rules waits for; `dripline audit --whole` folds all of them"
    return Check(1, "evidence = recorded events folded anew", len(leads) - len(wrong), len(leads), said, wrong[:SHOWN])


async def _disagreeing(connection: AsyncConnection, leads: list[Scored], definitions: Definitions, now: datetime) -> list[Offender]:
    return [
        {"lead": scored.lead.id, "what": what}
        for scored in leads
        if (what := await _disagreement(connection, scored, definitions, now)) is not None
    ]


async def _disagreement(connection: AsyncConnection, scored: Scored, definitions: Definitions, now: datetime) -> str | None:
    """What of a lead's row is not what its record comes to; None where all is."""
    events = await events_until(connection, scored.lead.id)
    if refold(scored.lead, events, definitions, scored.lead.last_seen_at).evidence != scored.evidence:
        return "evidence"
    due = (await connection.execute(select(LEADS.c.next_change_at).where(LEADS.c.id == scored.lead.id))).scalar_one()
    is_due = due is not None and due <= now  # the sweep is about to say so
    worth = readiness(scored.evidence, definitions.rules, scored.lead, now).value
    return None if is_due or worth == scored.lead.readiness else f"readiness {scored.lead.readiness} instead of {worth}"
