"""Sessions and automation settings."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text()),
        sa.Column("user_id", sa.Text()),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("automated", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("route", sa.Text()),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_holder_created_at", "sessions", ["holder", "created_at"])
    op.create_index("ix_sessions_revision", "sessions", ["revision"])
    _create_partial_index("ix_sessions_open", "sessions", ["holder"], "ended_at IS NULL", unique=True)
    _create_partial_index("ix_sessions_due", "sessions", ["expires_at"], "ended_at IS NULL")
    _create_partial_index("ix_ledger_session_id", "ledger", ["session_id", "id"], "session_id IS NOT NULL")
    op.create_table(
        "automation",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("session_duration", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "user_id", name="pk_automation"),
    )
    op.create_index("ix_automation_revision", "automation", ["revision"])


def downgrade() -> None:
    op.drop_table("automation")
    op.drop_index("ix_ledger_session_id", "ledger")
    op.drop_table("sessions")


def _create_partial_index(name: str, table: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)
