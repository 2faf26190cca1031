"""The rows every service keeps for itself: positions, outbox, dead letters; and what all of them read: keys and published playbooks."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, text
from sqlmodel import Field, SQLModel

from shared.blob import Blob
from shared.instant import Instant

SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""A growing integer key; SQLite gives its own row id only to a column spelled INTEGER."""


UNREPLAYED = text("replayed_at IS NULL")


class Position(SQLModel, table=True):
    """Where a consumer group reads on in one partition; moved by compare-and-set in the transaction that applies a batch."""

    __tablename__ = "shared_position"
    consumer_group: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    next_offset: int = Field(sa_type=BigInteger)


class BacklogRow(SQLModel, table=True):
    """Since when a record waits that this reader of a topic has not settled, as it said last."""

    __tablename__ = "shared_backlog"
    consumer_group: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    reader: str = Field(primary_key=True)
    since: datetime | None = Field(default=None, sa_type=Instant)
    told_at: datetime = Field(sa_type=Instant)


class OutboxBlob(SQLModel, table=True):
    """What one transaction wants to append to one topic: its records, framed as one blob. A sweep that takes it makes it young again."""

    __tablename__ = "shared_outbox"
    __table_args__ = (Index("ix_shared_outbox_age", "service", "created_at"),)
    id: int = Field(default=None, primary_key=True, sa_type=SERIAL)
    service: str
    topic: str
    records: bytes = Field(sa_type=Blob)
    created_at: datetime = Field(sa_type=Instant)


class DeadLetterRow(SQLModel, table=True):
    """A record that could not be handled, with its reason; it waits to be replayed."""

    __tablename__ = "shared_dead_letter"
    __table_args__ = (
        Index("ix_shared_dead_letter_newest", "service", "at"),
        Index("ix_shared_dead_letter_waiting", "service", "topic", "code", sqlite_where=UNREPLAYED, postgresql_where=UNREPLAYED),
    )
    id: str = Field(primary_key=True)
    service: str
    topic: str
    key: str
    code: str
    message: str
    payload: bytes = Field(sa_type=Blob)
    at: datetime = Field(sa_type=Instant)
    replayed_at: datetime | None = Field(default=None, sa_type=Instant)


class ErasureRow(SQLModel, table=True):
    """A person whom a service was told to forget, and what it has removed; without `done_at` it is still at it."""

    __tablename__ = "shared_erasure"
    service: str = Field(primary_key=True)
    lead_id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=Instant)
    done_at: datetime | None = Field(default=None, sa_type=Instant)
    removed: str = "{}"  # how many of what, as JSON
    dropped: int = 0  # events that came later and were of the time before


class GraveRow(SQLModel, table=True):
    """What an erased person was known by: a lead id, or the keyed hash of a user id, an anonymous id or an address."""

    __tablename__ = "shared_grave"
    service: str = Field(primary_key=True)
    mark: str = Field(primary_key=True)
    lead_id: str
    at: datetime = Field(sa_type=Instant)


class KeyRow(SQLModel, table=True):
    """A write key or a secret key; only its SHA-256 is kept."""

    __tablename__ = "shared_key"
    id: str = Field(primary_key=True)
    kind: str
    role: str | None = None
    name: str
    token_sha256: str = Field(unique=True)
    created_at: datetime = Field(sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)


class PlaybookRow(SQLModel, table=True):
    """A published playbook, whole. The one published last is in force; `version` is the hash of its content."""

    __tablename__ = "shared_playbook"
    __table_args__ = (Index("ix_shared_playbook_newest", "published_at"),)
    version: str = Field(primary_key=True)
    files: bytes = Field(sa_type=Blob)
    published_at: datetime = Field(sa_type=Instant)
