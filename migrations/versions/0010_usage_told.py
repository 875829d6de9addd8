"""The ledger told: whose key paid by the day, entries in lists that seek, thresholds of budgets as events.

The ledger is locked from the start: the sums by the day are made anew, and their key changes.
"""

import sqlalchemy as sa
from alembic import op

from migrations.sql import run_file

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BY_DAY = ["customer_id", "day", "agent_config_id", "agent_type", "provider", "model"]


def upgrade() -> None:
    op.execute("LOCK TABLE usage_entries IN ACCESS EXCLUSIVE MODE")
    op.execute("LOCK TABLE usage_days IN ACCESS EXCLUSIVE MODE")
    op.create_table(
        "budget_alerts",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("unit", sa.String(length=20), nullable=False),
        sa.Column("threshold", sa.Integer(), nullable=False),
        sa.Column("cap", sa.Numeric(precision=12, scale=2), nullable=False),
        sa.Column("spent", sa.Numeric(precision=20, scale=6), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column(
            "reached_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint("unit IN ('credits', 'dollars')", name=op.f("budget_alerts_unit_check")),
        sa.CheckConstraint("reason IN ('spent', 'run_ended')", name=op.f("budget_alerts_reason_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("budget_alerts_customer_id_fk")),
        sa.PrimaryKeyConstraint(
            "customer_id", "month", "unit", "threshold", "cap", name=op.f("budget_alerts_pk")
        ),
    )
    op.add_column(
        "usage_days",
        sa.Column("payer", sa.String(length=20), server_default="platform", nullable=False),
    )
    op.create_check_constraint(
        op.f("usage_days_payer_check"), "usage_days", "payer IN ('tenant', 'platform')"
    )
    op.drop_constraint("usage_days_pk", "usage_days", type_="primary")
    op.create_primary_key("usage_days_pk", "usage_days", [*BY_DAY, "payer"])
    op.create_index(
        "usage_entries_listed_idx",
        "usage_entries",
        ["customer_id", "provider", "status", "created_at", "id"],
        unique=False,
    )
    run_file("0010_usage.sql")


def downgrade() -> None:
    op.execute("LOCK TABLE usage_entries IN ACCESS EXCLUSIVE MODE")
    op.execute("LOCK TABLE usage_days IN ACCESS EXCLUSIVE MODE")
    op.drop_constraint("usage_days_pk", "usage_days", type_="primary")
    run_file("0010_downgrade.sql")
    op.drop_constraint(op.f("usage_days_payer_check"), "usage_days")
    op.drop_column("usage_days", "payer")
    op.create_primary_key("usage_days_pk", "usage_days", BY_DAY)
    op.drop_index("usage_entries_listed_idx", table_name="usage_entries")
    op.drop_table("budget_alerts")
