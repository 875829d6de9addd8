"""Event triggers."""

import sqlalchemy as sa
from alembic import op

from migrations.sql import run_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_trigger_events",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("agent_config_id", sa.String(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "agent_config_id"],
            ["agent_configs.customer_id", "agent_configs.id"],
            name=op.f("run_trigger_events_customer_id_agent_config_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "run_id"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("run_trigger_events_customer_id_run_id_fk"),
        ),
        sa.PrimaryKeyConstraint(
            "customer_id", "agent_config_id", "event_id", name=op.f("run_trigger_events_pk")
        ),
    )
    op.create_index(
        "run_trigger_events_gathered_idx",
        "run_trigger_events",
        ["customer_id", "agent_config_id"],
        unique=False,
        postgresql_where=sa.text("run_id IS NULL"),
    )
    run_file("0003_access.sql")


def downgrade() -> None:
    op.drop_table("run_trigger_events")
