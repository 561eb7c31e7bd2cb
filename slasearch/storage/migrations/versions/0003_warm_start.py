"""What a study's sampler took from an earlier study."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sla_warm_start",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("data", sa.Text(), nullable=True),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("trials", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["sla_study.id"], name=op.f("fk_sla_warm_start_study_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_sla_warm_start")),
    )
