"""The statements of infra/README.md that make the three roles, on a database whose master is no superuser."""

import re
from collections.abc import Iterator

import pg8000.native
import pytest

from infra.functions import ROOT
from local.postgres import Postgres, throwaway
from migrations import runner

MASTER = "bevyly_master"


@pytest.fixture
def fresh() -> Iterator[Postgres]:
    """A server as RDS hands it over: a master who may make roles and databases, and none of our roles."""
    with throwaway() as server:
        for role in ("bevyly_owner", "bevyly_app", "bevyly_system"):
            server.execute(f"DROP ROLE {role}")
        server.execute(f"CREATE ROLE {MASTER} LOGIN CREATEROLE CREATEDB PASSWORD 'master'")
        server.execute(f"CREATE DATABASE bevyly OWNER {MASTER}")
        yield server


def statements() -> list[str]:
    readme = (ROOT / "infra/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sql\n(.*?)```", readme, flags=re.DOTALL)
    lines = [line.partition("--")[0].strip() for line in block.splitlines()]
    return [line.replace("…", "secret") for line in lines if line]


@pytest.mark.slow
def test_the_readmes_statements_are_all_that_the_migrations_need(fresh: Postgres) -> None:
    """Seen red without the statement that gives the database to bevyly_owner."""
    master = pg8000.native.Connection(
        MASTER, host="127.0.0.1", port=fresh.port, database="bevyly", password="master", ssl_context=False
    )
    try:
        for statement in statements():
            master.run(statement)
    finally:
        master.close()
    runner.upgrade(f"postgresql+pg8000://bevyly_owner:secret@127.0.0.1:{fresh.port}/bevyly")
    roles = fresh.execute(
        "SELECT rolname FROM pg_roles WHERE rolname LIKE 'bevyly_%'"
        " AND NOT rolsuper AND NOT rolbypassrls AND rolcanlogin ORDER BY 1"
    )
    assert [row[0] for row in roles] == ["bevyly_app", MASTER, "bevyly_owner", "bevyly_system"]
