"""A tenant that has been quiet reads its own newest rows, however much the others wrote since."""

import pytest
from sqlalchemy import select, text

from chalicelib.db.models.crm import Account, Contact
from chalicelib.db.pages import Key, page
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor, engine_for
from local.postgres import Postgres
from tests.builders import a_config
from tests.conftest import World
from tests.plans import reads_of

EACH = 3000


@pytest.fixture
def quiet(world: World, postgres: Postgres, database_name: str) -> Actor:
    """Wrote three thousand contacts, each with its account; then somebody else did."""
    many(world.database, world.ours.manager)
    many(world.database, world.theirs.manager)
    for name in ("accounts", "contacts"):
        postgres.execute(f"VACUUM ANALYZE {name}", database=database_name)
    return world.ours.manager


def many(database: Database, actor: Actor) -> None:
    with database.enter(engine_for(actor.customer_id)) as work:
        work.session.execute(
            text(
                "WITH made AS ("
                " INSERT INTO accounts (id, customer_id, name, domain)"
                " SELECT new_id('acc'), :c, 'A company', n || '.example' FROM generate_series(1, :n) n RETURNING id)"
                " INSERT INTO contacts (id, customer_id, account_id, first_name, last_name)"
                " SELECT new_id('con'), :c, id, 'Ada', 'L' FROM made"
            ),
            {"c": actor.customer_id, "n": EACH},
        )


@pytest.mark.parametrize("model", [Account, Contact])
def test_a_quiet_tenants_list_reads_no_other_tenants_rows(
    world: World, quiet: Actor, model: type[Account | Contact]
) -> None:
    """Seen red with a key on the id alone, which the planner took: 3,000 rows read and thrown away."""

    def newest(work: Work) -> None:
        wanted = select(model).where(model.customer_id == quiet.customer_id)
        page(work.session, wanted, order=[Key(model.id, descending=True)], after=None, limit=20)

    reads = reads_of(world.database, quiet, newest)
    assert reads.thrown_away == 0
    assert reads.rows <= EACH + 21  # the exact total, and the page


def test_whether_to_ring_for_a_quiet_tenant_reads_no_other_tenants_runs(
    world: World, postgres: Postgres, database_name: str
) -> None:
    """Each claim and each end asks. Seen red with EXISTS, for which the planner read the other's 3,000 pending runs."""
    config = a_config(world.database, world.theirs.manager)
    with world.database.enter(engine_for(world.theirs.customer_id)) as work:
        work.session.execute(
            text(
                "INSERT INTO agent_runs (id, customer_id, agent_config_id, agent_type, agent_version, status, trigger,"
                " input, config, approval_expiry_hours)"
                " SELECT new_id('run'), :c, :config, 'lead_source', '1', 'pending', 'api', '{}', '{}', 72"
                " FROM generate_series(1, :n)"
            ),
            {"c": world.theirs.customer_id, "config": config, "n": EACH},
        )
    postgres.execute("VACUUM ANALYZE agent_runs", database=database_name)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))  # as after five calls
        ask = text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT ring_if_due(5)")
        work.session.execute(ask)  # reads the catalogue, too
        plan = work.session.execute(ask).scalar_one()[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20
