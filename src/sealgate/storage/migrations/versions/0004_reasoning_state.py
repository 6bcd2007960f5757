"""Reasoning state of open tool loops."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reasoning_state",
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", "made_at", name="pk_reasoning_state"),
    )
    op.create_index("ix_reasoning_state_begun_at", "reasoning_state", ["begun_at"])


def downgrade() -> None:
    op.drop_table("reasoning_state")
