"""A worker that ends a run takes the tenant's next one in the same transaction.

`finish_run` stays for workers that still run the code before this revision.
"""

from migrations.sql import run_file

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0008_next_run.sql")


def downgrade() -> None:
    run_file("0008_downgrade.sql")
