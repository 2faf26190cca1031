"""How fast mail may go, and where a new sender stands: two small tables, which older code leaves alone."""

import sqlalchemy as sa
from alembic import op

from shared.instant import Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "mailer_rate",
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("free_from", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("lane"),
    )
    op.create_table(
        "mailer_warm_up",
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sender"),
    )
