"""Records that nobody could handle: set aside with their reason in the transaction that goes on without them, and replayed on request."""

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import upsert
from shared.instant import Instant
from shared.tables import DeadLetterRow
from shared.telemetry import DEAD_LETTERS

AT_ONCE = 500
"""Letters read at once where all are gone through."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record set aside: by whom, whence, why, and the record itself. `code` is short and stable, `message` names the remedy."""

    service: str
    topic: str
    key: str
    code: str
    message: str
    payload: bytes
    at: datetime

    @property
    def id(self) -> str:
        """The same record set aside twice for the same reason is one letter."""
        seed = "\0".join((self.service, self.topic, self.key, self.code)).encode() + b"\0" + self.payload
        return hashlib.blake2b(seed, digest_size=12).hexdigest()


async def save_dead_letters(connection: AsyncConnection, letters: list[DeadLetter]) -> None:
    """Keep the letters. One that was replayed and comes back waits again."""
    rows = [
        {
            "id": letter.id,
            "service": letter.service,
            "topic": letter.topic,
            "key": _storable(letter.key),
            "code": letter.code,
            "message": _storable(letter.message[:2000]),
            "payload": letter.payload,
            "at": letter.at,
            "replayed_at": None,
        }
        for letter in letters
    ]
    await upsert(connection, DeadLetterRow.__table__, rows, ["id"])  # type: ignore[attr-defined]
    for letter in letters:
        DEAD_LETTERS.labels(letter.service, letter.code).inc()


def _storable(text: str) -> str:
    """The text as every database takes it: what holds the poison must not choke on it. The payload, which is bytes, stays as it is."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


class Mark(NamedTuple):
    """Where a page of letters ended; those set aside in one transaction share their moment, so the id belongs to it."""

    at: datetime
    id: str


async def list_dead_letters(connection: AsyncConnection, service: str, limit: int, before: Mark | None = None) -> list[dict[str, Any]]:
    """The newest first, as the API shows them; those already replayed say when."""
    table = DeadLetterRow.__table__  # type: ignore[attr-defined]
    query = select(table).where(table.c.service == service)
    if before is not None:
        query = query.where(tuple_(table.c.at, table.c.id) < tuple_(literal(before.at, Instant), before.id))
    rows = await connection.execute(query.order_by(table.c.at.desc(), table.c.id.desc()).limit(limit))
    return [_shown(row) for row in rows.mappings()]


async def find_dead_letter(connection: AsyncConnection, service: str, letter_id: str) -> dict[str, Any] | None:
    """The letter as the API shows it, or None."""
    row = await _row(connection, service, letter_id)
    return None if row is None else _shown(row)


async def naming(connection: AsyncConnection, service: str, is_named: Callable[[str, bytes], bool]) -> AsyncIterator[dict[str, Any]]:
    """Those of the service's letters whose key and payload are judged to name somebody, as the API shows them."""
    table, after = DeadLetterRow.__table__, ""  # type: ignore[attr-defined]
    while True:
        page = select(table).where(table.c.service == service, table.c.id > after).order_by(table.c.id).limit(AT_ONCE)
        rows = (await connection.execute(page)).mappings().all()
        if not rows:
            return
        after = rows[-1]["id"]
        for row in rows:
            if is_named(row["key"], row["payload"]):
                yield _shown(row)


async def take_dead_letter(connection: AsyncConnection, service: str, letter_id: str, now: datetime) -> DeadLetter | None:
    """The letter byte for byte, marked as replayed; None where there is none."""
    row = await _row(connection, service, letter_id)
    if row is None:
        return None
    table = DeadLetterRow.__table__  # type: ignore[attr-defined]
    await connection.execute(update(table).where(table.c.id == letter_id).values(replayed_at=now))
    return DeadLetter(**{field.name: row[field.name] for field in fields(DeadLetter)})


async def _row(connection: AsyncConnection, service: str, letter_id: str) -> Any:
    table = DeadLetterRow.__table__  # type: ignore[attr-defined]
    found = await connection.execute(select(table).where(table.c.id == letter_id, table.c.service == service))
    return found.mappings().one_or_none()


def _shown(row: Any) -> dict[str, Any]:
    return dict(row) | {"payload": row["payload"].decode("utf-8", "replace")}
