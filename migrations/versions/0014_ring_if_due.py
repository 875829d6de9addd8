"""Whether to ring is asked of the tenant's own runs only, however many another one has waiting."""

from migrations.sql import run_file

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0014_ring_if_due.sql")


def downgrade() -> None:
    """Nothing: the function answers as it did."""
