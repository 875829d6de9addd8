"""Alembic without an ini file: the address comes from the caller."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config


def config(url: str, **attributes: Any) -> Config:
    """Alembic's configuration for the database at `url` (the owner's role).

    Attributes: `ca_file`, the authorities of a server off this machine (for an Aurora cluster Amazon RDS's bundle), or
    `connect_args` with an `ssl_context` that verifies.
    """
    settings = Config(attributes=attributes)
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return settings


def upgrade(url: str, revision: str = "head", **attributes: Any) -> None:
    """Bring the database to a revision; nothing happens when it is there."""
    command.upgrade(config(url, **attributes), revision)


def check(url: str, **attributes: Any) -> None:
    """Raise when the models say what no revision does, or when there are two heads."""
    command.check(config(url, **attributes))
