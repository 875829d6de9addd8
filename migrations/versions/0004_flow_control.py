"""Flow control: limits, budgets, rate buckets, and the ledger's sums."""

import sqlalchemy as sa
from alembic import op

from migrations.sql import run_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rate_buckets",
        sa.Column("credential", sa.String(length=36), nullable=False),
        sa.Column("endpoint_group", sa.String(length=110), nullable=False),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column(
            "window_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column("used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("credential", "endpoint_group", name=op.f("rate_buckets_pk")),
    )
    op.create_table(
        "budgets",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("monthly_credits", sa.Integer(), nullable=True),
        sa.Column("monthly_dollars", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint("monthly_credits >= 0 AND monthly_dollars >= 0", name=op.f("budgets_caps_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("budgets_customer_id_fk")),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("budgets_pk")),
    )
    op.create_table(
        "usage_days",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("agent_config_id", sa.String(length=36), nullable=False),
        sa.Column("agent_type", sa.String(length=50), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unpriced_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("credits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("dollars", sa.Numeric(precision=14, scale=6), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_in", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_cached", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_out", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_reasoning", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("usage_days_customer_id_fk")),
        sa.PrimaryKeyConstraint(
            "customer_id",
            "day",
            "agent_config_id",
            "agent_type",
            "provider",
            "model",
            name=op.f("usage_days_pk"),
        ),
    )
    op.create_table(
        "usage_months",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("credits_reserved", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("credits_spent", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "dollars_reserved", sa.Numeric(precision=14, scale=6), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "dollars_spent", sa.Numeric(precision=14, scale=6), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("platform_credits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "platform_dollars", sa.Numeric(precision=14, scale=6), server_default=sa.text("0"), nullable=False
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("usage_months_customer_id_fk")),
        sa.PrimaryKeyConstraint("customer_id", "month", name=op.f("usage_months_pk")),
    )
    op.create_table(
        "limit_counters",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("agent_config_id", sa.String(length=36), nullable=False),
        sa.Column("hour_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("hour_items", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("day_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("day_items", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id", "agent_config_id"],
            ["agent_configs.customer_id", "agent_configs.id"],
            name=op.f("limit_counters_customer_id_agent_config_id_fk"),
        ),
        sa.PrimaryKeyConstraint("customer_id", "agent_config_id", name=op.f("limit_counters_pk")),
    )
    op.add_column(
        "usage_entries", sa.Column("agent_type", sa.String(length=50), server_default="", nullable=False)
    )
    op.add_column(
        "usage_entries", sa.Column("payer", sa.String(length=20), server_default="platform", nullable=False)
    )
    op.add_column(
        "usage_entries",
        sa.Column("dollars", sa.Numeric(precision=14, scale=6), server_default=sa.text("0"), nullable=True),
    )
    op.add_column("usage_entries", sa.Column("error_code", sa.String(length=50), nullable=True))
    op.drop_index(op.f("usage_entries_run_idx"), table_name="usage_entries")
    op.create_index(
        "usage_entries_step_idx", "usage_entries", ["customer_id", "run_id", "step_key"], unique=False
    )
    op.create_check_constraint(
        op.f("usage_entries_payer_check"), "usage_entries", "payer IN ('tenant', 'platform')"
    )
    run_file("0004_backfill.sql")
    run_file("0004_flow.sql")


def downgrade() -> None:
    op.execute("DROP FUNCTION checkpoint(text, text, interval, jsonb, jsonb, jsonb, jsonb, jsonb, text, int)")
    op.execute("DROP FUNCTION use_buckets(jsonb, text, text, int, int)")
    op.execute("DROP FUNCTION limits_changed(text)")
    op.execute("DROP FUNCTION sum_new_usage() CASCADE")
    op.execute("DROP FUNCTION sum_changed_usage() CASCADE")
    op.drop_constraint(op.f("usage_entries_payer_check"), "usage_entries")
    op.drop_index("usage_entries_step_idx", table_name="usage_entries")
    op.create_index(op.f("usage_entries_run_idx"), "usage_entries", ["customer_id", "run_id"], unique=False)
    op.drop_column("usage_entries", "error_code")
    op.drop_column("usage_entries", "dollars")
    op.drop_column("usage_entries", "payer")
    op.drop_column("usage_entries", "agent_type")
    op.drop_table("limit_counters")
    op.drop_table("usage_months")
    op.drop_table("usage_days")
    op.drop_table("budgets")
    op.drop_table("rate_buckets")
