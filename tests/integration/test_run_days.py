"""The rollup of runs by day says what counting them would say, however they ended."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from chalicelib.domain.errors import CredentialRejected
from chalicelib.services import agents
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from local.postgres import OWNER, Postgres
from migrations import runner
from tests.builders import a_config, a_run, past_runs, rows
from tests.conftest import World
from tests.fakes.providers import ScriptedCompanies, ScriptedModel

KEPT = """
    SELECT customer_id, day, agent_config_id, agent_type, completed, failed, cancelled,
           items_processed, items_succeeded, items_failed
    FROM run_days
"""
COUNTED = """
    SELECT customer_id, (completed_at AT TIME ZONE 'UTC')::date, coalesce(agent_config_id, ''), agent_type,
           count(*) FILTER (WHERE status = 'completed')::int, count(*) FILTER (WHERE status = 'failed')::int,
           count(*) FILTER (WHERE status = 'cancelled')::int,
           sum(items_processed)::bigint, sum(items_succeeded)::bigint, sum(items_failed)::bigint
    FROM agent_runs WHERE status IN ('completed', 'failed', 'cancelled') GROUP BY 1, 2, 3, 4
"""

COST = "SELECT customer_id, id, credits, dollars FROM agent_runs WHERE status IN ('completed', 'failed', 'cancelled')"
BOOKED = """
    SELECT r.customer_id, r.id, coalesce(sum(u.credits), 0)::int,
           CASE WHEN count(u.id) = count(u.dollars) THEN coalesce(sum(u.dollars), 0) END
    FROM agent_runs r LEFT JOIN usage_entries u
        ON u.customer_id = r.customer_id AND u.run_id = r.id AND u.status <> 'released'
    WHERE r.status IN ('completed', 'failed', 'cancelled') GROUP BY 1, 2
"""


def check(world: World) -> list[Any]:
    """The rollup's rows, which are what the runs give when they are counted."""
    kept = rows(world.database, world.ours.manager, KEPT)
    assert sorted(kept) == sorted(rows(world.database, world.ours.manager, COUNTED))
    return kept


def identity(moment: datetime) -> datetime:
    return moment


def refused(call: str) -> None:
    raise CredentialRejected("Apollo.io did not accept the API key.")


def test_a_run_is_counted_once_whichever_way_it_ends(world: World) -> None:
    """Seen red with the trigger left out, and with it fired by every update of the row."""
    database, manager = world.database, world.ours.manager
    config = a_config(database, manager)

    a_run(database, manager, config_id=config)
    world.settle()  # completed
    a_run(database, manager, config_id=config, refresh=True)
    world.settle(Providers(ScriptedCompanies(before=refused), ScriptedModel()))  # failed
    waits = a_run(database, manager, config_id=config)
    with database.enter(manager) as work:
        start.cancel(work, waits)  # cancelled before it began
    works = a_run(database, manager, config_id=config, refresh=True)

    def stop(call: str) -> None:
        if call.startswith("search"):
            with database.enter(manager) as work:
                start.cancel(work, works)

    world.settle(Providers(ScriptedCompanies(before=stop), ScriptedModel()))  # cancelled at work
    a_run(database, manager, config_id=config)
    rows(database, manager, "UPDATE agent_runs SET created_at = created_at - interval '4 days' RETURNING id")
    world.settle()  # failed: too old
    a_run(database, manager, config_id=config)
    rows(
        database,
        manager,
        "UPDATE agent_runs SET status = 'running', lease_token = 'a token', failures = 4,"
        " lease_expires_at = app_now() WHERE status = 'pending' RETURNING id",
    )
    world.settle()  # failed: its workers died
    a_run(database, manager, config_id=config)
    with database.enter(manager) as work:
        agents.change(work, config, version=1, changes={"enabled": False})  # cancelled with its agent

    (day,) = check(world)
    assert (day.agent_config_id, day.agent_type) == (config, "lead_source")
    assert (day.completed, day.failed, day.cancelled) == (1, 3, 3)
    assert (day.items_processed, day.items_succeeded, day.items_failed) == (3, 3, 0)
    cost = rows(database, manager, COST)
    assert sorted(cost) == sorted(rows(database, manager, BOOKED))
    assert sum(run.credits for run in cost) > 3


def test_a_run_says_what_it_cost_when_it_has_ended(world: World) -> None:
    """What a dead worker had reserved stays booked, what came to nothing does not; of a model without a price nobody
    knows the dollars. Seen red with the released entries summed, and with an unknown price taken for none.
    """
    database, manager = world.database, world.ours.manager
    booked: dict[str, list[tuple[str, int, str | None]]] = {
        "priced": [("settled", 3, "0.25"), ("unknown", 2, "0.5")],
        "died": [("settled", 3, "0.25"), ("reserved", 9, "0.125"), ("released", 9, "4")],
        "unpriced": [("settled", 0, None), ("settled", 1, "0.25")],
        "nothing": [],
    }
    runs = {}
    for name, entries in booked.items():
        runs[name] = a_run(database, manager)
        for status, credit, dollars in entries:
            rows(
                database,
                manager,
                "INSERT INTO usage_entries (id, customer_id, run_id, step_key, lease_token, provider, operation,"
                " agent_type, status, credits, dollars) VALUES (new_id('use'), :customer, :run, 'search', 'a token',"
                " 'apollo', 'search', 'lead_source', :status, :credit, CAST(:dollars AS numeric)) RETURNING id",
                customer=manager.customer_id,
                run=runs[name],
                status=status,
                credit=credit,
                dollars=dollars,
            )
        (now,) = rows(
            database, manager, "SELECT credits, dollars FROM agent_runs WHERE id = :id", id=runs[name]
        )
        assert now == (None, None)
        with database.enter(manager) as work:
            start.cancel(work, runs[name])
    cost = {run.id: (run.credits, run.dollars) for run in rows(database, manager, COST)}
    assert {name: cost[run_id] for name, run_id in runs.items()} == {
        "priced": (5, Decimal("0.75")),
        "died": (12, Decimal("0.375")),
        "unpriced": (1, None),
        "nothing": (0, 0),
    }


