"""The ledger keeps the model that the provider says has answered."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger", sa.Column("reported_model", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("ledger", "reported_model")
