"""Do the promise's counters agree? What `dripline audit` asks of scoring: every event counted once, and nothing left behind."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.leads import Definitions, Scored, refold
from services.scoring.queries import count, events_until, sample
from services.scoring.renewal import waiting

PATIENCE = timedelta(seconds=60)
SAMPLE, LONGEST_RECORD = 50, 1000


async def audit(connection: AsyncConnection, definitions: Definitions, now: datetime) -> dict[str, Any]:
    """The checks, of one snapshot. `left` and `right` are the numbers compared."""
    counts = await count(connection, now - PATIENCE)
    refolded, alike = await _refolded(connection, definitions)
    left = await waiting(connection, definitions.version)
    return {
        "service": "scoring",
        "checks": [
            _check("recorded events = activities told", counts.recorded, counts.told, "each event was folded once, in its lead's sequence"),
            _check("evidence = recorded events folded anew", alike, refolded, "of the newest leads that no change of rules waits for"),
            _check("leads renewed after a change of rules", left, left, f"{left} are still to be folded anew, in the background"),
            _check("identities without a lead", counts.ownerless, 0, "every known id leads to a living lead"),
            _check("leads whose fading is overdue", counts.overdue, 0, f"by more than {PATIENCE.total_seconds():.0f} seconds"),
        ],
    }


async def _refolded(connection: AsyncConnection, definitions: Definitions) -> tuple[int, int]:
    leads = [scored for scored in await sample(connection, SAMPLE, LONGEST_RECORD) if scored.version == definitions.version]
    return len(leads), sum([await _agrees(connection, scored, definitions) for scored in leads])


async def _agrees(connection: AsyncConnection, scored: Scored, definitions: Definitions) -> bool:
    events = await events_until(connection, scored.lead.id)
    return refold(scored.lead, events, definitions, scored.lead.last_seen_at).evidence == scored.evidence


def _check(name: str, left: int, right: int, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": left == right, "left": left, "right": right, "detail": detail}
