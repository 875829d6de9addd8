"""What a transaction sets for itself is set inside functions, where RDS Proxy does not see it and pin the connection."""

from alembic import op

from migrations.sql import run_file

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0013_settings.sql")


def downgrade() -> None:
    op.execute("DROP FUNCTION note_sinks(text), hurry(text, text), await_turn_to_propose()")
