"""What people change on a lead over the API: it becomes an event of ours and goes the one way, in one transaction with its answer."""

from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from services.scoring.leads import Roster, Scored
from services.scoring.rulebook import Rulebook
from services.scoring.store import fetch_leads, save
from shared.http import Problem
from shared.keys import Key
from shared.wire import OURSELVES, Event, Lead, encode
from shared.work import Outbox

Tag = Annotated[str, Field(min_length=1, max_length=100)]


class TagChange(BaseModel):
    """Tags to set and to take away."""

    model_config = ConfigDict(extra="forbid")
    add: list[Tag] = []
    remove: list[Tag] = []


class ConsentChange(BaseModel):
    """Marketing consent given or withdrawn, and where that was said; `topics` for single ones."""

    model_config = ConfigDict(extra="forbid", strict=True)
    marketing: bool | None = None
    source: str = Field(default="", max_length=200)
    topics: dict[str, bool] = {}


class LeadChange(BaseModel):
    """`traits`: null takes one away. `tags`: a list is all tags there will be. `consent` is for the address that a server named."""

    model_config = ConfigDict(extra="forbid")
    traits: dict[str, Any] = {}
    tags: list[Tag] | TagChange | None = None
    consent: Annotated[bool, Field(strict=True)] | ConsentChange | None = None


async def change_lead(outbox: Outbox, rulebook: Rulebook, lead_id: str, change: LeadChange, key: Key) -> Scored | None:
    """Apply a change; answers the lead after it, None where there is no such lead. Raises Problem where its traits find no place."""
    definitions = await rulebook.newest()
    async with outbox.work() as work:
        roster = Roster(definitions, work.now)
        await fetch_leads(work.conn, roster, [lead_id])
        living = roster.living(lead_id)
        if living is None:
            return None
        event = _event(roster.leads[living].lead, change, key, work.now)
        for refusal in roster.take(event, raw=_encoded(event)):
            raise Problem(400, refusal.code, refusal.message)
        await save(work, roster)
        return roster.leads[living]


def _event(lead: Lead, change: LeadChange, key: Key, now: datetime) -> Event:
    if "consent" in change.traits:
        raise Problem(400, "invalid", "traits.consent: consent is no trait; send it as `consent`")
    consent = {} if change.consent is None else {"consent": _consent(change.consent, key)}
    tags = {} if change.tags is None else {"tags": _tags(lead, change.tags)}
    return Event(
        id=uuid4().hex,
        type="identify",
        at=now,
        received_at=now,
        source=OURSELVES,
        lead_id=lead.id,
        trusted=True,
        traits=change.traits | consent,
        properties=tags | {"by": key.id},
    )


def _consent(consent: bool | ConsentChange, key: Key) -> dict[str, Any]:
    said = ConsentChange(marketing=consent) if isinstance(consent, bool) else consent
    return said.model_dump(exclude_none=True) | {"source": said.source or f"api:{key.name or key.id}"}


def _tags(lead: Lead, tags: list[str] | TagChange) -> dict[str, list[str]]:
    if isinstance(tags, TagChange):
        return {"add": tags.add, "remove": tags.remove}
    return {"add": sorted(set(tags) - set(lead.tags)), "remove": sorted(set(lead.tags) - set(tags))}


def _encoded(event: Event) -> bytes:
    try:
        return encode(event)
    except UnicodeEncodeError as error:
        raise Problem(400, "invalid", "the text holds half of a surrogate pair, which is no character") from error
