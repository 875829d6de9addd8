"""How alembic reaches the database: as the owner, impatient for locks."""

from alembic import context
from sqlalchemy import pool, text

from chalicelib.db.driver import create
from chalicelib.db.models.every import Base

NOT_TABLES_OF_MODELS = {"alembic_version"}


def run() -> None:
    """Migrate in one transaction; a lock that is not free within 5 s fails the migration, not the traffic."""
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        raise SystemExit("Say which database: python -m migrations upgrade --url postgresql+pg8000://…")
    said = context.config.attributes
    engine = create(
        url,
        poolclass=pool.NullPool,
        ca_file=said.get("ca_file"),
        connect_args=said.get("connect_args", {}),
    )
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


run()
