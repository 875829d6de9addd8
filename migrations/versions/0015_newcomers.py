"""Who lets a person in leaves an audit entry of it, in the same transaction."""

from alembic import op

from migrations.sql import run_file

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0015_newcomers.sql")


def downgrade() -> None:
    op.execute(
        "REVOKE INSERT (id, customer_id, action, target_id, details) ON audit_entries FROM bevyly_system"
    )
    op.execute("DROP POLICY system_lets_in ON audit_entries")
