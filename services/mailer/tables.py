"""The mailer's rows: the ledger of deliveries, its view of each lead, and who must not be mailed."""

from datetime import datetime

from sqlalchemy import Index, Table, text
from sqlmodel import Field, SQLModel

from shared.blob import Blob
from shared.instant import Instant

ODD = text(
    "((status = 'sent') <> (sent_at IS NOT NULL)) OR (status = 'sent' AND kind = 'email' AND message_id IS NULL) "
    "OR (status IN ('sent', 'suppressed', 'failed', 'in_doubt') AND due_at IS NOT NULL) OR (status = 'queued' AND due_at IS NULL)"
)
"""A delivery that should not be. Its index stays empty, so that the audit need not look at millions to say so."""
WEBHOOK = text("kind = 'webhook'")


class DeliveryRow(SQLModel, table=True):
    """One message: the whole of what is known about its way out.

    `due_at` is when the ledger must look at it again: a waiting one is due, a claim or a `sending` has outlived its lease. Null where
    nothing is to be done any more, or not before somebody acts. `claims` counts the times it was taken in hand and fences who took it
    earlier; `attempts` counts the tries that say something about this delivery, since it was last queued.
    """

    __tablename__ = "mailer_delivery"
    __table_args__ = (
        Index(
            "ix_mailer_delivery_due",
            "lane",
            "rank",
            "due_at",
            "queued_at",
            "journey",
            sqlite_where=text("due_at IS NOT NULL"),
            postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index("ix_mailer_delivery_lead", "lead_id", "queued_at"),
        Index("ix_mailer_delivery_newest", "queued_at"),
        Index("ix_mailer_delivery_status", "status", "queued_at"),
        Index("ix_mailer_delivery_message_id", "message_id"),
        Index("ix_mailer_delivery_audit", "journey", "step", "status", "reached_at"),
        Index("ix_mailer_delivery_odd", "status", sqlite_where=ODD, postgresql_where=ODD),
        Index("ix_mailer_delivery_webhook", "journey", "step", "id", sqlite_where=WEBHOOK, postgresql_where=WEBHOOK),
        Index(
            "ix_mailer_delivery_counted",
            "counted_for",
            "counted_at",
            sqlite_where=text("counted_for IS NOT NULL"),
            postgresql_where=text("counted_for IS NOT NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    kind: str  # email | webhook
    lane: str  # what it leaves through: `relay`, or `endpoint:NAME`
    rank: int  # smaller first
    lead_id: str
    journey: str
    version: str
    step: str
    template: str
    status: str
    reason: str | None = None
    detail: str | None = None  # in the relay's or the endpoint's own words
    attempts: int = 0
    claims: int = 0
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    claimed_at: datetime | None = Field(default=None, sa_type=Instant)
    reached_at: datetime = Field(sa_type=Instant)
    queued_at: datetime = Field(sa_type=Instant)
    sent_at: datetime | None = Field(default=None, sa_type=Instant)
    opened_at: datetime | None = Field(default=None, sa_type=Instant)
    clicked_at: datetime | None = Field(default=None, sa_type=Instant)
    opens: int = 0
    clicks: int = 0
    address: str | None = None
    message_id: str | None = None
    targets: bytes = Field(default=b"[]", sa_type=Blob)  # where the links of the sent mail lead, by index
    message: bytes = Field(sa_type=Blob)  # the wire.Send, as it came
    by_newest: bool = False  # its own playbook could not serve it: from then on it goes by the newest; `version` stays
    body: bytes | None = Field(default=None, sa_type=Blob)  # of a webhook: the same bytes on every attempt
    clicks_told: str | None = None  # the links whose clicks were told, a person's and a machine's apart: `0h 0m 3h`
    counted_for: str | None = None  # of marketing in hand or gone: the address whose caps it counts for
    counted_at: datetime | None = Field(default=None, sa_type=Instant)


class ReceivedRow(SQLModel, table=True):
    """How many messages came, by journey and step: counted beside the ledger, so that the audit can find it wrong."""

    __tablename__ = "mailer_received"
    journey: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    count: int


class WithdrawalRow(SQLModel, table=True):
    """A message taken back; it stays away also when it comes only after its withdrawal."""

    __tablename__ = "mailer_withdrawal"
    id: str = Field(primary_key=True)
    reason: str
    at: datetime = Field(sa_type=Instant)


class LeadRow(SQLModel, table=True):
    """A lead as its newest activity told; one that became part of another stays as a tombstone that names it."""

    __tablename__ = "mailer_lead"
    __table_args__ = (Index("ix_mailer_lead_address", "address"),)
    id: str = Field(primary_key=True)
    sequence: int
    address: str | None = None  # by `address_key`
    lead: bytes = Field(sa_type=Blob)
    merged_into: str | None = None


class SuppressionRow(SQLModel, table=True):
    """An address that must not be mailed: at all, or not with marketing."""

    __tablename__ = "mailer_suppression"
    address: str = Field(primary_key=True)
    scope: str = Field(primary_key=True)  # all | marketing | topic:NAME
    reason: str
    delivery_id: str | None = None
    at: datetime = Field(sa_type=Instant)


class AddressRow(SQLModel, table=True):
    """An address: what its reader wishes, and when its owner was asked. Caps on what it gets are checked under this row."""

    __tablename__ = "mailer_address"
    address: str = Field(primary_key=True)
    paused_until: datetime | None = Field(default=None, sa_type=Instant)
    asked_at: datetime | None = Field(default=None, sa_type=Instant)
    confirmed_at: datetime | None = Field(default=None, sa_type=Instant)


class RateRow(SQLModel, table=True):
    """How fast mail may go through a lane: where its next free slot lies, for whichever replica takes it."""

    __tablename__ = "mailer_rate"
    lane: str = Field(primary_key=True)
    free_from: datetime | None = Field(default=None, sa_type=Instant)


class WarmUpRow(SQLModel, table=True):
    """Where a new sender stands on the ladder of daily caps, and how many of the day's marketing mails have gone."""

    __tablename__ = "mailer_warm_up"
    sender: str = Field(primary_key=True)
    day: str
    rung: int
    used: int


class EndpointRow(SQLModel, table=True):
    """An endpoint that answered 410 Gone; another URL under its name is another endpoint."""

    __tablename__ = "mailer_endpoint"
    name: str = Field(primary_key=True)
    url_hash: str = Field(primary_key=True)
    disabled_at: datetime = Field(sa_type=Instant)
    reason: str


class HandoffRow(SQLModel, table=True):
    """A hot lead given to sales; it alone judges an answer. Its columns are those of `handoffs.Handoff`."""

    __tablename__ = "mailer_handoff"
    __table_args__ = (
        Index("ix_mailer_handoff_due", "due_at", sqlite_where=text("due_at IS NOT NULL"), postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_mailer_handoff_delivery", "delivery_id", unique=True),
        Index("ix_mailer_handoff_lead", "lead_id"),
        Index("ix_mailer_handoff_newest", "opened_at"),
    )
    id: str = Field(primary_key=True)
    delivery_id: str
    lead_id: str
    status: str  # open | accepted | rejected | expired
    opened_at: datetime = Field(sa_type=Instant)
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    told_at: datetime | None = Field(default=None, sa_type=Instant)
    snoozed_until: datetime | None = Field(default=None, sa_type=Instant)
    answered_at: datetime | None = Field(default=None, sa_type=Instant)
    reason: str | None = None
    moves: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


class RequestRow(SQLModel, table=True):
    """A message asked for over the API under an Idempotency-Key: what was asked, as a keyed digest, and what came of it."""

    __tablename__ = "mailer_request"
    key: str = Field(primary_key=True)
    digest: bytes = Field(sa_type=Blob)
    delivery_id: str
    at: datetime = Field(sa_type=Instant)


def _table(row: type[SQLModel]) -> Table:
    table: Table = row.__table__  # type: ignore[attr-defined]
    return table


DELIVERIES = _table(DeliveryRow)
RECEIVED = _table(ReceivedRow)
WITHDRAWALS = _table(WithdrawalRow)
LEADS = _table(LeadRow)
SUPPRESSIONS = _table(SuppressionRow)
ADDRESSES = _table(AddressRow)
RATES = _table(RateRow)
WARM_UPS = _table(WarmUpRow)
ENDPOINTS = _table(EndpointRow)
HANDOFFS = _table(HandoffRow)
REQUESTS = _table(RequestRow)
