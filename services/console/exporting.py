"""Everything held about a person as one JSON document, written out as it is asked for: it may be larger than what one likes to hold.

The order is that of asking: what must not fail midway (who it is, and whether the caller may) is asked before the first byte.
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from services.console.front import as_json, caller_of
from services.console.together import SERVICES, Caller, Together
from shared.clock import Clock
from shared.names import address_name

_encode = msgspec.json.encode


def export_routes(together: Together, clock: Clock) -> APIRouter:
    """`GET /api/leads/{id}/export`; admins only, as the services see to."""
    router = APIRouter()

    @router.get("/api/leads/{lead_id}/export")
    async def export(request: Request, lead_id: str) -> StreamingResponse:
        """One JSON document: `profile lead_ids names consent_history enrollments deliveries … events dead_letters`."""
        exporting = Exporting(together, caller_of(request), lead_id)
        head = {"exported_at": clock.now()} | await exporting.head()
        name = f"attachment; filename=lead-{quote(lead_id, safe='')}.json"
        return StreamingResponse(exporting.document(head), media_type="application/json", headers={"Content-Disposition": name})

    @router.get("/api/addresses/{address}/export")
    async def export_address(request: Request, address: str) -> Response:
        """What is held for an address and belongs to no lead: `address deliveries suppressions addresses dead_letters`."""
        caller = caller_of(request)
        found = await together.ask(caller, "mailer", f"/api/addresses/{quote(address, safe='')}/export")
        letters = [letter async for letter in _letters(together, caller, [address_name(address)._asdict()])]
        return as_json({"exported_at": clock.now(), "address": address, **found, "dead_letters": letters})

    return router


class Exporting:
    """One export, for one caller."""

    def __init__(self, together: Together, caller: Caller, lead_id: str) -> None:
        self._together = together
        self._caller = caller
        self._path = f"/api/exports/{quote(lead_id, safe='')}"

    async def head(self) -> dict[str, Any]:
        """All but the events and the dead letters. Raises Problem where there is no such lead, or the caller may not."""
        found: dict[str, Any] = await self._together.ask(self._caller, "scoring", self._path)
        for service in ("journeys", "mailer"):
            found |= await self._together.ask(self._caller, service, self._path)
        return found

    async def document(self, head: dict[str, Any]) -> AsyncIterator[bytes]:
        """The whole, in pieces."""
        yield _encode(head)[:-1] + b',"events":['
        async for piece in _joined(self._events()):
            yield piece
        yield b'],"dead_letters":['
        names = [*head["names"], *({"kind": "lead", "value": lead_id} for lead_id in head["lead_ids"])]
        async for piece in _joined(_letters(self._together, self._caller, names)):
            yield piece
        yield b"]}"

    async def _events(self) -> AsyncIterator[Any]:
        cursor: str | None = None
        while True:
            page = await self._together.ask(self._caller, "scoring", f"{self._path}/events", {"cursor": cursor} if cursor else None)
            for event in page["items"]:
                yield event
            cursor = page["next"]
            if cursor is None:
                return


async def _letters(together: Together, caller: Caller, names: list[Any]) -> AsyncIterator[Any]:
    for service in SERVICES:
        found = await together.act(caller, service, "POST", "/api/dead-letters/naming", _encode({"names": names}))
        for letter in found["items"]:
            yield letter


async def _joined(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    comma = b""
    async for item in items:
        yield comma + _encode(item)
        comma = b","
