"""No read or write crosses tenants, whatever the code above forgets."""

import pytest
from sqlalchemy import text

from chalicelib.db.models.every import Base
from chalicelib.domain.access import engine_for
from local.postgres import Postgres
from tests.builders import a_config, a_run, an_item, rows
from tests.conftest import World

NOT_A_TENANTS: dict[str, str] = {
    "customers": "is the tenant: its policy is on its own id",
    "relay_leases": "one row a sink, for the relay",
    "rate_buckets": "a key's, and the platform's key serves many; the app role has no grant on it",
    "sign_in_attempts": "hashes, before anybody has signed in; the app role has no grant on it",
    "alembic_version": "the schema's own",
}


def test_every_table_is_guarded(world: World, postgres: Postgres, database_name: str) -> None:
    """Row-level security enabled, forced, a policy for the app role, and an index that begins with the tenant.

    Seen red with one policy dropped, and with one table created without FORCE.
    """
    tables = postgres.execute(
        """
        SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity,
               EXISTS (SELECT FROM pg_policies p WHERE p.tablename = c.relname AND p.policyname = 'tenant'
                       AND p.qual LIKE '%current_customer()%' AND p.with_check LIKE '%current_customer()%'),
               EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                       WHERE i.indrelid = c.oid AND a.attname = 'customer_id')
        FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        """,
        database=database_name,
    )
    assert {name for name, *_ in tables} == set(Base.metadata.tables) | {"alembic_version"}
    unguarded = [name for name, *guards in tables if name not in NOT_A_TENANTS and not all(guards)]
    assert unguarded == []
    (customers,) = [guards for name, *guards in tables if name == "customers"]
    assert customers[:3] == [True, True, True]


def test_every_foreign_key_to_a_tenants_row_names_the_tenant() -> None:
    for table in Base.metadata.tables.values():
        for key in table.foreign_key_constraints:
            if key.referred_table.name not in NOT_A_TENANTS:
                assert key.column_keys[0] == "customer_id", f"{table.name}: {key.column_keys}"


def test_outside_a_tenant_nothing_is_visible(world: World) -> None:
    an_item(world.database, world.ours.manager)
    with world.database.anonymous() as session:
        for name in sorted(set(Base.metadata.tables) - {"rate_buckets", "relay_leases", "sign_in_attempts"}):
            assert session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() == 0, name  # noqa: S608


def test_inside_a_tenant_another_ones_rows_are_not_there(world: World) -> None:
    for tenant in (world.ours, world.theirs):
        an_item(world.database, tenant.manager)
    for name in sorted(set(Base.metadata.tables) - set(NOT_A_TENANTS)):
        seen = rows(world.database, world.ours.manager, f"SELECT DISTINCT customer_id FROM {name}")  # noqa: S608
        assert {row.customer_id for row in seen} <= {world.ours.customer_id}, name


def test_a_row_cannot_be_written_into_another_tenant(world: World) -> None:
    with pytest.raises(Exception, match="row-level security"):
        rows(
            world.database,
            world.ours.manager,
            "INSERT INTO accounts (id, customer_id, name, domain) VALUES ('acc_x', :c, 'x', 'x.example') RETURNING id",
            c=world.theirs.customer_id,
        )


def test_a_row_cannot_point_at_another_tenants(world: World) -> None:
    theirs = a_config(world.database, world.theirs.manager)
    ours = a_run(world.database, world.ours.manager)
    with pytest.raises(Exception, match="agent_runs_customer_id_agent_config_id_fk"):
        rows(
            world.database,
            world.ours.manager,
            "UPDATE agent_runs SET agent_config_id = :theirs WHERE id = :ours RETURNING id",
            theirs=theirs,
            ours=ours,
        )


def test_the_system_role_reads_no_content_and_writes_no_run(world: World) -> None:
    an_item(world.database, world.ours.manager)
    for statement in (
        "SELECT content FROM approval_items",
        "SELECT input FROM agent_runs",
        "UPDATE agent_runs SET status = 'failed'",
        "SELECT name FROM accounts",
        "SELECT credentials FROM integration_credentials",
        "SELECT options FROM integration_credentials",
        "UPDATE integration_credentials SET status = 'failed'",
    ):
        with pytest.raises(Exception, match="permission denied"), world.database.system() as session:
            session.execute(text(statement))


def test_no_role_bypasses_row_level_security(postgres: Postgres) -> None:
    roles = postgres.execute(
        "SELECT rolname::text, rolsuper, rolbypassrls FROM pg_roles WHERE rolname LIKE 'bevyly%' ORDER BY 1"
    )
    assert roles == [
        ["bevyly_app", False, False],
        ["bevyly_owner", False, False],
        ["bevyly_system", False, False],
    ]


def test_the_tenant_lasts_one_transaction(world: World) -> None:
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.session.execute(text("SELECT 1"))
    with world.database.anonymous() as session:
        assert session.execute(text("SELECT current_customer()")).scalar_one() is None
