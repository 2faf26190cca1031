"""`/api/dead-letters` of every service: what was set aside, one of them whole, and its replay."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from shared.dead_letters import DeadLetter, Mark, find_dead_letter, list_dead_letters, naming, take_dead_letter
from shared.http import Problem, allow
from shared.names import Kind, Name, keyed_names, names_in
from shared.service import Ports
from shared.work import Outbox, Work

LONGEST_PAGE = 500

Replay = Callable[[Work, DeadLetter], Awaitable[None]]
"""Handles a letter once more, within the work that marks it as replayed; a Problem leaves it as it was."""


class NameAsked(BaseModel):
    """One thing that somebody is known by."""

    kind: Kind
    value: str


class Naming(BaseModel):
    """Whose letters are asked for."""

    names: list[NameAsked]


async def append_again(work: Work, letter: DeadLetter) -> None:
    """Put the record on its topic again; readers bear repeats."""
    work.publish_raw(letter.topic, letter.key, letter.payload)


def dead_letter_routes(ports: Ports, outbox: Outbox, replay: Replay = append_again) -> APIRouter:
    """Routes for the letters of `outbox`'s service: for admins, as a letter holds whatever anybody sent.

    `replay` is for those whose record, read again, would only be set aside again.
    """
    router = APIRouter(prefix="/api/dead-letters")

    @router.get("", dependencies=[allow()])
    async def list_letters(limit: int = 100, before: str | None = None) -> dict[str, Any]:
        limit = min(max(limit, 1), LONGEST_PAGE)
        async with ports.database.reading() as connection:
            items = await list_dead_letters(connection, outbox.service, limit, _mark(before) if before else None)
        return {"items": items, "next": _cursor(items[-1]) if len(items) == limit else None}

    @router.post("/naming", include_in_schema=False, dependencies=[allow()])
    async def letters_naming(wanted: Naming) -> dict[str, Any]:
        names = {Name(name.kind, name.value) for name in wanted.names}
        async with ports.database.reading() as connection:
            found = naming(connection, outbox.service, lambda key, payload: bool(names & (names_in(payload) | keyed_names(key))))
            return {"items": [letter async for letter in found], "next": None}

    @router.get("/{letter_id}", dependencies=[allow()])
    async def show_letter(letter_id: str) -> dict[str, Any]:
        async with ports.database.reading() as connection:
            letter = await find_dead_letter(connection, outbox.service, letter_id)
        if letter is None:
            raise _missing(letter_id)
        return letter

    @router.post("/{letter_id}/replay", dependencies=[allow()])
    async def replay_letter(letter_id: str) -> dict[str, Any]:
        async with outbox.work() as work:
            letter = await take_dead_letter(work.conn, outbox.service, letter_id, work.now)
            if letter is None:
                raise _missing(letter_id)
            await replay(work, letter)
            shown = await find_dead_letter(work.conn, outbox.service, letter_id)
        assert shown is not None
        return shown

    return router


def _missing(letter_id: str) -> Problem:
    return Problem(404, "not_found", f"no dead letter {letter_id} here")


def _cursor(letter: dict[str, Any]) -> str:
    return f"{letter['at'].isoformat()}~{letter['id']}"


def _mark(cursor: str) -> Mark:
    """Where a page ended; a bare moment is one too. Raises Problem."""
    at, _, letter_id = cursor.partition("~")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise Problem(400, "invalid", "before: a moment like 2027-03-01T12:00:00Z, or the `next` of a page") from None
    return Mark(moment if moment.tzinfo else moment.replace(tzinfo=UTC), letter_id)
