"""Forgetting a person everywhere: scoring is asked first, then everybody until all have obeyed, or for as long as the caller waits."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from services.console.front import as_json, caller_of
from services.console.together import SERVICES, Caller, Together

PATIENCE = 20.0
"""Seconds that an answer waits for all to obey, where the caller names none."""
PAUSE_SECONDS = 0.25

Keeper = Callable[[str], Awaitable[dict[str, Any] | None]]
"""How far something beside the services is with forgetting a lead."""
Wait = Annotated[float, Query(ge=0, le=60)]


class Erasing:
    """`keepers` are what else must obey under this roof, by name: under `run` the log and the mailbox."""

    def __init__(
        self, together: Together, keepers: Mapping[str, Keeper] | None = None, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._together = together
        self._keepers = keepers or {}
        self._pause = pause

    async def erase(self, caller: Caller, lead_id: str, wait: float) -> dict[str, Any]:
        """Forget a lead; answers who has obeyed and who has not yet. Raises Problem where scoring says no."""
        told: dict[str, Any] = await self._together.act(caller, "scoring", "DELETE", f"/api/leads/{quote(lead_id, safe='')}")
        return await self._awaited(caller, told["lead_id"], wait)

    async def erase_address(self, caller: Caller, address: str, wait: float) -> dict[str, Any]:
        """Forget what is held for an address that no lead has: one that is not done yet is waited for, else all look anew."""
        path = f"/api/addresses/{quote(address, safe='')}"
        told = await self._together.find(caller, "scoring", f"{path}/erasure")
        if told is None or (await self.state(caller, told["lead_id"]))["done"]:
            told = await self._together.act(caller, "scoring", "DELETE", path)
        return await self._awaited(caller, told["lead_id"], wait)

    async def _awaited(self, caller: Caller, lead_id: str, wait: float) -> dict[str, Any]:
        tries = int(wait / PAUSE_SECONDS)
        state = await self.state(caller, lead_id)
        while not state["done"] and tries > 0:
            await self._pause(PAUSE_SECONDS)
            state = await self.state(caller, lead_id)
            tries -= 1
        return state

    async def state(self, caller: Caller, lead_id: str) -> dict[str, Any]:
        """How far everybody is. Raises Problem where nobody was told to forget such a lead, or the caller may not know."""
        path = f"/api/erasures/{quote(lead_id, safe='')}"
        scoring = await self._together.ask(caller, "scoring", path)
        others = [name for name in SERVICES if name != "scoring"]
        found = await asyncio.gather(*(self._together.find(caller, service, path) for service in others))
        kept = await asyncio.gather(*(keeper(scoring["lead_id"]) for keeper in self._keepers.values()))
        told = {"scoring": scoring, **dict(zip((*others, *self._keepers), (*found, *kept), strict=True))}
        pending = [name for name, one in told.items() if one is None or one["done_at"] is None]
        return {
            "lead_id": scoring["lead_id"],
            "at": scoring["at"],
            "done": not pending,
            "pending": pending,
            "removed": {name: one["removed"] for name, one in told.items() if one is not None},
            "dropped": sum(one["dropped"] for name, one in told.items() if one is not None and name in SERVICES),
        }


def erasing_routes(erasing: Erasing) -> APIRouter:
    """`DELETE /api/leads/{id}`, the same for an address without a lead, and how far it has come."""
    router = APIRouter()

    @router.delete("/api/leads/{lead_id}")
    async def erase(request: Request, lead_id: str, wait: Wait = PATIENCE) -> Response:
        """200 when everybody has obeyed, 202 with who is `pending`; a repeat asks again."""
        state = await erasing.erase(caller_of(request), lead_id, wait)
        return as_json(state, 200 if state["done"] else 202)

    @router.delete("/api/addresses/{address}")
    async def erase_address(request: Request, address: str, wait: Wait = PATIENCE) -> Response:
        """For an address that no lead has. `lead_id` of the answer is the id under which `/api/erasures/{id}` knows it."""
        state = await erasing.erase_address(caller_of(request), address, wait)
        return as_json(state, 200 if state["done"] else 202)

    @router.get("/api/erasures/{lead_id}")
    async def show(request: Request, lead_id: str) -> Response:
        return as_json(await erasing.state(caller_of(request), lead_id))

    return router
