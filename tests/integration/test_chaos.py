"""Two hundred schedules of everything that goes wrong at once.

Workers are killed at named points, or stopped until somebody else has their run and then continued; messages are
lost, doubled and late; providers are busy, fail and answer too late; people cancel. A schedule follows from its seed,
which is the test's name, and needs none of the others.

Seen red with each of: a fence that does not look at the token, claims that do not look at the limit, the record not read
when a run is resumed.
"""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from chalicelib.domain.errors import Conflict
from chalicelib.domain.ids import CustomerId, RunId
from chalicelib.domain.runs import FAILURES_IN_A_ROW, FINAL, IN_FLIGHT, LEASE
from chalicelib.faults import Point
from chalicelib.services.outbox import Relay
from chalicelib.services.runs import start
from chalicelib.services.sweep import Sweep
from local.postgres import Postgres
from tests.builders import a_config, a_run, rows
from tests.conftest import Tenant, World, a_database, a_tenant, a_world, settings_of
from tests.fakes.chaos import Books, Line, SharedBell, SharedClock, Trip, travel
from tests.fakes.worker import Job, Nursery
from tests.watch import Watch

SCHEDULES: Final = 200
MORNING: Final = datetime(2026, 3, 2, 8, tzinfo=UTC)
RECORDED: Final = "SELECT run_id, key FROM agent_run_steps"
OFTEN: Final = (Point.BEFORE_CALL, Point.AFTER_CALL, Point.BEFORE_CHECKPOINT, Point.AFTER_CHECKPOINT)
ONCE: Final = (Point.BEFORE_CLAIM, Point.AFTER_CLAIM, Point.BEFORE_END, Point.AFTER_END)


