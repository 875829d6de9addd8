"""Which database the stack uses: its own PostgreSQL, or the one that the environment names."""

from collections.abc import Mapping
from dataclasses import dataclass

from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from chalicelib.db.driver import create
from local.people import TENANTS
from local.postgres import APP, OWNER, SYSTEM, Postgres
from local.processes import StackError
from migrations import runner

NAME = "bevyly"
_VARIABLES = {
    "DATABASE_URL": f"signs in as {APP}",
    "DATABASE_SYSTEM_URL": f"signs in as {SYSTEM}",
    "DATABASE_OWNER_URL": f"signs in as {OWNER}, who runs the migrations",
}
_TABLES = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The three ways in."""

    app: str
    system: str
    owner: str
    ca_file: str | None = None  # who may vouch for a server of yours


def in_environment(environ: Mapping[str, str]) -> Addresses | None:
    """The database that the environment names, if it does.

    Raises:
        StackError: it names it by halves.
    """
    given = {name: environ.get(name, "").strip() for name in _VARIABLES}
    if not given["DATABASE_URL"]:
        return None
    if missing := [f"{name} ({_VARIABLES[name]})" for name, value in given.items() if not value]:
        raise StackError(
            f"DATABASE_URL names a database of yours, so {' and '.join(missing)} must name it, too. "
            "Set what is missing, or unset DATABASE_URL to have a PostgreSQL started here."
        )
    ca_file = environ.get("DATABASE_CA_FILE", "").strip() or None
    return Addresses(
        given["DATABASE_URL"], given["DATABASE_SYSTEM_URL"], given["DATABASE_OWNER_URL"], ca_file
    )


def of(server: Postgres) -> Addresses:
    """Our own server's database, made when it is missing."""
    if not server.execute(f"SELECT 1 FROM pg_database WHERE datname = '{NAME}'"):  # noqa: S608 - a constant
        server.create_database(NAME)
    return Addresses(server.url(APP, NAME), server.url(SYSTEM, NAME), server.url(OWNER, NAME))


def refuse_foreign(addresses: Addresses) -> None:
    """Raise StackError unless it is empty, or holds this product's schema and no customers but the demo's."""
    engine = create(addresses.owner, ca_file=addresses.ca_file)
    try:
        with engine.begin() as connection:
            tables = list(connection.execute(_TABLES).scalars())
            versions = (
                list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
                if "alembic_version" in tables
                else []
            )
    except (SQLAlchemyError, OSError) as error:
        raise StackError(
            f"DATABASE_OWNER_URL does not lead to a database: {getattr(error, 'orig', error)}"
        ) from error
    finally:
        engine.dispose()
    revisions = ScriptDirectory.from_config(runner.config(addresses.owner)).walk_revisions()
    ours = bool(versions) and set(versions) <= {revision.revision for revision in revisions}
    if tables and not ours:
        raise StackError(
            "The database that DATABASE_URL names holds tables of something else "
            f"({', '.join(tables[:3])}…). "
            "Nothing was touched. Name an empty one."
        )
    if ours and (others := _strangers(addresses)):
        raise StackError(
            f"The database that DATABASE_URL names holds customers that are not the demo's ({others}). Demo "
            "people with well-known passwords do not belong beside them. Nothing was touched."
        )


def _strangers(addresses: Addresses) -> int:
    engine = create(addresses.system, ca_file=addresses.ca_file)
    try:
        with engine.begin() as connection:
            asked = text("SELECT count(*) FROM customers WHERE NOT id = ANY (CAST(:ours AS text[]))")
            return int(connection.execute(asked, {"ours": [tenant.id for tenant in TENANTS]}).scalar_one())
    except (SQLAlchemyError, OSError) as error:
        raise StackError(
            f"DATABASE_SYSTEM_URL does not lead to a database: {getattr(error, 'orig', error)}"
        ) from error
    finally:
        engine.dispose()


def migrate(addresses: Addresses) -> None:
    """Bring it to the newest schema."""
    runner.upgrade(addresses.owner, ca_file=addresses.ca_file)


def engines(addresses: Addresses) -> tuple[Engine, Engine]:
    """As bevyly_app and as bevyly_system."""
    app, system = (create(url, ca_file=addresses.ca_file) for url in (addresses.app, addresses.system))
    return app, system