def test_a_run_of_no_saved_agent_is_counted_under_its_type(world: World) -> None:
    past_runs(world.database, world.ours.manager, [{"completed_at": "2026-03-01T09:00:00Z"}])
    (day,) = check(world)
    assert (day.agent_config_id, day.agent_type, day.completed) == ("", "lead_source", 1)


def test_a_days_end_is_midnight_in_utc(world: World) -> None:
    """Seen red with the day taken in the session's own zone, where that is another."""
    midnight = datetime(2026, 3, 29, tzinfo=UTC)
    for moment in (midnight - timedelta(seconds=1), midnight):
        world.database = replace(world.database, clock=partial(identity, moment))
        run_id = a_run(world.database, world.ours.manager)
        with world.database.enter(world.ours.manager) as work:
            work.session.connection().exec_driver_sql("SET LOCAL TIME ZONE 'Pacific/Auckland'")
            start.cancel(work, run_id)
    assert sorted(str(day.day) for day in check(world)) == ["2026-03-28", "2026-03-29"]


def test_workers_that_end_runs_at_once_lose_none(world: World) -> None:
    """Their transactions hold the tenant's queue when they count, so they neither wait in a ring nor overwrite."""
    config = a_config(world.database, world.ours.manager)
    for _ in range(24):
        a_run(world.database, world.ours.manager, config_id=config)
    workers = [threading.Thread(target=world.settle) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    (day,) = check(world)
    assert day.completed == 24


def test_an_end_that_is_rolled_back_is_not_counted(world: World) -> None:
    run_id = a_run(world.database, world.ours.manager)
    with pytest.raises(ZeroDivisionError), world.database.enter(world.ours.manager) as work:
        start.cancel(work, run_id)
        raise ZeroDivisionError
    assert check(world) == []


# What ended before the rollup was there


@pytest.fixture
def before_the_rollup(postgres: Postgres) -> Iterator[str]:
    """A database as it was one revision earlier."""
    name = "before_run_days"
    postgres.create_database(name)
    runner.upgrade(postgres.url(OWNER, name), BEFORE)
    yield name
    postgres.drop_database(name)


BEFORE = "0004"


def test_what_ended_before_is_counted_by_the_migration(postgres: Postgres, before_the_rollup: str) -> None:
    """Of every tenant. Seen red with the back-fill left out, and with row-level security still forced during it."""

    def ask(sql: str) -> list[Any]:
        return postgres.execute(sql, database=before_the_rollup)

    ask("INSERT INTO customers (id, name) VALUES ('cus_one', 'One'), ('cus_two', 'Two')")
    ask("""
        INSERT INTO agent_configs (id, customer_id, agent_type, name, config)
        SELECT 'agt_' || id, id, 'lead_source', 'An agent', '{}' FROM customers
    """)
    ask("""
        INSERT INTO agent_runs (
            id, customer_id, agent_config_id, agent_type, status, trigger, input, config, agent_version,
            approval_expiry_hours, items_processed, items_succeeded, items_failed, completed_at
        )
        SELECT new_id('run'), c.id, CASE WHEN n % 3 = 0 THEN 'agt_' || c.id END, 'lead_source',
               (ARRAY['completed', 'completed', 'failed', 'cancelled', 'pending'])[1 + n % 5], 'api', '{}', '{}', '1',
               72, 5, 4, 1, CASE WHEN n % 5 < 4 THEN timestamptz '2026-03-01 12:00Z' + n % 9 * interval '1 day' END
        FROM customers c, generate_series(1, 40) n
    """)
    ask("""
        INSERT INTO usage_entries (
            id, customer_id, run_id, step_key, lease_token, provider, operation, agent_type, status, credits, dollars
        )
        SELECT new_id('use'), r.customer_id, r.id, 'search', 'a token', 'openai', 'answer', r.agent_type,
               (ARRAY['settled', 'unknown', 'released'])[n], n, CASE WHEN r.status <> 'failed' THEN 0.5 * n END
        FROM agent_runs r, generate_series(1, 3) n WHERE r.agent_config_id IS NOT NULL
    """)
    runner.upgrade(postgres.url(OWNER, before_the_rollup))
    assert sorted(ask(COST), key=repr) == sorted(ask(BOOKED), key=repr)
    kept = ask(KEPT)
    assert len(kept) > 10
    assert sorted(kept) == sorted(ask(COUNTED))
    forced = ask("SELECT relname::text FROM pg_class WHERE relrowsecurity AND NOT relforcerowsecurity")
    assert forced == []
