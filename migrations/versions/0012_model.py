"""A booked call's entry names its model, also where nobody hears of the call again."""

from migrations.sql import run_file

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0012_model.sql")


def downgrade() -> None:
    """Nothing: the function suits the code before this revision, whose quotes name no model."""
