"""Who may call us: write keys (`pk_…`) post events, secret keys (`sk_…`) act as a role. Only hashes are stored."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select, update
from sqlmodel import col

from shared.clock import Clock
from shared.db import Database, insert_new
from shared.errors import Outage
from shared.tables import KeyRow

Kind = Literal["write", "secret"]
Role = Literal["admin", "marketer", "sales", "viewer"]
ROLES: tuple[Role, ...] = ("admin", "marketer", "sales", "viewer")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its holder is known; `id` names the source of its events and is no secret."""

    id: str
    kind: Kind
    role: Role | None
    name: str

    @property
    def is_trusted(self) -> bool:
        """Whether what its holder says of a lead is believed, consent too: a server's key, not a web page's nor one that only reads."""
        return self.kind == "secret" and self.role in ("admin", "marketer")


def key_row(token: str, kind: Kind, role: Role | None, name: str, now: datetime) -> dict[str, Any]:
    """A key as its row holds it."""
    return {
        "id": key_id(token),
        "kind": kind,
        "role": role,
        "name": name,
        "token_sha256": _hash(token),
        "created_at": now,
        "revoked_at": None,
    }


class KeyRing:
    """Every live key in memory, so that a request costs one look-up; reloaded every few seconds.

    `fixed` keys come from the settings (`DRIPLINE_WRITE_KEY`, `DRIPLINE_API_KEY`) or belong to this process, and are never stored.
    """

    def __init__(self, database: Database, clock: Clock, fixed: Iterable[tuple[str, Key]] = ()) -> None:
        self._database = database
        self._clock = clock
        self._fixed = {_hash(token): key for token, key in fixed}
        self._live = dict(self._fixed)
        self._tokens: dict[str, Key] = {}  # tokens seen, so that the hot path hashes none
        self._as_of: int | None = None  # the database's changes that the last refresh knew of
        self._trusted = False  # whether the stored keys have been read, and the last reading succeeded

    def find(self, token: str) -> Key | None:
        """The key of this token, or None. Raises Outage where the token is unknown and the key store cannot be read."""
        known = self._tokens.get(token)
        if known is not None:
            return known
        key = self._live.get(_hash(token))
        if key is None:
            if not self._trusted:
                raise Outage("the keys cannot be read")
            return None
        self._tokens[token] = key
        return key

    async def refresh(self) -> None:
        """Read the stored keys anew, unless nothing was written since they were read last. Raises Outage as `reload` does."""
        changes = self._database.changes()
        if changes is None or changes != self._as_of:
            await self.reload()
            self._as_of = changes

    async def reload(self) -> None:
        """Read the stored keys anew. Raises Outage; then those known go on working."""
        try:
            async with self._database.reading() as connection:
                rows = (await connection.execute(select(KeyRow.__table__).where(col(KeyRow.revoked_at).is_(None)))).mappings().all()  # type: ignore[attr-defined]
        except Outage:
            self._trusted = False
            raise
        self._live = self._fixed | {row["token_sha256"]: Key(row["id"], row["kind"], row["role"], row["name"]) for row in rows}
        self._tokens = {}
        self._trusted = True

    async def create(self, kind: Kind, role: Role | None, name: str) -> tuple[Key, str]:
        """Make a key; its token is shown this once and never again."""
        token = ("pk_" if kind == "write" else "sk_") + secrets.token_urlsafe(24)
        await self.store(token, kind, role, name)
        return self._live[_hash(token)], token

    async def store(self, token: str, kind: Kind, role: Role | None, name: str) -> None:
        """Keep a key whose token the caller chose; one that is there already stays as it is."""
        row = key_row(token, kind, role, name, self._clock.now())
        async with self._database.transaction() as connection:
            await insert_new(connection, KeyRow.__table__, [row], "id")  # type: ignore[attr-defined]
        await self.reload()

    async def list_keys(self) -> list[dict[str, object]]:
        """All keys ever made, newest first, without their tokens; then those that the settings fix, which nobody made or can revoke."""
        table = KeyRow.__table__  # type: ignore[attr-defined]
        columns = [column for column in table.c if column.name != "token_sha256"]
        async with self._database.reading() as connection:
            made = [dict(row) for row in (await connection.execute(select(*columns).order_by(table.c.created_at.desc()))).mappings()]
        never = {"created_at": None, "revoked_at": None}
        return made + [{"id": key.id, "kind": key.kind, "role": key.role, "name": key.name, **never} for key in self._fixed.values()]

    def is_fixed(self, key_id: str) -> bool:
        """Whether a key comes from the settings."""
        return any(key.id == key_id for key in self._fixed.values())

    async def revoke(self, key_id: str) -> bool:
        """End a key; False where there is none of this id. Other processes follow within seconds."""
        table = KeyRow.__table__  # type: ignore[attr-defined]
        live = update(table).where(table.c.id == key_id, table.c.revoked_at.is_(None))
        async with self._database.transaction() as connection:
            ended = await connection.execute(live.values(revoked_at=self._clock.now()))
        await self.reload()
        return ended.rowcount == 1


def key_id(token: str) -> str:
    """The public name of a key: its prefix and eight digits of its hash."""
    return token[:3] + _hash(token)[:8]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
