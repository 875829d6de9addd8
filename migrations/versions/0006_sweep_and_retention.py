"""The sweep's visits, and what is kept for a time only."""

import sqlalchemy as sa
from alembic import op

from migrations.sql import run_file

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "agent_run_steps", sa.Column("output_removed_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_index(
        "agent_run_steps_recorded_at_idx",
        "agent_run_steps",
        ["recorded_at"],
        unique=False,
        postgresql_where=sa.text("output_removed_at IS NULL"),
    )
    for name, columns in PENDING_RUNS.items():
        op.create_index(
            name, "agent_runs", columns, unique=False, postgresql_where=sa.text("status = 'pending'")
        )
    op.create_index(
        "agent_configs_put_away_idx",
        "agent_configs",
        ["customer_id", "updated_at"],
        unique=False,
        postgresql_where=sa.text("NOT enabled OR deleted_at IS NOT NULL"),
    )
    op.create_index(
        "usage_entries_reserved_idx",
        "usage_entries",
        ["customer_id", "created_at"],
        unique=False,
        postgresql_where=sa.text("status = 'reserved'"),
    )
    op.drop_index("idempotency_keys_created_at_idx", table_name="idempotency_keys")
    for name, (table, column) in BY_AGE.items():
        op.create_index(name, table, [column], unique=False)
    run_file("0006_sweep.sql")
    run_file("0006_retention.sql")


def downgrade() -> None:
    run_file("0006_downgrade.sql")
    for name, (table, _) in BY_AGE.items():
        op.drop_index(name, table_name=table)
    op.create_index(
        "idempotency_keys_created_at_idx", "idempotency_keys", ["customer_id", "created_at"], unique=False
    )
    op.drop_index("usage_entries_reserved_idx", table_name="usage_entries")
    op.drop_index("agent_configs_put_away_idx", table_name="agent_configs")
    for name in PENDING_RUNS:
        op.drop_index(name, table_name="agent_runs")
    op.drop_index("agent_run_steps_recorded_at_idx", table_name="agent_run_steps")
    op.drop_column("agent_run_steps", "output_removed_at")


PENDING_RUNS = {
    "agent_runs_due_idx": ["customer_id", "due_at"],
    "agent_runs_age_idx": ["customer_id", "created_at"],
    "agent_runs_waiting_idx": ["customer_id", "agent_config_id"],
}
BY_AGE = {
    "outbox_events_created_at_idx": ("outbox_events", "created_at"),
    "idempotency_keys_age_idx": ("idempotency_keys", "created_at"),
    "sign_in_attempts_window_idx": ("sign_in_attempts", "window_start"),
    "run_trigger_events_created_at_idx": ("run_trigger_events", "created_at"),
    "schedule_fires_created_at_idx": ("schedule_fires", "created_at"),
}
