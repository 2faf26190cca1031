"""`/api/dead-letters` of every service: what was set aside, one of them whole, and its replay."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from shared.dead_letters import find_dead_letter, list_dead_letters, mark_replayed
from shared.http import Problem, allow
from shared.service import Ports
from shared.work import Outbox


def dead_letter_routes(ports: Ports, outbox: Outbox) -> APIRouter:
    """Routes for the letters of `outbox`'s service. A replay appends the record to its topic again; readers bear repeats."""
    router = APIRouter(prefix="/api/dead-letters")

    @router.get("", dependencies=[allow("marketer", "viewer")])
    async def list_letters(limit: int = 100, before: datetime | None = None) -> dict[str, Any]:
        async with ports.database.reading() as connection:
            items = await list_dead_letters(connection, outbox.service, min(limit, 500), before)
        return {"items": items, "next": items[-1]["at"] if len(items) == min(limit, 500) else None}

    @router.get("/{letter_id}", dependencies=[allow("marketer", "viewer")])
    async def show_letter(letter_id: str) -> dict[str, Any]:
        async with ports.database.reading() as connection:
            return _found(await find_dead_letter(connection, outbox.service, letter_id), letter_id)

    @router.post("/{letter_id}/replay", dependencies=[allow("marketer")])
    async def replay_letter(letter_id: str) -> dict[str, Any]:
        async with outbox.work() as work:
            letter = _found(await find_dead_letter(work.conn, outbox.service, letter_id), letter_id)
            work.publish_raw(letter["topic"], letter["key"], letter["payload"].encode())
            await mark_replayed(work.conn, letter_id, work.now)
        return letter | {"replayed_at": work.now}

    return router


def _found(letter: dict[str, Any] | None, letter_id: str) -> dict[str, Any]:
    if letter is None:
        raise Problem(404, "not_found", f"no dead letter {letter_id} here")
    return letter
