"""What providers told a tenant, and which steps were answered from it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import run_file

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_facts",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("value", postgresql.JSONB(), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column(
            "fetched_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("provider_facts_customer_id_fk")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "run_id"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("provider_facts_customer_id_run_id_fk"),
        ),
        sa.PrimaryKeyConstraint("customer_id", "id", name=op.f("provider_facts_pk")),
    )
    op.create_index("provider_facts_fetched_at_idx", "provider_facts", ["fetched_at"])
    op.create_table(
        "provider_fact_keys",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("fact_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id", "fact_id"],
            ["provider_facts.customer_id", "provider_facts.id"],
            name=op.f("provider_fact_keys_customer_id_fact_id_fk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("customer_id", "key", "fact_id", name=op.f("provider_fact_keys_pk")),
    )
    op.create_index("provider_fact_keys_fact_idx", "provider_fact_keys", ["customer_id", "fact_id"])
    op.add_column("agent_run_steps", sa.Column("remembered_at", sa.DateTime(timezone=True), nullable=True))
    run_file("0009_provider_facts.sql")


def downgrade() -> None:
    op.drop_column("agent_run_steps", "remembered_at")
    op.drop_table("provider_fact_keys")
    op.drop_table("provider_facts")
