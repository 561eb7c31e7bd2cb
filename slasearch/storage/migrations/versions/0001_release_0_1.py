"""The tables of release 0.1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sla_study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("data", sa.Text(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_study")),
        sa.UniqueConstraint("name", name=op.f("uq_sla_study_name")),
    )
    op.create_table(
        "sla_lease",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("renewed_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["sla_study.id"], name=op.f("fk_sla_lease_study_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_sla_lease")),
    )
    op.create_table(
        "sla_trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("optuna_study", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("sampler", sa.String(length=32), nullable=False),
        sa.Column("factor", sa.String(length=255), nullable=True),
        sa.Column("point", sa.Integer(), nullable=True),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("retry_of", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("config_hash", sa.String(length=64), nullable=False),
        sa.Column("init_seed", sa.BigInteger(), nullable=False),
        sa.Column("data_seed", sa.BigInteger(), nullable=False),
        sa.Column("pair_of", sa.Integer(), nullable=True),
        sa.Column("control_size", sa.BigInteger(), nullable=True),
        sa.Column("control_variant", sa.String(length=64), nullable=True),
        sa.Column("ray_trial_id", sa.String(length=64), nullable=True),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("exported_parameters", sa.Float(), nullable=True),
        sa.Column("robustness", sa.Float(), nullable=True),
        sa.Column("budget", sa.Integer(), nullable=True),
        sa.Column("budget_max", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("log", sa.String(length=512), nullable=True),
        sa.ForeignKeyConstraint(["pair_of"], ["sla_trial.id"], name=op.f("fk_sla_trial_pair_of")),
        sa.ForeignKeyConstraint(["retry_of"], ["sla_trial.id"], name=op.f("fk_sla_trial_retry_of")),
        sa.ForeignKeyConstraint(["study_id"], ["sla_study.id"], name=op.f("fk_sla_trial_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_trial")),
        sa.UniqueConstraint(
            "study_id", "optuna_study", "number", name=op.f("uq_sla_trial_study_id_optuna_study_number")
        ),
    )
    op.create_index(op.f("ix_sla_trial_study_id"), "sla_trial", ["study_id"], unique=False)
    op.create_table(
        "sla_artifact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["sla_trial.id"], name=op.f("fk_sla_artifact_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_artifact")),
        sa.UniqueConstraint("trial_id", "name", name=op.f("uq_sla_artifact_trial_id_name")),
    )
    op.create_table(
        "sla_cost",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["sla_trial.id"], name=op.f("fk_sla_cost_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_cost")),
    )
    op.create_index(op.f("ix_sla_cost_trial_id"), "sla_cost", ["trial_id"], unique=False)
    op.create_table(
        "sla_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["sla_study.id"], name=op.f("fk_sla_event_study_id")),
        sa.ForeignKeyConstraint(["trial_id"], ["sla_trial.id"], name=op.f("fk_sla_event_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_event")),
    )
    op.create_index(op.f("ix_sla_event_study_id_trial_id"), "sla_event", ["study_id", "trial_id"], unique=False)
    op.create_table(
        "sla_gate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=128), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("openness", sa.Float(), nullable=True),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["sla_trial.id"], name=op.f("fk_sla_gate_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_gate")),
    )
    op.create_index(op.f("ix_sla_gate_trial_id"), "sla_gate", ["trial_id"], unique=False)
    op.create_table(
        "sla_metric",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("condition", sa.String(length=64), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("metric", sa.String(length=64), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("examples", sa.Integer(), nullable=True),
        sa.Column("error", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["trial_id"], ["sla_trial.id"], name=op.f("fk_sla_metric_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sla_metric")),
    )
    op.create_index(op.f("ix_sla_metric_trial_id"), "sla_metric", ["trial_id"], unique=False)
