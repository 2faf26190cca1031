"""What journeys keeps: its projection of each lead, the enrollments, their visits to steps, and what they must remember."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Table, false, text
from sqlmodel import Field, SQLModel

from shared.blob import Blob
from shared.instant import Instant

WAITING = text("wake_at IS NOT NULL")
ODD = text(
    "((outcome = 'published') <> (message_id IS NOT NULL)) OR (kind NOT IN ('send', 'handoff') AND outcome IN ('published', 'skipped')) "
    "OR (kind IN ('send', 'handoff') AND outcome NOT IN ('published', 'skipped', 'holdout'))"
)
"""A visit that should not be: published without a message, or an outcome that its kind of step does not have. Its index stays empty."""


class LeadRow(SQLModel, table=True):
    """A lead as its newest activity left it (`lead` is that activity's JSON). `sequence` and `gaps` say which activities were handled."""

    __tablename__ = "journeys_lead"
    lead_id: str = Field(primary_key=True)
    email: str | None = Field(default=None, index=True)
    lead: bytes | None = Field(default=None, sa_type=Blob)
    sequence: int = Field(sa_type=BigInteger)
    gaps: str = ""
    merged_into: str | None = None


class EnrollmentRow(SQLModel, table=True):
    """A walk. `state` holds what only the engine reads; the columns are what is asked for. `transition` is compared at each save."""

    __tablename__ = "journeys_enrollment"
    __table_args__ = (
        Index("ix_journeys_enrollment_lead", "lead_id", "journey"),
        Index("ix_journeys_enrollment_due", "wake_at", "journey", "version", sqlite_where=WAITING, postgresql_where=WAITING),
        Index("ix_journeys_enrollment_journey", "journey", "status"),
        Index("ix_journeys_enrollment_entered", "entered_at", "journey", "holdout", "converted_at"),
    )
    id: str = Field(primary_key=True)
    lead_id: str
    journey: str
    version: str
    key: str | None = None
    status: str
    holdout: bool
    step: str | None = None
    transition: int
    state: bytes = Field(sa_type=Blob)
    entry_at: datetime = Field(sa_type=Instant)
    entered_at: datetime = Field(sa_type=Instant)
    wake_at: datetime | None = Field(default=None, sa_type=Instant)
    ended_at: datetime | None = Field(default=None, sa_type=Instant)
    reason: str | None = None
    goal_until: datetime | None = Field(default=None, sa_type=Instant)
    converted_at: datetime | None = Field(default=None, sa_type=Instant)


class VisitRow(SQLModel, table=True):
    """One visit to one step, and what came of it; `at` is when the step was reached."""

    __tablename__ = "journeys_visit"
    __table_args__ = (
        Index("ix_journeys_visit_audit", "journey", "step", "kind", "outcome", "at"),
        Index("ix_journeys_visit_odd", "journey", "step", sqlite_where=ODD, postgresql_where=ODD),
    )
    enrollment_id: str = Field(primary_key=True)
    transition: int = Field(primary_key=True)
    journey: str
    step: str
    kind: str
    outcome: str
    reason: str = ""
    at: datetime = Field(sa_type=Instant)
    message_id: str | None = None


class RecentRow(SQLModel, table=True):
    """An event that an exit, a goal or a `wait_for` names, kept a week: what it means something to may begin after it."""

    __tablename__ = "journeys_recent"
    __table_args__ = (Index("ix_journeys_recent_lead", "lead_id"), Index("ix_journeys_recent_at", "at"))
    event_id: str = Field(primary_key=True)
    lead_id: str
    sequence: int = Field(sa_type=BigInteger)
    event: bytes = Field(sa_type=Blob)
    at: datetime = Field(sa_type=Instant)
    late: bool = Field(default=False, sa_column_kwargs={"server_default": false()})


class ControlRow(SQLModel, table=True):
    """A status set over the API. It holds while the file says what it said then (`instead_of`); publishing another status ends it."""

    __tablename__ = "journeys_control"
    journey: str = Field(primary_key=True)
    status: str
    instead_of: str
    at: datetime = Field(sa_type=Instant)


LEADS: Table = LeadRow.__table__  # type: ignore[attr-defined]
ENROLLMENTS: Table = EnrollmentRow.__table__  # type: ignore[attr-defined]
VISITS: Table = VisitRow.__table__  # type: ignore[attr-defined]
RECENT: Table = RecentRow.__table__  # type: ignore[attr-defined]
CONTROLS: Table = ControlRow.__table__  # type: ignore[attr-defined]
