"""Kill -9 at every named point: what was recorded is never done again, and everything ends.

Seen red with the record not read when a run is resumed.
"""

import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from chalicelib.domain.approvals import Decision
from chalicelib.domain.runs import IN_FLIGHT
from chalicelib.faults import Point
from chalicelib.services.approvals.decide import Verdict, decide_one
from tests.builders import a_config, a_run, an_item, rows
from tests.conftest import World
from tests.fakes.worker import Job, Nursery

COMPANIES = 12

IN_A_RUN = [
    (Point.BEFORE_CLAIM, 1),
    (Point.AFTER_CLAIM, 1),
    (Point.BEFORE_CHECKPOINT, 3),
    (Point.AFTER_CHECKPOINT, 3),
    (Point.BEFORE_CALL, 4),
    (Point.AFTER_CALL, 1),
    (Point.AFTER_CALL, 6),
    (Point.AFTER_CALL, COMPANIES + 1),
    (Point.BEFORE_END, 1),
    (Point.AFTER_END, 1),
]


@dataclass(frozen=True, slots=True)
class Workers:
    """Of our tenant, with books of their own."""

    world: World
    nursery: Nursery
    books: Path

    def work(self, kind: str, *, die_at: Point | None = None, nth: int = 1) -> int | None:
        """Have one work to its end, or to its death. Returns its exit code."""
        customer = self.world.ours.customer_id
        job = Job(kind, customer, self.books, companies=COMPANIES, die_at=die_at, nth=nth)
        return self.nursery.work(self.world.database.settings, job).code


@pytest.fixture
def workers(world: World, nursery: Nursery, tmp_path: Path) -> Workers:
    books = tmp_path / "books"
    books.touch()
    return Workers(world, nursery, books)


def let_the_lease_run_out(world: World) -> None:
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET lease_expires_at = app_now() WHERE status = 'running' RETURNING id",
    )


@pytest.mark.slow
@pytest.mark.parametrize(("point", "nth"), IN_A_RUN)
def test_a_killed_worker_is_followed_by_one_that_finishes(
    world: World, workers: Workers, point: Point, nth: int
) -> None:
    books, manager = workers.books, world.ours.manager
    config = a_config(world.database, manager, config={"locations": ["Germany"], "batchSize": COMPANIES})
    run_id = a_run(world.database, manager, config_id=config)
    assert workers.work("run", die_at=point, nth=nth) == -signal.SIGKILL
    recorded = {row.key for row in rows(world.database, manager, "SELECT key FROM agent_run_steps")}
    before = Counter(books.read_text().split())
    let_the_lease_run_out(world)
    assert workers.work("run") == 0

    calls = Counter(books.read_text().split())
    again = calls - before
    assert not recorded & set(again), "a recorded step was done again"
    assert sum(count - 1 for count in calls.values()) <= IN_FLIGHT
    assert set(calls) == {"search:1", *(f"enrich:company-{number}.example" for number in range(COMPANIES))}

    (run,) = rows(world.database, manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    assert (run.status, run.items_succeeded) == ("completed", COMPANIES)
    items = rows(world.database, manager, "SELECT dedupe_key FROM approval_items")
    assert len(items) == len(set(items)) == COMPANIES
    ended = rows(
        world.database, manager, "SELECT id FROM outbox_events WHERE event_type = 'agent.run.completed'"
    )
    assert len(ended) == 1
    entries = Counter(row.status for row in rows(world.database, manager, "SELECT status FROM usage_entries"))
    assert entries["reserved"] == 0
    assert entries["settled"] == COMPANIES + 1
    assert entries["unknown"] <= IN_FLIGHT


@pytest.mark.slow
@pytest.mark.parametrize("point", [Point.BEFORE_APPLY, Point.AFTER_APPLY])
def test_an_effect_is_given_once_though_its_applier_dies(
    world: World, workers: Workers, point: Point
) -> None:
    manager = world.ours.manager
    for _ in range(3):
        item_id = an_item(world.database, manager)
        with world.database.enter(manager) as work:
            decide_one(work, Verdict(item_id, 1), Decision.APPROVE)
    assert workers.work("apply", die_at=point) == -signal.SIGKILL
    assert workers.work("apply") == 0
    assert len(rows(world.database, manager, "SELECT id FROM accounts")) == 3
    approved = rows(
        world.database, manager, "SELECT id FROM outbox_events WHERE event_type = 'approval.item.approved'"
    )
    assert len(approved) == 3


@pytest.mark.slow
@pytest.mark.parametrize("point", [Point.BEFORE_PUBLISH, Point.AFTER_PUBLISH])
def test_every_event_is_published_though_the_relay_dies(world: World, workers: Workers, point: Point) -> None:
    """At least once: what was sent and not marked is sent again."""
    manager, books = world.ours.manager, workers.books
    an_item(world.database, manager)
    assert workers.work("relay", die_at=point) == -signal.SIGKILL
    with world.database.system() as session:
        session.connection().exec_driver_sql("UPDATE relay_leases SET expires_at = now()")
    assert workers.work("relay") == 0
    published = set(books.read_text().splitlines())
    committed = rows(world.database, manager, "SELECT aggregate_id, sequence FROM outbox_events")
    assert published == {f"{row.aggregate_id} {row.sequence}" for row in committed}
