"""What was predicted for each example of the test split, beside the score computed from it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sla_metric", sa.Column("labels", sa.LargeBinary(), nullable=True))
    op.add_column("sla_metric", sa.Column("predicted", sa.LargeBinary(), nullable=True))
