"""What scoring itself tells of a lead, as events of ours: made, identified, merged, fallen asleep, its readiness changed. Pure."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from services.scoring.readiness import earned_at
from shared.wire import OURSELVES, Event


def our_event(name: str, id: str, lead_id: str, now: datetime, cause: Event | None, **properties: Any) -> Event:
    """An event of ours; one with a cause happened when that did, and lies one further from a person."""
    return Event(
        id=id,
        type="track",
        name=name,
        at=now if cause is None else earned_at(cause),
        received_at=now,
        source=OURSELVES,
        lead_id=lead_id,
        trusted=True,
        properties=properties,
        depth=0 if cause is None else cause.depth + 1,
    )


def id_before(cause: Event) -> str:
    """The id of what comes before its cause: at the same moment it sorts before it."""
    return f".{cause.id}"


def id_after(kind: str, event: Event | None, lead_id: str, sequence: int) -> str:
    """The id of what follows from an event, sorting after it at the same moment; of what time did, once a sequence."""
    return f"{event.id}.{kind}" if event is not None else digest(kind, lead_id, str(sequence))


def as_text(moment: datetime) -> str:
    """A moment as JSON has it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def digest(*parts: str, size: int = 16) -> str:
    """A short name for these parts, always the same."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=size).hexdigest()
