"""What scoring keeps: the leads, what leads to them, and every event for good."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, false, text
from sqlmodel import Field, SQLModel

from shared.blob import Blob
from shared.instant import Instant

FADING = text("next_change_at IS NOT NULL")
MERGED = text("merged_into IS NOT NULL")
BOUGHT = text("orders > 0")
READY = text("readiness > 1")


class LeadRow(SQLModel, table=True):
    """A lead (`state` is all of it, as JSON; the columns are what is asked for), or the tombstone of one that became part of another.

    `sequence` is its last activity's, and stays with the tombstone: all sequences together count the recorded events.
    """

    __tablename__ = "scoring_lead"
    __table_args__ = (
        Index("ix_scoring_lead_fading", "next_change_at", sqlite_where=FADING, postgresql_where=FADING),
        Index("ix_scoring_lead_hot", "id", sqlite_where=text("hot = 1"), postgresql_where=text("hot")),
        Index("ix_scoring_lead_merged", "merged_into", sqlite_where=MERGED, postgresql_where=MERGED),
        Index("ix_scoring_lead_sleeping", "id", sqlite_where=text("sleeping = 1"), postgresql_where=text("sleeping")),
        Index("ix_scoring_lead_mailable", "id", sqlite_where=text("mailable = 1"), postgresql_where=text("mailable")),
        Index("ix_scoring_lead_orders", "orders", sqlite_where=BOUGHT, postgresql_where=BOUGHT),
        Index("ix_scoring_lead_readiness", "readiness", "id", sqlite_where=READY, postgresql_where=READY),
    )
    id: str = Field(primary_key=True)
    user_id: str | None = None
    email: str | None = Field(default=None, index=True)  # in lower case, to be looked up by
    readiness: int
    hot: bool
    sleeping: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    mailable: bool = Field(default=False, sa_column_kwargs={"server_default": false()})  # marketing may be mailed to it
    orders: int = Field(default=0, sa_column_kwargs={"server_default": "0"})  # how often it bought
    name: str | None = None  # as its traits have it, folded, to be searched
    sequence: int = Field(sa_type=BigInteger)
    next_change_at: datetime | None = Field(default=None, sa_type=Instant)
    merged_into: str | None = None
    state: bytes = Field(sa_type=Blob)


class IdentityRow(SQLModel, table=True):
    """A user id or anonymous id, and whose it is."""

    __tablename__ = "scoring_identity"
    __table_args__ = {"sqlite_with_rowid": False}
    identity: str = Field(primary_key=True)
    lead_id: str = Field(index=True)


class EventRow(SQLModel, table=True):
    """An event once recorded: the lasting record, and what makes its repeat harmless. `sequence` was its activity's."""

    __tablename__ = "scoring_event"
    __table_args__ = (Index("ix_scoring_event_timeline", "lead_id", "at"),)
    id: str = Field(primary_key=True)
    lead_id: str
    sequence: int = Field(sa_type=BigInteger)
    at: datetime = Field(sa_type=Instant)
    event: bytes = Field(sa_type=Blob)


class RenewalRow(SQLModel, table=True):
    """How far all leads have been folded anew under definitions that changed: the one row of the version in force."""

    __tablename__ = "scoring_renewal"
    version: str = Field(primary_key=True)
    began_at: datetime = Field(sa_type=Instant)
    done_to: str  # every lead up to this id was looked at
    is_done: bool
