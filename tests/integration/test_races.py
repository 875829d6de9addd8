"""Who waits for whom: nobody for the sweep, and nobody for another tenant's long runs. No wall clock is looked at."""

import heapq
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.db.work import Database
from chalicelib.domain.companies import Company, CompanyPage, IdealCustomer
from chalicelib.domain.errors import Conflict
from chalicelib.domain.ids import CustomerId, RunId
from chalicelib.domain.money import Charge
from chalicelib.domain.providers import Caller
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from tests.builders import a_config, a_run, rows
from tests.conftest import Tenant, World, a_tenant
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedModel, one_by_one
from tests.fakes.puppets import Puppet, Word
from tests.fakes.signals import RememberedSignals

LAST_WORDS = {
    "completes": Word(),
    "is cancelled": Word("busy", timedelta(hours=1)),
    "fails": Word("reject"),
    "waits": Word("busy", timedelta(hours=1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("last", LAST_WORDS)
def test_a_run_accepted_at_the_instant_the_only_slot_is_freed_does_not_wait_for_the_sweep(
    world: World, last: str
) -> None:
    """Twenty times for each way to free it. The run's own message may come while the slot is still taken, and clears the
    bell; then whoever frees the slot has to ring.

    Seen red with an end, and with a yield, that does not ring.
    """
    manager, customer_id, rings = world.ours.manager, world.ours.customer_id, world.signals.rings
    rows(world.database, manager, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
    config = a_config(world.database, manager, config={"locations": ["Germany"], "batchSize": 1})
    run_id = a_run(world.database, manager, config_id=config)
    worker = Puppet(world.database, customer_id)
    for _ in range(20):
        worker.tell(Word())
        worker.tell(Word())
        assert worker.calling == "enrich"
        rings.clear()
        together = threading.Barrier(2)

        def free_the_slot(
            worker: Puppet = worker, run_id: str = run_id, together: threading.Barrier = together
        ) -> None:
            if last == "is cancelled":
                with world.database.enter(manager) as work:
                    start.cancel(work, RunId(run_id))
            together.wait()
            worker.tell(LAST_WORDS[last])

        freeing = threading.Thread(target=free_the_slot)
        freeing.start()
        together.wait()
        run_id = a_run(world.database, manager, config_id=config)
        worker = Puppet(world.database, rings.pop(0)[0])
        freeing.join()
        if worker.calling is None:
            worker = Puppet(world.database, rings.pop(0)[0])
        assert worker.calling == "search:1"
    worker.tell(Word("reject"))


@pytest.mark.slow
def test_a_run_cancelled_at_the_instant_it_is_claimed_or_ended_ends_once_and_frees_its_slot(
    world: World,
) -> None:
    """Two workers come, a person cancels and another accepts a run, all at once, under a limit of one."""
    manager, customer_id = world.ours.manager, world.ours.customer_id
    rows(world.database, manager, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
    config = a_config(world.database, manager)
    for _ in range(15):
        run_id = a_run(world.database, manager, config_id=config)
        together = threading.Barrier(4)

        def cancel(run_id: str = run_id, together: threading.Barrier = together) -> None:
            together.wait()
            try:
                with world.database.enter(manager) as work:
                    start.cancel(work, RunId(run_id))
            except Conflict:
                pass

        def accept(together: threading.Barrier = together) -> None:
            together.wait()
            a_run(world.database, manager, config_id=config)

        def come(together: threading.Barrier = together) -> None:
            together.wait()
            world.visit()

        at_once = [threading.Thread(target=what) for what in (cancel, accept, come, come)]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
        answer_every_message(world, customer_id)
        left = rows(
            world.database, manager, "SELECT id FROM agent_runs WHERE status IN ('pending', 'running')"
        )
        assert left == [], "a run waits for the sweep"
    ended = "SELECT aggregate_id FROM outbox_events WHERE event_type IN ('agent.run.completed', 'agent.run.cancelled')"
    told = [event.aggregate_id for event in rows(world.database, manager, ended)]
    assert len(told) == len(set(told)) == 30


def answer_every_message(world: World, customer_id: CustomerId) -> None:
    while world.signals.rings:
        world.signals.rings.pop()
        world.visit()


# Fairness, in simulated time

MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
CALL = timedelta(seconds=20)


@dataclass(slots=True)
class SlowCompanies:
    """Each page takes its time, and there is nothing on it."""

    clock: Hands
    pages: int

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
        self.clock.forward(CALL)
        caller.meter.add(Charge(credits=1))
        return CompanyPage((), page, self.pages, 0)

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        raise AssertionError("there is nobody to look up")

    enrich_many = one_by_one


@dataclass(slots=True)
class Fleet:
    """A few functions that answer messages in the order they were sent, each on a clock of its own."""

    world: World
    workers: int
    pages: dict[CustomerId, int]
    messages: deque[tuple[datetime, CustomerId]] = field(default_factory=deque)

    def work(self, until: RunId) -> datetime:
        """Until this run had its visit; it is a short one. Returns when that was over."""
        free = [MORNING] * self.workers
        while True:
            sent_at, customer_id = self.messages.popleft()
            clock = Hands(max(heapq.heappop(free), sent_at))
            if until in self._visit(clock, customer_id):
                return clock.moment
            heapq.heappush(free, clock.moment)

    def start(self, tenant: Tenant) -> RunId:
        database, signals = self._at(Hands(MORNING))
        config = a_config(database, tenant.manager, config={"locations": ["Germany"], "maxPages": 40})
        run_id = a_run(database, tenant.manager, config_id=config)
        self.messages += [(MORNING, customer_id) for customer_id, _ in signals.rings]
        return run_id

    def _visit(self, clock: Hands, customer_id: CustomerId) -> list[RunId]:
        database, signals = self._at(clock)
        providers = Providers(SlowCompanies(clock, self.pages[customer_id]), ScriptedModel())
        engine = Engine(database, lambda _customer: providers, clock=clock.seconds)
        visited = engine.visit(customer_id, lambda: timedelta(minutes=5))
        sent = [(clock.moment, customer_id) for customer_id, _ in signals.rings]
        self.messages = deque(sorted([*self.messages, *sent], key=lambda message: message[0]))
        return visited

    def _at(self, clock: Hands) -> tuple[Database, RememberedSignals]:
        signals = RememberedSignals()
        return replace(self.world.database, clock=clock, signals=signals), signals


@pytest.mark.slow
def test_ten_tenants_of_long_runs_do_not_hold_every_worker(world: World) -> None:
    """Six workers, ten runs of thirteen minutes each, and then a short one: it is over after a slice and its own call.

    Seen red with slices that never end: the first worker was free after thirteen minutes.
    """
    slice_of = timedelta(seconds=world.database.settings.run_slice_seconds)
    long_ones = [a_tenant(world.database, f"Long {number}") for number in range(10)]
    pages = {tenant.customer_id: 40 for tenant in long_ones} | {world.ours.customer_id: 1}
    fleet = Fleet(world, 6, pages)
    for tenant in long_ones:
        fleet.start(tenant)
    short = fleet.start(world.ours)
    assert fleet.work(until=short) - MORNING <= slice_of + 2 * CALL