@dataclass(slots=True)
class Schedule:
    """One seed's story."""

    seed: int
    world: World
    nursery: Nursery
    files: Path
    chance: random.Random = field(init=False)
    clock: SharedClock = field(init=False)
    bell: SharedBell = field(init=False)
    tenants: list[Tenant] = field(default_factory=list)
    runs: dict[str, Tenant] = field(default_factory=dict)
    messages: list[tuple[datetime, CustomerId]] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)  # processes
    recorded_before: dict[int, set[tuple[str, str]]] = field(default_factory=dict)  # by trip: run and key
    lost: set[int] = field(default_factory=set)  # trips whose worker died, or was stopped
    trips: int = 0
    crashes_left: int = 0
    hopeless: bool = False  # each worker dies before it does anything
    storm: float = 0.0
    rejects: bool = False
    pace: float = 0.0
    nerves: float = 0.0  # how likely somebody cancels

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock, self.bell = SharedClock(self.files), SharedBell(self.files)
        self.clock.set(MORNING)
        self.world = replace_database(self.world, self.bell, self.clock)

    def play(self) -> None:
        """Until every run is over and every stopped worker has gone on."""
        self._begin()
        for _ in range(400):
            self._hear()
            disturbed = self._disturb()
            if (self._deliver_or_wait() or disturbed) and self.over():
                break
        assert self.over(), "it does not settle"
        ended = self._everything() if self.stopped else []
        while self.stopped:
            self._continue_one()
            assert self._everything() == ended, "a worker wrote though it had lost its lease"

    @property
    def moment(self) -> datetime:
        return self.clock()

    def over(self) -> bool:
        """Nothing is pending or running."""
        return not any(self._open(tenant) for tenant in self.tenants)

    def _open(self, tenant: Tenant) -> list[Any]:
        query = "SELECT id FROM agent_runs WHERE status IN ('pending', 'running') LIMIT 1"
        return rows(self.world.database, tenant.manager, query)

    def ask(self, tenant: Tenant, table: str) -> list[Any]:
        return rows(self.world.database, tenant.manager, f"SELECT * FROM {table}")  # noqa: S608 - ours

    def _begin(self) -> None:
        chance = self.chance
        self.hopeless = chance.random() < 0.03
        self.crashes_left = 12 if self.hopeless else chance.choice([1, 2, 2, 3, 4])
        self.storm, self.rejects = chance.choice([0.0, 0.1, 0.3]), chance.random() < 0.1
        self.pace = chance.choice([0.0, 0.0, 20.0])
        self.nerves = chance.choice([0.0, 0.0, 0.05])
        for number in range(chance.choice([1, 1, 2])):
            tenant = a_tenant(self.world.database, f"Tenant {self.seed} {number}")
            self.tenants.append(tenant)
            if chance.random() < 0.3:
                slots = "UPDATE customers SET max_concurrent_runs = 1 RETURNING id"
                rows(self.world.database, tenant.manager, slots)
            for nth in range(chance.choice([1, 2])):
                place = f"place{number}{nth}"
                config = {"locations": [place], "batchSize": chance.choice([1, 8, 12])}
                config_id = a_config(self.world.database, tenant.manager, config=config)
                self.runs[a_run(self.world.database, tenant.manager, config_id=config_id)] = tenant

    def _disturb(self) -> bool:
        """A stopped worker goes on, somebody cancels: says whether anything of this happened."""
        goes_on = bool(self.stopped) and self.chance.random() < 0.1
        if goes_on:
            self._continue_one()
        cancels = self.chance.random() < self.nerves
        if cancels:
            self._cancel_one()
        return goes_on or cancels

    def _hear(self) -> None:
        """Messages that were sent are lost, doubled, late, in any combination."""
        ours = {tenant.customer_id for tenant in self.tenants}
        for customer_id, delay in self.bell.heard():
            if customer_id not in ours:
                continue
            for _ in range(self.chance.choice([0, 1, 1, 1, 1, 2])):
                late = timedelta(seconds=self.chance.choice([0, 0, 0, 5, 90]))
                self.messages.append((self.moment + delay + late, customer_id))

    def _deliver_or_wait(self) -> bool:
        """Says whether a message was delivered."""
        due = [message for message in self.messages if message[0] <= self.moment]
        if due and self.chance.random() < 0.95:
            message = self.chance.choice(due)
            self.messages.remove(message)
            self._visit(message[1])
            return True
        waits = [self.chance.choice([timedelta(seconds=20), LEASE, LEASE / 2])]
        waits += [at - self.moment for at, _ in self.messages if at > self.moment]
        self.clock.forward(min(waits).total_seconds())
        if self.chance.random() < 0.5:
            Sweep(self.world.database, Relay(self.world.database, [])).every_minute(
                lambda: timedelta(minutes=1)
            )
        return False

    def _visit(self, customer_id: CustomerId) -> None:
        self.trips += 1
        tenant = next(tenant for tenant in self.tenants if tenant.customer_id == customer_id)
        self.recorded_before[self.trips] = {
            (step.run_id, step.key) for step in rows(self.world.database, tenant.manager, RECORDED)
        }
        trip = Trip(
            customer_id,
            str(self.files),
            self.trips,
            self.seed,
            self.storm,
            self.rejects,
            self.pace,
            cancel_at=self.chance.randint(1, 12) if self.chance.random() < self.nerves else None,
            meanwhile_at=self.chance.randint(1, 4) if self.stopped else None,
        )
        if not self.stopped and self.crashes_left and (self.hopeless or self.chance.random() < 0.8):
            self._crash(trip)
        else:
            travel(self.world.database, trip, self._continue_one)

    def _crash(self, trip: Trip) -> None:
        self.crashes_left -= 1
        often = not self.hopeless and self.chance.random() < 0.7
        point = Point.AFTER_CLAIM if self.hopeless else self.chance.choice(OFTEN if often else ONCE)
        by = signal.SIGSTOP if self.chance.random() < 0.25 else signal.SIGKILL
        nth = self.chance.choice([1, 1, 2, 3, 5, 8, 12]) if often else 1
        if by is signal.SIGSTOP:  # it must not be stopped inside somebody's cancelling, with the queue locked
            trip = replace(trip, cancel_at=None)
        job = Job("trip", trip.customer, self.files, trip=trip, die_at=point, nth=nth, by=by)
        fate = self.nursery.work(self.world.database.settings, job)
        assert fate.code in (None, 0, -signal.SIGKILL)
        if fate.code is None:
            self.stopped.append(fate.pid)
        if fate.code != 0:
            self.lost.add(trip.number)

    def _continue_one(self) -> None:
        """A stopped worker goes on, also while another is at work."""
        pid = self.stopped.pop(self.chance.randrange(len(self.stopped)))
        assert self.nursery.go_on(pid).code == 0

    def _cancel_one(self) -> None:
        run_id, tenant = self.chance.choice(list(self.runs.items()))
        with suppress(Conflict), self.world.database.enter(tenant.manager) as work:
            start.cancel(work, RunId(run_id))

    def _everything(self) -> list[list[Any]]:
        tables = ("agent_runs", "agent_run_steps", "usage_entries", "approval_items", "outbox_events")
        return [sorted(self.ask(tenant, table), key=repr) for tenant in self.tenants for table in tables]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a schedule's tables say, beside what its provider's books say."""

    schedule: Schedule
    runs: list[Any]
    steps: list[Any]
    entries: dict[str, Any]
    books: list[Line]

    @classmethod
    def on(cls, schedule: Schedule) -> "Verdict":
        def of_all(table: str) -> list[Any]:
            return [row for tenant in schedule.tenants for row in schedule.ask(tenant, table)]

        entries = {entry.id: entry for entry in of_all("usage_entries")}
        books = Books(schedule.files).lines()
        return cls(schedule, of_all("agent_runs"), of_all("agent_run_steps"), entries, books)

    def every_run_ended_with_a_reason(self) -> None:
        asked = Counter(line.answer for line in self.books)
        for run in self.runs:
            if run.status == "cancelled":
                assert run.cancel_requested_at is not None
            elif run.status == "failed" and run.error_code in ("worker_lost", "internal"):
                assert len(self.schedule.lost) + asked["bug"] >= FAILURES_IN_A_ROW
            elif run.status == "failed":
                assert (run.error_code, asked["rejected"] > 0) == ("credential_rejected", True)
            else:
                assert run.output["success"]

    def counters_equal_the_steps(self) -> None:
        for run in self.runs:
            of_run = Counter(step.status for step in self.steps if step.run_id == run.id and step.item)
            counted = (run.items_processed, run.items_succeeded, run.items_failed)
            assert counted == (of_run.total(), of_run["succeeded"], of_run["failed"])
            if run.status == "completed":
                assert of_run.total() == run.config["batchSize"]

    def the_books_agree(self) -> None:
        """Each call was booked before it was made, is the step it says, and what was paid for is not released."""
        assert len({line.entry for line in self.books}) == len(self.books)
        made = {line.entry for line in self.books if line.was_made}
        for line in self.books:
            assert self.entries[line.entry].step_key == line.call
        for entry in self.entries.values():
            possible = {"settled", "unknown"} if entry.id in made else {"released", "unknown"}
            assert entry.status in possible

    def nothing_recorded_was_done_again(self) -> None:
        for line in self.books:
            key = (self.entries[line.entry].run_id, line.call)
            assert key not in self.schedule.recorded_before[line.trip]

    def a_crash_repeats_no_more_than_was_in_flight(self) -> None:
        """What was made and not written belongs to a worker that was lost, at most eight calls to each."""
        arrived = [line for line in self.books if line.answer == "given"]
        unwritten = Counter(line.trip for line in arrived if self.entries[line.entry].status == "unknown")
        assert set(unwritten) <= self.schedule.lost
        assert all(calls <= IN_FLIGHT for calls in unwritten.values())
        calls = Counter((line.place, line.call) for line in arrived)
        repeated = sum(times - 1 for times in calls.values())
        assert repeated <= unwritten.total()

    def each_success_is_proposed_once(self) -> None:
        for tenant in self.schedule.tenants:
            items = [item.dedupe_key for item in self.schedule.ask(tenant, "approval_items")]
            done = [
                f"lead:{step.output['company']['domain']}"
                for step in self.steps
                if step.item and step.status == "succeeded" and step.customer_id == tenant.customer_id
            ]
            assert Counter(items) == Counter(done)
            assert set(Counter(items).values()) <= {1}

    def each_run_told_its_end_once(self) -> None:
        ends = Counter(
            (event.aggregate_id, event.event_type)
            for tenant in self.schedule.tenants
            for event in self.schedule.ask(tenant, "outbox_events")
            if event.event_type.removeprefix("agent.run.") in FINAL
        )
        assert ends == Counter((run.id, f"agent.run.{run.status}") for run in self.runs)


def replace_database(world: World, bell: SharedBell, clock: SharedClock) -> World:
    """The same world by another bell and clock."""
    changed = World(replace(world.database, signals=bell, clock=clock), world.signals, world.engines)
    changed.ours, changed.theirs = world.ours, world.theirs
    return changed


@pytest.fixture(scope="module")
def watched(postgres: Postgres) -> Iterator[tuple[World, Watch]]:
    with a_database(postgres) as name, a_world(settings_of(postgres, name)) as world:
        watch = Watch(postgres, name)
        watch.begin()
        yield world, watch


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SCHEDULES), ids=lambda seed: f"seed_{seed}")
def test_whatever_goes_wrong_every_run_ends_once_and_the_books_agree(
    watched: tuple[World, Watch], nursery: Nursery, tmp_path: Path, seed: int
) -> None:
    world, watch = watched
    schedule = Schedule(seed, world, nursery, tmp_path)
    schedule.play()
    watch.check({tenant.customer_id for tenant in schedule.tenants})
    verdict = Verdict.on(schedule)
    verdict.every_run_ended_with_a_reason()
    verdict.counters_equal_the_steps()
    verdict.the_books_agree()
    verdict.nothing_recorded_was_done_again()
    verdict.a_crash_repeats_no_more_than_was_in_flight()
    verdict.each_success_is_proposed_once()
    verdict.each_run_told_its_end_once()
