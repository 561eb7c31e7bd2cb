"""What a sampler keeps of a trial beside its values, and indexes without which deleting a study takes ever longer."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sla_trial", sa.Column("sampler_notes", sa.Text(), nullable=True))
    op.create_index(op.f("ix_sla_trial_retry_of"), "sla_trial", ["retry_of"])
    op.create_index(op.f("ix_sla_trial_pair_of"), "sla_trial", ["pair_of"])
    op.create_index(op.f("ix_sla_event_trial_id"), "sla_event", ["trial_id"])
