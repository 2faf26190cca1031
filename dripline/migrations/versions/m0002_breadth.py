"""What the breadth of the language needs: a function for each service's tables."""

import sqlalchemy as sa
from alembic import op

from shared.instant import Instant

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _shared()
    _scoring()
    _journeys()
    _mailer()


def _shared() -> None:
    op.create_table(
        "shared_erasure",
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("done_at", Instant(), nullable=True),
        sa.Column("removed", sa.String(), nullable=False),
        sa.Column("dropped", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("service", "lead_id"),
    )
    op.create_table(
        "shared_grave",
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("mark", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("service", "mark"),
    )


def _scoring() -> None:
    merged = sa.text("merged_into IS NOT NULL")
    op.create_index("ix_scoring_lead_merged", "scoring_lead", ["merged_into"], sqlite_where=merged, postgresql_where=merged)
    op.add_column("scoring_lead", sa.Column("sleeping", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("scoring_lead", sa.Column("name", sa.String(), nullable=True))
    op.add_column("scoring_lead", sa.Column("mailable", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("scoring_lead", sa.Column("orders", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_scoring_lead_mailable", "scoring_lead", ["id"], sqlite_where=sa.text("mailable = 1"), postgresql_where=sa.text("mailable")
    )
    bought = sa.text("orders > 0")
    op.create_index("ix_scoring_lead_orders", "scoring_lead", ["orders"], sqlite_where=bought, postgresql_where=bought)
    op.create_index(
        "ix_scoring_lead_sleeping", "scoring_lead", ["id"], sqlite_where=sa.text("sleeping = 1"), postgresql_where=sa.text("sleeping")
    )
    ready = sa.text("readiness > 1")
    op.create_index("ix_scoring_lead_readiness", "scoring_lead", ["readiness", "id"], sqlite_where=ready, postgresql_where=ready)
    op.create_table(
        "scoring_renewal",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("began_at", Instant(), nullable=False),
        sa.Column("done_to", sa.String(), nullable=False),
        sa.Column("is_done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )


def _journeys() -> None:
    op.create_index("ix_journeys_enrollment_entered", "journeys_enrollment", ["entered_at", "journey", "holdout", "converted_at"])
    op.add_column("journeys_recent", sa.Column("late", sa.Boolean(), nullable=False, server_default=sa.false()))


def _mailer() -> None:
    op.add_column("mailer_delivery", sa.Column("clicks_told", sa.String(), nullable=True))
    op.add_column("mailer_delivery", sa.Column("counted_for", sa.String(), nullable=True))
    op.add_column("mailer_delivery", sa.Column("counted_at", Instant(), nullable=True))
    op.create_index(
        "ix_mailer_delivery_counted",
        "mailer_delivery",
        ["counted_for", "counted_at"],
        unique=False,
        sqlite_where=sa.text("counted_for IS NOT NULL"),
        postgresql_where=sa.text("counted_for IS NOT NULL"),
    )
    op.drop_index("ix_mailer_delivery_due", "mailer_delivery")
    op.create_index(
        "ix_mailer_delivery_due",
        "mailer_delivery",
        ["lane", "rank", "due_at", "queued_at", "journey"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "mailer_address",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("paused_until", Instant(), nullable=True),
        sa.Column("asked_at", Instant(), nullable=True),
        sa.Column("confirmed_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("address"),
    )
    _keys_of_addresses()
    op.create_index("ix_mailer_lead_address", "mailer_lead", ["address"])
    for column in ("due_at", "told_at", "snoozed_until", "answered_at"):
        op.add_column("mailer_handoff", sa.Column(column, Instant(), nullable=True))
    op.add_column("mailer_handoff", sa.Column("reason", sa.String(), nullable=True))
    op.add_column("mailer_handoff", sa.Column("moves", sa.Integer(), nullable=False, server_default="0"))
    due = sa.text("due_at IS NOT NULL")
    op.create_index("ix_mailer_handoff_due", "mailer_handoff", ["due_at"], sqlite_where=due, postgresql_where=due)
    op.create_index("ix_mailer_handoff_delivery", "mailer_handoff", ["delivery_id"], unique=True)
    op.create_index("ix_mailer_handoff_lead", "mailer_handoff", ["lead_id"])
    op.create_index("ix_mailer_handoff_newest", "mailer_handoff", ["opened_at"])
    op.create_table(
        "mailer_request",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )


def _keys_of_addresses() -> None:
    """Mailer's leads are found by their addresses' keys from now on. SQLite's `lower` knows ASCII only: the few others one by one."""
    leads = sa.table("mailer_lead", sa.column("id", sa.String()), sa.column("address", sa.String()))
    address, connection = leads.c.address, op.get_bind()
    connection.execute(leads.update().where(address != sa.func.lower(address)).values(address=sa.func.lower(address)))
    others = connection.execute(sa.select(leads).where(address.regexp_match("[^!-~]"))).all()
    rows = [{"the_id": row.id, "key": row.address.strip().casefold()} for row in others]
    if rows:
        connection.execute(leads.update().where(leads.c.id == sa.bindparam("the_id")).values(address=sa.bindparam("key")), rows)
