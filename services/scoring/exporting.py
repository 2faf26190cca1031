"""What scoring holds about a person, for the person to read: profile, ids and addresses, history of consent, every event as it is kept."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.api import find_or_refuse, place_of, place_text
from services.scoring.erasing import became_part_of, known_by
from services.scoring.leads import Scored
from services.scoring.queries import each_event, list_events
from services.scoring.rulebook import Rulebook
from services.scoring.views import whole_view
from shared.http import allow
from shared.service import Ports
from shared.wire import OURSELVES, Event, encode

OF_CONSENT = frozenset({"Consent Given", "Unsubscribed", "Resubscribed"})
Limit = Annotated[int, Query(ge=1, le=500)]


def export_routes(ports: Ports, rulebook: Rulebook) -> APIRouter:
    """Parts that the front puts together; admins only."""
    router = APIRouter(prefix="/api/exports", include_in_schema=False, dependencies=[allow()])

    @router.get("/{lead_id}")
    async def profile(lead_id: str) -> Response:
        definitions = await rulebook.newest()
        async with ports.database.reading() as connection:
            scored = await find_or_refuse(connection, lead_id)
            found = {
                "profile": whole_view(scored, definitions, ports.clock.now()),
                "lead_ids": [scored.lead.id, *await became_part_of(connection, scored.lead.id)],
                "names": [name._asdict() for name in sorted(await known_by(connection, scored))],
                "consent_history": await _consent_history(connection, scored),
            }
        return Response(encode(found), media_type="application/json")

    @router.get("/{lead_id}/events")
    async def events(lead_id: str, limit: Limit = 500, cursor: str | None = None) -> Response:
        before = None if cursor is None else place_of(cursor)
        async with ports.database.reading() as connection:
            scored = await find_or_refuse(connection, lead_id)
            found = await list_events(connection, scored.lead.id, limit, before)
        following = place_text(found[-1]) if len(found) == limit else None
        items = [msgspec.to_builtins(recorded.event) for recorded in found]
        return Response(encode({"items": items, "next": following}), media_type="application/json")

    return router


async def _consent_history(connection: AsyncConnection, scored: Scored) -> list[dict[str, Any]]:
    """Every word on consent, the newest first."""
    return [_word(recorded.event) async for recorded in each_event(connection, scored.lead.id) if _is_word(recorded.event)]


def _is_word(event: Event) -> bool:
    return "consent" in event.traits or (event.source == OURSELVES and event.name in OF_CONSENT)


def _word(event: Event) -> dict[str, Any]:
    said = event.traits.get("consent") if event.type == "identify" else event.properties
    return {"at": event.at, "source": event.source, "event": event.name or event.type, "said": said, "believed": event.trusted}
