"""A booked call's entry names its model, also where nobody hears of the call again; no statement sets a timeout bare."""

from alembic import op

from migrations.sql import run_file

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0012_model.sql")


def downgrade() -> None:
    """`checkpoint` stays: it suits the code before this revision, whose quotes name no model."""
    op.execute("DROP FUNCTION hurry(text, text)")
