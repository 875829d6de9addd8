"""Tenants' own keys at providers: which ones there may be, their versions, and how rotation finds them."""

import sqlalchemy as sa
from alembic import op

from migrations.sql import run_file

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "integration_credentials",
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
    )
    op.create_check_constraint(
        op.f("integration_credentials_status_check"),
        "integration_credentials",
        "status IN ('active', 'failed')",
    )
    op.create_check_constraint(
        op.f("integration_credentials_provider_check"),
        "integration_credentials",
        "provider IN ('openai', 'apollo')",
    )
    run_file("0011_integrations.sql")


def downgrade() -> None:
    op.execute("REVOKE SELECT (id, customer_id) ON integration_credentials FROM bevyly_system")
    op.execute("DROP POLICY system_finds ON integration_credentials")
    op.drop_constraint(op.f("integration_credentials_provider_check"), "integration_credentials")
    op.drop_constraint(op.f("integration_credentials_status_check"), "integration_credentials")
    op.drop_column("integration_credentials", "version")
