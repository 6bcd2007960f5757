"""The transparency log."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "logs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Text()),
        sa.Column("sealed_at", sa.BigInteger()),
        sa.Column("writer", sa.Text()),
        sa.Column("writer_until", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_logs"),
        sa.UniqueConstraint("origin", name="uq_logs_origin"),
    )
    op.create_table(
        "log_entries",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", "position", name="pk_log_entries"),
    )
    op.create_table(
        "log_statements",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log", "name", name="pk_log_statements"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log", "size", name="pk_checkpoints"),
    )
    op.create_table(
        "cosignatures",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("witness", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log", "size", "witness", name="pk_cosignatures"),
    )


def downgrade() -> None:
    for name in ("cosignatures", "checkpoints", "log_statements", "log_entries", "logs"):
        op.drop_table(name)
