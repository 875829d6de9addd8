"""Runs by the day, what each cost, and lists of runs that seek.

The runs are locked from the start, as the indexes are replaced: whoever reads or writes one waits, one to three minutes for
each million of them. A lock that is asked for later, above a weaker one, could meet somebody else's.
"""

import sqlalchemy as sa
from alembic import op

from migrations.sql import run_file

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SOUGHT = {
    "agent_runs_created_at_idx": ["created_at", "id"],
    "agent_runs_status_idx": ["status", "trigger", "created_at", "id"],
    "agent_runs_config_idx": ["agent_config_id", "status", "trigger", "created_at", "id"],
    "agent_runs_type_idx": ["agent_type", "status", "trigger", "created_at", "id"],
}
BEFORE = {
    "agent_runs_created_at_idx": ["created_at"],
    "agent_runs_status_idx": ["status", "id"],
    "agent_runs_config_idx": ["agent_config_id", "id"],
    "agent_runs_type_idx": ["agent_type", "id"],
}
TOOK = {
    "agent_runs_took_config_idx": "agent_config_id",
    "agent_runs_took_type_idx": "agent_type",
}


def upgrade() -> None:
    op.execute("LOCK TABLE agent_runs IN ACCESS EXCLUSIVE MODE")
    op.create_table(
        "run_days",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("agent_config_id", sa.String(length=36), server_default="", nullable=False),
        sa.Column("agent_type", sa.String(length=50), nullable=False),
        sa.Column("completed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cancelled", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("items_processed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("items_succeeded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("items_failed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("run_days_customer_id_fk")),
        sa.PrimaryKeyConstraint(
            "customer_id", "day", "agent_config_id", "agent_type", name=op.f("run_days_pk")
        ),
    )
    op.add_column("agent_runs", sa.Column("credits", sa.Integer(), nullable=True))
    op.add_column("agent_runs", sa.Column("dollars", sa.Numeric(precision=14, scale=6), nullable=True))
    op.drop_index("agent_runs_customer_idx", table_name="agent_runs")  # the unique key's twin
    for name in SOUGHT:
        op.drop_index(name, table_name="agent_runs")
    run_file("0005_run_days.sql")
    for name, columns in SOUGHT.items():
        op.create_index(name, "agent_runs", ["customer_id", *columns])
    for name, column in TOOK.items():
        op.create_index(
            name,
            "agent_runs",
            ["customer_id", column, "completed_at"],
            postgresql_include=["started_at"],
            postgresql_where=sa.text("status = 'completed'"),
        )
    op.create_index(
        "approval_items_pending_idx",
        "approval_items",
        ["customer_id", "agent_config_id", "agent_type"],
        postgresql_where=sa.text("status = 'pending'"),
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION count_ended_run() CASCADE")
    op.execute("DROP FUNCTION sum_cost_of_run() CASCADE")
    op.drop_column("agent_runs", "dollars")
    op.drop_column("agent_runs", "credits")
    op.drop_table("run_days")
    op.drop_index("approval_items_pending_idx", table_name="approval_items")
    for name in TOOK:
        op.drop_index(name, table_name="agent_runs")
    for name, columns in BEFORE.items():
        op.drop_index(name, table_name="agent_runs")
        op.create_index(name, "agent_runs", ["customer_id", *columns])
    op.create_index("agent_runs_customer_idx", "agent_runs", ["customer_id", "id"])
