"""How far behind each reader of a topic is, told by itself to whoever must wait for it: a small table, which older code leaves alone."""

import sqlalchemy as sa
from alembic import op

from shared.instant import Instant

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "shared_backlog",
        sa.Column("consumer_group", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("since", Instant(), nullable=True),
        sa.Column("told_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("consumer_group", "topic", "reader"),
    )
