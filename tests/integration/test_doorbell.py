"""Nobody's run waits for the sweep: every commit that makes work possible is followed by a message.

The doorbell here is a queue in memory; a worker takes one message at a time, as a function does.
"""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from chalicelib.domain.errors import Conflict
from chalicelib.domain.ids import CustomerId, RunId
from chalicelib.services.outbox import Relay
from chalicelib.services.runs import start
from chalicelib.services.runs.execute import Engine
from chalicelib.services.sweep import Sweep
from tests.builders import a_config, a_run, rows
from tests.conftest import World, a_tenant
from tests.fakes.providers import scripted
from tests.fakes.signals import RememberedSignals


@dataclass(slots=True)
class Doorbell(RememberedSignals):
    """Signals that workers answer; delayed ones are left to whoever waits for them."""

    messages: "queue.Queue[CustomerId | None]" = field(default_factory=queue.Queue)

    def ring(self, customer_id: CustomerId, *, delay: timedelta = timedelta()) -> None:
        if not delay:
            self.messages.put(customer_id)


@contextmanager
def workers(world: World, count: int) -> Iterator[Doorbell]:
    """So many functions that answer the doorbell, until the block ends."""
    bell = Doorbell()
    world.database = replace(world.database, signals=bell)

    def serve() -> None:
        engine = Engine(world.database, lambda _customer: scripted(1))
        while (customer_id := bell.messages.get()) is not None:
            engine.visit(customer_id, lambda: timedelta(minutes=5))
            bell.messages.task_done()
        bell.messages.task_done()

    threads = [threading.Thread(target=serve) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield bell
        bell.messages.join()
    finally:
        for _ in threads:
            bell.messages.put(None)
        for thread in threads:
            thread.join()


def left_over(world: World) -> int:
    (row,) = rows(
        world.database,
        world.ours.manager,
        "SELECT count(*) AS n FROM agent_runs WHERE status IN ('pending', 'running')",
    )
    return int(row.n)


@pytest.mark.slow
def test_a_run_started_as_the_last_one_ends_is_not_forgotten(world: World) -> None:
    """Forty times: a run is accepted at the moment at which another ends or is claimed."""
    config = a_config(world.database, world.ours.manager)
    with workers(world, 2) as bell:
        for number in range(40):
            a_run(world.database, world.ours.manager, config_id=config)
            if number % 4 == 3:
                bell.messages.join()
    assert left_over(world) == 0


def test_a_claim_that_clears_the_bell_sees_what_it_rang_for(world: World) -> None:
    """A run is accepted, not yet committed, while the bell rings for something else, and a worker answers.

    Seen red with `ring` leaving the row unlocked when the bell has rung already: the worker saw nothing, cleared
    the bell, and nobody rang again.
    """
    config = a_config(world.database, world.ours.manager)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE tenant_queues SET rung_at = app_now() RETURNING customer_id",
    )
    visited: list[str | None] = []
    worker = threading.Thread(target=lambda: visited.append(world.visit()))
    with world.database.enter(world.ours.manager) as work:
        run = start.start(work, agent_type=None, config_id=config, inputs={})
        work.flush()
        work.session.execute(text("SELECT 1"))
        worker.start()
        worker.join(1)
    worker.join()
    assert visited == [run.id]


