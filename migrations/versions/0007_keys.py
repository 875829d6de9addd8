"""Keys that begin with the tenant, a lease in no index; events and ends in one statement each; an old bell is rung again.

Foreign keys are made anew, each with a look at every row of its table; whoever writes waits meanwhile.
"""

from alembic import op
from sqlalchemy import text

from migrations.sql import run_file

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0007_keys.sql")
    run_file("0007_functions.sql")
    op.drop_index("agent_runs_running_idx", table_name="agent_runs")
    op.create_index(
        "agent_runs_running_idx",
        "agent_runs",
        ["customer_id", "id"],
        postgresql_where=text("status = 'running'"),
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION flush_work(text, text, jsonb, text[], jsonb, boolean)")
    op.execute(
        "DROP FUNCTION finish_run("
        "text, text, interval, jsonb, jsonb, jsonb, int, text, jsonb, text, text, int, text[])"
    )
    op.drop_index("agent_runs_running_idx", table_name="agent_runs")
    op.create_index(
        "agent_runs_running_idx",
        "agent_runs",
        ["customer_id", "lease_expires_at"],
        postgresql_where=text("status = 'running'"),
    )
