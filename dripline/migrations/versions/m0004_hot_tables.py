"""PostgreSQL's settings of the tables whose rows change all the time: vacuumed early and in one go, with room for a row's next version.

Dead rows are what makes a claim of due work slow: a queue's table is small and its dead are many. SQLite has nothing to set.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

HOT = (
    "journeys_enrollment",
    "journeys_lead",
    "mailer_address",
    "mailer_delivery",
    "mailer_handoff",
    "mailer_rate",
    "mailer_received",
    "mailer_warm_up",
    "scoring_lead",
    "shared_outbox",
    "shared_position",
)
SETTINGS = (
    "fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.02"
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in HOT:
        op.execute(f"ALTER TABLE {table} SET ({SETTINGS})")
