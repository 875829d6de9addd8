"""The engine's promises on a real database: fencing, replay, failure, cancel, concurrency."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from chalicelib.db.queries import runs as queries
from chalicelib.domain.access import engine_for
from chalicelib.domain.errors import Conflict, CredentialRejected, ProviderBusy, ProviderFailed
from chalicelib.domain.ids import RunId
from chalicelib.domain.runs import IN_FLIGHT
from chalicelib.services import agents
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from tests.builders import a_config, a_run, rows
from tests.conftest import World
from tests.fakes.providers import ScriptedCompanies, ScriptedModel


def the_run(world: World, run_id: str) -> Any:
    (run,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    return run


def test_a_redelivered_message_does_nothing_more(world: World) -> None:
    """Seen red with the claim taking completed runs, too."""
    a_run(world.database, world.ours.manager)
    companies = ScriptedCompanies()
    world.visit(Providers(companies, ScriptedModel()))
    before = dict(companies.calls)
    assert world.visit(Providers(companies, ScriptedModel())) is None
    assert dict(companies.calls) == before
    assert len(rows(world.database, world.ours.manager, "SELECT id FROM approval_items")) == 3


def test_a_resumed_run_never_repeats_a_recorded_step(world: World) -> None:
    """A busy provider on the third company sends the run back; the first two are not asked for again."""
    companies = ScriptedCompanies()
    busy = iter([True])

    def before(call: str) -> None:
        if call == "enrich:company-2.example" and next(busy, False):
            raise ProviderBusy("Apollo is busy.", retry_after=timedelta())

    companies.before = before
    run_id = a_run(world.database, world.ours.manager)
    assert world.settle(Providers(companies, ScriptedModel())) == 2
    assert the_run(world, run_id).status == "completed"
    assert companies.calls == {
        "search:1": 1,
        "enrich:company-0.example": 1,
        "enrich:company-1.example": 1,
        "enrich:company-2.example": 2,
    }
    assert len(rows(world.database, world.ours.manager, "SELECT id FROM approval_items")) == 3


def test_a_worker_that_lost_its_lease_writes_nothing(world: World) -> None:
    """A is stopped in its call past its lease; B takes over and finishes; A goes on and is told nothing is its.

    Seen red without the token in the fence's condition: A's results were written over B's.
    """
    run_id = a_run(world.database, world.ours.manager)
    a_is_calling, b_is_done = threading.Event(), threading.Event()
    of_a = ScriptedCompanies()

    def wait_for_b(call: str) -> None:
        if call.startswith("enrich"):
            a_is_calling.set()
            assert b_is_done.wait(20)

    of_a.before = wait_for_b
    worker = threading.Thread(target=lambda: world.visit(Providers(of_a, ScriptedModel())))
    worker.start()
    assert a_is_calling.wait(20)
    rows(
        world.database, world.ours.manager, "UPDATE agent_runs SET lease_expires_at = app_now() RETURNING id"
    )
    assert world.visit() == run_id
    after_b = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    events = rows(world.database, world.ours.manager, "SELECT id FROM outbox_events ORDER BY id")
    b_is_done.set()
    worker.join(20)
    assert after_b[0].status == "completed"
    assert (
        rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
        == after_b
    )
    assert rows(world.database, world.ours.manager, "SELECT id FROM outbox_events ORDER BY id") == events
    assert len(rows(world.database, world.ours.manager, "SELECT id FROM approval_items")) == 3


def test_a_stale_token_is_refused_by_the_fence(world: World) -> None:
    run_id = a_run(world.database, world.ours.manager)
    lease = queries.Lease(RunId(run_id), "run_00000000000000000000000000")
    with (
        pytest.raises(DBAPIError) as refused,
        world.database.enter(engine_for(world.ours.customer_id)) as work,
    ):
        queries.fence(work.session, lease)
    assert queries.lost(refused.value)


def test_concurrent_claims_never_exceed_the_limit(world: World) -> None:
    """Twelve workers at once under a limit of five: five claim."""
    config = a_config(world.database, world.ours.manager)
    for _ in range(12):
        a_run(world.database, world.ours.manager, config_id=config)
    claimed: list[object] = []
    together = threading.Barrier(12)

    def claim(number: int) -> None:
        together.wait()
        with world.database.enter(engine_for(world.ours.customer_id)) as work:
            row = queries.claim(
                work.session, token=f"run_{number:026d}", limit=5, enabled=True, sinks=["eventbridge"]
            )
        if row.id is not None:
            claimed.append(row.id)

    workers = [threading.Thread(target=claim, args=(number,)) for number in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(claimed) == len(set(claimed)) == 5


def test_counters_move_while_the_run_works(world: World) -> None:
    """Seen from another connection, as a person who watches would see it.

    Seen red with the counters left out of the checkpoint.
    """
    companies, seen = ScriptedCompanies(total=20), list[tuple[str, int]]()

    def look(call: str) -> None:
        if call == "enrich:company-19.example":
            (run,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs")
            seen.append((run.status, run.items_processed))

    companies.before = look
    a_run(world.database, world.ours.manager, limit=20)
    world.settle(Providers(companies, ScriptedModel()))
    ((status, processed),) = seen
    assert status == "running"
    assert 20 - IN_FLIGHT <= processed < 20


def test_one_bad_item_fails_that_item_only(world: World) -> None:
    companies = ScriptedCompanies()

    def before(call: str) -> None:
        if call == "enrich:company-1.example":
            raise ProviderFailed("Apollo could not read this domain.", code="bad_request")

    companies.before = before
    run_id = a_run(world.database, world.ours.manager)
    world.settle(Providers(companies, ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.items_succeeded, run.items_failed) == ("completed", 2, 1)
    assert run.output["errors"] == [
        {"item": "enrich:company-1.example", "error": "Apollo could not read this domain."}
    ]


def test_a_bad_key_ends_the_run_with_a_sentence(world: World) -> None:
    companies = ScriptedCompanies()

    def before(_call: str) -> None:
        raise CredentialRejected("Apollo.io did not accept the API key.")

    companies.before = before
    run_id = a_run(world.database, world.ours.manager)
    world.settle(Providers(companies, ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.error, run.error_code) == (
        "failed",
        "Apollo.io did not accept the API key.",
        "credential_rejected",
    )


def test_five_failures_in_a_row_end_a_run(world: World) -> None:
    """A bug in the search: four are backed off, the fifth ends it."""
    companies = ScriptedCompanies()

    def before(_call: str) -> None:
        raise ZeroDivisionError

    companies.before = before
    run_id = a_run(world.database, world.ours.manager)
    for expected in (1, 2, 3, 4):
        assert world.visit(Providers(companies, ScriptedModel())) == run_id
        run = the_run(world, run_id)
        assert (run.status, run.failures) == ("pending", expected)
        rows(world.database, world.ours.manager, "UPDATE agent_runs SET due_at = app_now() RETURNING id")
    world.visit(Providers(companies, ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.error_code) == ("failed", "internal")


def test_a_long_run_is_a_chain_of_slices(world: World) -> None:
    """With a slice of no length at all, a run still ends: what yields has progressed or is asked again."""
    companies = ScriptedCompanies(total=40)
    ticks = iter(range(10_000))
    run_id = a_run(world.database, world.ours.manager, limit=40)
    short = world.with_settings(run_slice_seconds=6)
    visits = 0
    while True:
        engine = short.engine(Providers(companies, ScriptedModel()))
        object.__setattr__(engine, "clock", lambda: float(next(ticks)))
        if not engine.visit(world.ours.customer_id, lambda: timedelta(minutes=5)):
            break
        visits += 1
    run = the_run(world, run_id)
    assert run.status == "completed"
    assert visits > 2
    assert set(companies.calls.values()) == {1}


def test_a_pending_run_is_cancelled_at_once(world: World) -> None:
    run_id = a_run(world.database, world.ours.manager)
    with world.database.enter(world.ours.manager) as work:
        assert start.cancel(work, run_id) == "cancelled"
    assert world.visit() is None
    with pytest.raises(Conflict), world.database.enter(world.ours.manager) as work:
        start.cancel(work, run_id)


def test_a_running_run_stops_before_its_next_call(world: World) -> None:
    run_id = a_run(world.database, world.ours.manager)
    companies = ScriptedCompanies()

    def cancel_it(call: str) -> None:
        if call == "search:1":
            with world.database.enter(world.ours.manager) as work:
                assert start.cancel(work, run_id) == "running"

    companies.before = cancel_it
    world.visit(Providers(companies, ScriptedModel()))
    assert the_run(world, run_id).status == "cancelled"
    assert dict(companies.calls) == {"search:1": 1}
    left = rows(world.database, world.ours.manager, "SELECT status FROM usage_entries")
    assert {entry.status for entry in left} <= {"settled", "released"}


def test_disabling_an_agent_cancels_what_waits_for_it(world: World) -> None:
    config = a_config(world.database, world.ours.manager)
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=1, changes={"enabled": False})
    assert the_run(world, run_id).status == "cancelled"


def test_a_run_replays_from_checkpoints_without_calls(world: World) -> None:
    companies = ScriptedCompanies()
    providers = Providers(companies, ScriptedModel())
    run_id = a_run(world.database, world.ours.manager)
    world.settle(providers)
    with world.database.enter(world.ours.manager) as work:
        again = start.replay(work, run_id, from_checkpoints=True)
    world.settle(providers)
    assert the_run(world, again.id).status == "completed"
    assert companies.calls["search:1"] == 1
