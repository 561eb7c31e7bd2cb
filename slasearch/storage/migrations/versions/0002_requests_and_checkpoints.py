"""What commands ask of a study, and the checkpoints of its trials."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sla_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("verb", sa.String(length=16), nullable=False),
        sa.Column("trials", sa.Text(), nullable=True),
        sa.Column("at_once", sa.Boolean(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["sla_study.id"], name=op.f("fk_sla_request_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_request")),
    )
    op.create_index(op.f("ix_sla_request_study_id"), "sla_request", ["study_id"])
    op.create_table(
        "sla_checkpoint",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["sla_trial.id"], name=op.f("fk_sla_checkpoint_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_checkpoint")),
    )
    op.create_index(op.f("ix_sla_checkpoint_trial_id"), "sla_checkpoint", ["trial_id"])