@pytest.mark.slow
def test_many_starters_at_once_leave_nothing_behind_under_a_limit_of_one(world: World) -> None:
    rows(world.database, world.ours.manager, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
    config = a_config(world.database, world.ours.manager)
    with workers(world, 3):
        starters = [
            threading.Thread(
                target=a_run, args=(world.database, world.ours.manager), kwargs={"config_id": config}
            )
            for _ in range(16)
        ]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
    assert left_over(world) == 0


@pytest.mark.slow
def test_cancelling_as_a_worker_claims_ends_the_run_once(world: World) -> None:
    config = a_config(world.database, world.ours.manager)
    with workers(world, 2):
        for _ in range(20):
            run_id = a_run(world.database, world.ours.manager, config_id=config)
            try:
                with world.database.enter(world.ours.manager) as work:
                    start.cancel(work, RunId(run_id))
            except Conflict:
                continue
    ended = rows(
        world.database,
        world.ours.manager,
        "SELECT aggregate_id, count(*) AS n FROM outbox_events WHERE event_type IN"
        " ('agent.run.completed', 'agent.run.cancelled', 'agent.run.failed') GROUP BY aggregate_id",
    )
    assert left_over(world) == 0
    assert [row.n for row in ended] == [1] * 20


def test_one_message_stands_for_many_runs(world: World) -> None:
    config = a_config(world.database, world.ours.manager)
    for _ in range(10):
        a_run(world.database, world.ours.manager, config_id=config)
    assert len(world.signals.rings) == 1


def test_a_claim_rings_on_while_a_slot_and_a_run_are_left(world: World) -> None:
    config = a_config(world.database, world.ours.manager)
    for _ in range(2):
        a_run(world.database, world.ours.manager, config_id=config)
    world.visit()
    assert len(world.signals.rings) == 2


def test_people_go_before_schedules(world: World) -> None:
    """A hundred runs of a schedule wait; a person's is next."""
    config = a_config(world.database, world.ours.manager)
    for _ in range(3):
        a_run(world.database, world.ours.manager, config_id=config)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET queue_at = queue_at + interval '10 minutes', trigger = 'scheduled' RETURNING id",
    )
    persons = a_run(world.database, world.ours.manager, config_id=config)
    assert world.visit() == persons


def test_a_tenant_with_thousands_waiting_is_in_nobodys_way(world: World) -> None:
    config = a_config(world.database, world.theirs.manager)
    a_run(world.database, world.theirs.manager, config_id=config)
    rows(
        world.database,
        world.theirs.manager,
        "INSERT INTO agent_runs (id, customer_id, agent_config_id, agent_type, trigger, input, config, agent_version,"
        " approval_expiry_hours) SELECT new_id('run'), customer_id, agent_config_id, agent_type, trigger, input, config,"
        " agent_version, approval_expiry_hours FROM agent_runs, generate_series(1, 5000) RETURNING id",
    )
    quiet = a_run(world.database, world.ours.manager)
    assert world.visit() == quiet
    assert len([ring for ring in world.signals.rings if ring[0] == world.theirs.customer_id]) == 1


def test_a_lost_message_costs_a_minute(world: World) -> None:
    """Nobody answers the bell; the sweep rings again once its patience is over, and only then."""
    a_run(world.database, world.ours.manager)
    world.signals.rings.clear()
    sweep = Sweep(world.database, Relay(world.database, []))
    assert sweep.every_minute(lambda: timedelta(minutes=1))["rung"] == 0
    rows(
        world.database,
        world.ours.manager,
        "UPDATE tenant_queues SET rung_at = rung_at - interval '61 seconds' RETURNING customer_id",
    )
    assert sweep.every_minute(lambda: timedelta(minutes=1))["rung"] == 1
    assert [ring[0] for ring in world.signals.rings] == [world.ours.customer_id]


def test_a_tenant_that_is_switched_off_is_left_alone(world: World) -> None:
    other = a_tenant(world.database, "Off")
    run_id = a_run(world.database, other.manager)
    rows(world.database, other.manager, "UPDATE customers SET agents_enabled = false RETURNING id")
    assert world.visit(tenant=other) is None
    rows(world.database, other.manager, "UPDATE customers SET agents_enabled = true RETURNING id")
    assert world.visit(tenant=other) == run_id


def test_a_bell_that_nobody_answered_is_rung_again(world: World) -> None:
    """A message was lost while there was nothing to do, so no sweep looked; hours later somebody starts a run.

    Seen red with a bell that counts as rung for ever: the run waited for the sweep.
    """
    rows(
        world.database,
        world.ours.manager,
        "UPDATE tenant_queues SET rung_at = app_now() - interval '61 s' RETURNING customer_id",
    )
    a_run(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager)
    assert [customer for customer, _ in world.signals.rings] == [world.ours.customer_id]
