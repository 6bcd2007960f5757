"""Where a log says what is not a receipt."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("log_statements", sa.Column("position", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("log_statements", "position")
