"""Indexes that the audit counts by. Old code works beside them: only an index that no query but the audit's needs is replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ODD_VISIT = (
    "((outcome = 'published') <> (message_id IS NOT NULL)) OR (kind NOT IN ('send', 'handoff') AND outcome IN ('published', 'skipped')) "
    "OR (kind IN ('send', 'handoff') AND outcome NOT IN ('published', 'skipped', 'holdout'))"
)
ODD_DELIVERY = (
    "((status = 'sent') <> (sent_at IS NOT NULL)) OR (status = 'sent' AND kind = 'email' AND message_id IS NULL) "
    "OR (status IN ('sent', 'suppressed', 'failed', 'in_doubt') AND due_at IS NOT NULL) OR (status = 'queued' AND due_at IS NULL)"
)


def upgrade() -> None:
    op.create_index("ix_journeys_visit_audit", "journeys_visit", ["journey", "step", "kind", "outcome", "at"])
    op.drop_index("ix_journeys_visit_step", "journeys_visit")
    _partial("ix_journeys_visit_odd", "journeys_visit", ["journey", "step"], ODD_VISIT)
    _partial("ix_mailer_delivery_odd", "mailer_delivery", ["status"], ODD_DELIVERY)
    _partial("ix_mailer_delivery_webhook", "mailer_delivery", ["journey", "step", "id"], "kind = 'webhook'")
    _partial("ix_shared_dead_letter_waiting", "shared_dead_letter", ["service", "topic", "code"], "replayed_at IS NULL")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
