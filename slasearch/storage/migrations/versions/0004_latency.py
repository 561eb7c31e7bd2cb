"""How long one example takes through a trial's model, where the study bounds it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sla_trial", sa.Column("latency", sa.Float(), nullable=True))
