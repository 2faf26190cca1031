"""Records that nobody could handle: set aside with their reason in the transaction that goes on without them, and replayed on request."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from shared.db import insert_new
from shared.tables import DeadLetterRow
from shared.telemetry import DEAD_LETTERS


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
    """Keep the letters; one that is there already stays as it is."""
    rows = [
        {
            "id": letter.id,
            "service": letter.service,
            "topic": letter.topic,
            "key": letter.key,
            "code": letter.code,
            "message": letter.message[:2000],
            "payload": letter.payload,
            "at": letter.at,
        }
        for letter in letters
    ]
    await insert_new(connection, DeadLetterRow.__table__, rows, "id")  # type: ignore[attr-defined]
    for letter in letters:
        DEAD_LETTERS.labels(letter.service, letter.code).inc()


async def list_dead_letters(connection: AsyncConnection, service: str, limit: int, before: datetime | None = None) -> list[dict[str, Any]]:
    """The newest first, as the API shows them; those already replayed say when."""
    query = select(DeadLetterRow.__table__).where(col(DeadLetterRow.service) == service)  # type: ignore[attr-defined]
    if before is not None:
        query = query.where(col(DeadLetterRow.at) < before)
    rows = await connection.execute(query.order_by(col(DeadLetterRow.at).desc(), col(DeadLetterRow.id)).limit(limit))
    return [_shown(row) for row in rows.mappings()]


async def find_dead_letter(connection: AsyncConnection, service: str, letter_id: str) -> dict[str, Any] | None:
    table = DeadLetterRow.__table__  # type: ignore[attr-defined]
    found = await connection.execute(select(table).where(table.c.id == letter_id, table.c.service == service))
    row = found.mappings().one_or_none()
    return None if row is None else _shown(row)


async def mark_replayed(connection: AsyncConnection, letter_id: str, at: datetime) -> None:
    table = DeadLetterRow.__table__  # type: ignore[attr-defined]
    await connection.execute(update(table).where(table.c.id == letter_id).values(replayed_at=at))


def _shown(row: Any) -> dict[str, Any]:
    return dict(row) | {"payload": row["payload"].decode("utf-8", "replace")}
