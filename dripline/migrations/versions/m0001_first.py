"""The first schema."""

import sqlalchemy as sa
from alembic import op

from shared.instant import Instant

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "journeys_control",
        sa.Column("journey", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("instead_of", sa.String(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("journey"),
    )
    op.create_table(
        "journeys_enrollment",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("journey", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("holdout", sa.Boolean(), nullable=False),
        sa.Column("step", sa.String(), nullable=True),
        sa.Column("transition", sa.Integer(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("entry_at", Instant(), nullable=False),
        sa.Column("entered_at", Instant(), nullable=False),
        sa.Column("wake_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("goal_until", Instant(), nullable=True),
        sa.Column("converted_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_journeys_enrollment_due",
        "journeys_enrollment",
        ["wake_at", "journey", "version"],
        unique=False,
        sqlite_where=sa.text("wake_at IS NOT NULL"),
        postgresql_where=sa.text("wake_at IS NOT NULL"),
    )
    op.create_index("ix_journeys_enrollment_journey", "journeys_enrollment", ["journey", "status"], unique=False)
    op.create_index("ix_journeys_enrollment_lead", "journeys_enrollment", ["lead_id", "journey"], unique=False)
    op.create_table(
        "journeys_lead",
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=True),
        sa.Column("lead", sa.LargeBinary(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.String(), nullable=False),
        sa.Column("merged_into", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("lead_id"),
    )
    op.create_index(op.f("ix_journeys_lead_email"), "journeys_lead", ["email"], unique=False)
    op.create_table(
        "journeys_recent",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("ix_journeys_recent_at", "journeys_recent", ["at"], unique=False)
    op.create_index("ix_journeys_recent_lead", "journeys_recent", ["lead_id"], unique=False)
    op.create_table(
        "journeys_visit",
        sa.Column("enrollment_id", sa.String(), nullable=False),
        sa.Column("transition", sa.Integer(), nullable=False),
        sa.Column("journey", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("enrollment_id", "transition"),
    )
    op.create_index("ix_journeys_visit_step", "journeys_visit", ["journey", "step", "outcome"], unique=False)
    op.create_table(
        "mailer_delivery",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("journey", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("claimed_at", Instant(), nullable=True),
        sa.Column("reached_at", Instant(), nullable=False),
        sa.Column("queued_at", Instant(), nullable=False),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.Column("opened_at", Instant(), nullable=True),
        sa.Column("clicked_at", Instant(), nullable=True),
        sa.Column("opens", sa.Integer(), nullable=False),
        sa.Column("clicks", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("message_id", sa.String(), nullable=True),
        sa.Column("targets", sa.LargeBinary(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("by_newest", sa.Boolean(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_mailer_delivery_audit", "mailer_delivery", ["journey", "step", "status", "reached_at"], unique=False)
    op.create_index(
        "ix_mailer_delivery_due",
        "mailer_delivery",
        ["lane", "rank", "due_at", "journey"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_mailer_delivery_lead", "mailer_delivery", ["lead_id", "queued_at"], unique=False)
    op.create_index("ix_mailer_delivery_message_id", "mailer_delivery", ["message_id"], unique=False)
    op.create_index("ix_mailer_delivery_newest", "mailer_delivery", ["queued_at"], unique=False)
    op.create_index("ix_mailer_delivery_status", "mailer_delivery", ["status", "queued_at"], unique=False)
    op.create_table(
        "mailer_endpoint",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("url_hash", sa.String(), nullable=False),
        sa.Column("disabled_at", Instant(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", "url_hash"),
    )
    op.create_table(
        "mailer_handoff",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "mailer_lead",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("lead", sa.LargeBinary(), nullable=False),
        sa.Column("merged_into", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "mailer_received",
        sa.Column("journey", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("journey", "step"),
    )
    op.create_table(
        "mailer_suppression",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("address", "scope"),
    )
    op.create_table(
        "mailer_withdrawal",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "scoring_event",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_scoring_event_timeline", "scoring_event", ["lead_id", "at"], unique=False)
    op.create_table(
        "scoring_identity",
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("identity"),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_scoring_identity_lead_id"), "scoring_identity", ["lead_id"], unique=False)
    op.create_table(
        "scoring_lead",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("email", sa.String(), nullable=True),
        sa.Column("readiness", sa.Integer(), nullable=False),
        sa.Column("hot", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("next_change_at", Instant(), nullable=True),
        sa.Column("merged_into", sa.String(), nullable=True),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_scoring_lead_email"), "scoring_lead", ["email"], unique=False)
    op.create_index(
        "ix_scoring_lead_fading",
        "scoring_lead",
        ["next_change_at"],
        unique=False,
        sqlite_where=sa.text("next_change_at IS NOT NULL"),
        postgresql_where=sa.text("next_change_at IS NOT NULL"),
    )
    op.create_index(
        "ix_scoring_lead_hot", "scoring_lead", ["id"], unique=False, sqlite_where=sa.text("hot = 1"), postgresql_where=sa.text("hot")
    )
    op.create_table(
        "shared_dead_letter",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("replayed_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_shared_dead_letter_newest", "shared_dead_letter", ["service", "at"], unique=False)
    op.create_table(
        "shared_key",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_table(
        "shared_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("records", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_shared_outbox_age", "shared_outbox", ["service", "created_at"], unique=False)
    op.create_table(
        "shared_playbook",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.Column("published_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_index("ix_shared_playbook_newest", "shared_playbook", ["published_at"], unique=False)
    op.create_table(
        "shared_position",
        sa.Column("consumer_group", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("consumer_group", "topic", "partition"),
    )
