"""Behind a pooler in transaction mode one server connection serves many clients, one transaction after another.

RDS Proxy does so in AWS. Here it is PgBouncer, where the machine has it. `pytest --pooler /usr/sbin/pgbouncer …` takes any
other test through it, too.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from chalicelib.db.driver import create
from chalicelib.db.work import Database
from local.postgres import Postgres
from tests.builders import a_run, an_item, rows
from tests.conftest import Tenant, World, a_world, settings_of
from tests.fakes.pooler import binary, pooler, through
from tests.fakes.signals import RememberedSignals

PROGRAM = binary()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="PgBouncer is not installed: apt-get install pgbouncer"
)

TURNS = 150


@pytest.fixture
def world(postgres: Postgres, database_name: str) -> Iterator[World]:
    """All of it by one server connection a role."""
    assert PROGRAM is not None
    settings = settings_of(postgres, database_name)
    with pooler(PROGRAM, postgres, size=1) as port, a_world(settings) as direct:
        engines = [
            create(through(url, port), pool_size=4, connect_args={"timeout": 30})
            for url in (settings.database_url, settings.database_system_url)
        ]
        database = Database(engines[0], engines[1], settings, RememberedSignals())
        pooled = World(database, direct.signals, (engines[0], engines[1]))
        pooled.ours, pooled.theirs = direct.ours, direct.theirs
        yield pooled
        for engine in engines:
            engine.dispose()


def seen(world: World, tenant: Tenant) -> tuple[int, set[str]]:
    """The server's process that answers, and whose items there are."""
    with world.database.enter(tenant.manager) as work:
        pid = work.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        owners = work.session.execute(text("SELECT customer_id FROM approval_items")).scalars()
        return pid, set(owners)


def test_two_tenants_in_turns_on_one_server_connection_see_their_own_rows_only(world: World) -> None:
    """Nor does anything remain for a transaction that names no tenant: red with the tenant set for the session."""
    tenants = (world.ours, world.theirs)
    for tenant in tenants:
        an_item(world.database, tenant.manager)
    pids: set[int] = set()
    wrong: list[object] = []

    def take_turns(tenant: Tenant) -> None:
        for _ in range(TURNS):
            pid, owners = seen(world, tenant)
            pids.add(pid)
            if owners != {tenant.customer_id}:
                wrong.append(owners)
            with world.engines[0].begin() as connection:
                left = connection.execute(text("SELECT count(*) FROM approval_items")).scalar_one()
            if left:
                wrong.append(left)

    threads = [threading.Thread(target=take_turns, args=(tenant,)) for tenant in tenants * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(pids) == 1, "they did not share a server connection, so this showed nothing"


def test_who_is_cut_off_in_the_middle_leaves_nothing_to_the_next(world: World) -> None:
    for tenant in (world.ours, world.theirs):
        an_item(world.database, tenant.manager)
    with suppress(ConnectionError), world.database.enter(world.ours.manager) as work:
        work.session.execute(text("UPDATE approval_items SET title = 'half done'"))
        wire = work.session.connection().connection.dbapi_connection
        wire._break()  # type: ignore[union-attr]
        raise ConnectionError
    with world.database.anonymous() as session:
        assert session.execute(text("SELECT count(*) FROM approval_items")).scalar_one() == 0
    assert seen(world, world.theirs)[1] == {world.theirs.customer_id}
    with world.database.enter(world.ours.manager) as work:
        assert work.session.execute(text("SELECT title FROM approval_items")).scalar_one() != "half done"


def test_a_failed_statement_and_a_time_limit_stay_in_their_transaction(world: World) -> None:
    with pytest.raises(DataError), world.database.enter(world.ours.manager) as work:
        work.session.execute(text("SELECT 1 / 0"))
    with world.database.enter(world.theirs.manager) as work:
        limits = "SELECT current_setting('statement_timeout'), current_setting('app.customer_id')"
        assert work.session.execute(text(limits)).one() == ("20s", world.theirs.customer_id)
    with world.engines[0].begin() as connection:
        assert connection.execute(text("SELECT current_setting('statement_timeout')")).scalar_one() == "0"
        assert not connection.execute(text("SELECT current_setting('app.customer_id', true)")).scalar_one()


def test_a_run_goes_from_its_start_to_its_end(world: World) -> None:
    run_id = a_run(world.database, world.ours.manager)
    world.settle()
    (status,) = rows(
        world.database, world.ours.manager, "SELECT status FROM agent_runs WHERE id = :id", id=run_id
    )
    assert status == ("completed",)
