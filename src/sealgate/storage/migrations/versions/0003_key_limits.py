"""Keys carry their own limits and budget."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keys", sa.Column("limits", sa.Text(), nullable=True))
    op.add_column("keys", sa.Column("budget", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("keys", "budget")
    op.drop_column("keys", "limits")
