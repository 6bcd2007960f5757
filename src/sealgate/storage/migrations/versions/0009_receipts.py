"""Receipts and signing keys."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("receipt_id", sa.Text()),
        sa.Column("receipt", sa.Text()),
        sa.Column("log_index", sa.BigInteger()),
    ):
        op.add_column("ledger", column)
    where = sa.text("receipt IS NOT NULL AND log_index IS NULL")
    op.create_index("ix_ledger_unlogged", "ledger", ["id"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("active_from", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
    )


def downgrade() -> None:
    op.drop_table("signing_keys")
    op.drop_index("ix_ledger_unlogged", "ledger")
    for column in ("log_index", "receipt", "receipt_id"):
        op.drop_column("ledger", column)
