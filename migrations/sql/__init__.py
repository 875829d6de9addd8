"""SQL that a revision runs as it stands: functions, policies, grants."""

from pathlib import Path

from alembic import op


def run_file(name: str) -> None:
    """Run one of this folder's files, statement separators and all, in the migration's transaction."""
    text = (Path(__file__).parent / name).read_text()
    op.get_bind().exec_driver_sql(text)
