"""Schedules."""

import sqlalchemy as sa
from alembic import op

from migrations.sql import run_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedule_fires",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("agent_config_id", sa.String(length=36), nullable=False),
        sa.Column("slot_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("covers", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint("(outcome = 'skipped') = (run_id IS NULL)", name=op.f("schedule_fires_run_check")),
        sa.CheckConstraint(
            "outcome IN ('started', 'coalesced', 'skipped')", name=op.f("schedule_fires_outcome_check")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "agent_config_id"],
            ["agent_configs.customer_id", "agent_configs.id"],
            name=op.f("schedule_fires_customer_id_agent_config_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "run_id"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("schedule_fires_customer_id_run_id_fk"),
        ),
        sa.PrimaryKeyConstraint("customer_id", "agent_config_id", "slot_at", name=op.f("schedule_fires_pk")),
    )
    op.create_index(
        "agent_configs_due_idx",
        "agent_configs",
        ["next_due_at"],
        unique=False,
        postgresql_where=sa.text("next_due_at IS NOT NULL AND enabled AND deleted_at IS NULL"),
    )
    run_file("0002_access.sql")


def downgrade() -> None:
    op.drop_index("agent_configs_due_idx", table_name="agent_configs")
    op.drop_table("schedule_fires")
    op.execute("DROP POLICY system_finds ON agent_configs")
    op.execute(
        "REVOKE SELECT (id, customer_id, next_due_at, enabled, deleted_at) ON agent_configs FROM bevyly_system"
    )
