"""A run from acceptance to its end, on a real database."""

from tests.builders import a_run, rows
from tests.conftest import World
from tests.fakes.providers import scripted


def test_a_run_finds_companies_and_proposes_each(world: World) -> None:
    run_id = a_run(world.database, world.ours.manager)
    assert world.signals.rings[-1][0] == world.ours.customer_id
    assert world.visit() == run_id
    (run,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    assert (run.status, run.error) == ("completed", None)
    assert (run.items_processed, run.items_succeeded, run.items_failed) == (3, 3, 0)
    items = rows(world.database, world.ours.manager, "SELECT * FROM approval_items ORDER BY id")
    assert [item.status for item in items] == ["pending"] * 3
    assert run.output["approvalItemIds"] == [item.id for item in items]
    events = rows(world.database, world.ours.manager, "SELECT * FROM outbox_events ORDER BY position")
    of_run = [(event.event_type, event.sequence) for event in events if event.aggregate_id == run_id]
    assert of_run == [("agent.run.requested", 1), ("agent.run.started", 2), ("agent.run.completed", 3)]


def test_the_queue_is_empty_afterwards(world: World) -> None:
    a_run(world.database, world.ours.manager)
    assert world.settle(scripted()) == 1
    assert world.visit(tenant=world.theirs) is None
