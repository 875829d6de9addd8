"""A run's life against a small model of it: whatever happens in whatever order, the database says what the model says.

`pytest --hypothesis-profile explore` looks for new sequences; otherwise they are the same each time.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from chalicelib.domain.access import engine_for
from chalicelib.domain.errors import Conflict
from chalicelib.domain.ids import RunId
from chalicelib.domain.runs import (
    BACKGROUND_HANDICAP,
    FAILURES_IN_A_ROW,
    FINAL,
    LEASE,
    OLDEST,
    Trigger,
    backoff,
)
from chalicelib.services import agents
from chalicelib.services.outbox import Relay
from chalicelib.services.runs import start
from chalicelib.services.runs.execute import LONGEST_MESSAGE_DELAY, SWITCHED_OFF
from chalicelib.services.sweep import PATIENCE, Sweep
from local.postgres import Postgres
from tests.builders import a_config, rows
from tests.conftest import World, a_tenant
from tests.fakes.clock import Hands
from tests.fakes.puppets import SEARCHES, Puppet, Word
from tests.fakes.signals import RememberedSignals
from tests.watch import Watch

MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
STEPS = [f"{verb}:{page}" for page in range(1, SEARCHES + 1) for verb in ("search", "known")]
ANY = st.integers(0, 11)
"""Which of those there are."""

RUNS = """
    SELECT r.*, (SELECT array_agg(s.key ORDER BY s.key) FROM agent_run_steps s WHERE s.run_id = r.id) AS steps,
           (SELECT array_agg(u.status) FROM usage_entries u WHERE u.run_id = r.id) AS entries,
           (SELECT array_agg(e.event_type ORDER BY e.sequence) FROM outbox_events e WHERE e.aggregate_id = r.id) AS told
    FROM agent_runs r
"""

ABANDON = "UPDATE agent_runs SET status = 'cancelled', lease_token = NULL, lease_expires_at = NULL WHERE status IN ('pending', 'running')"
"""So that sweeps of the next example have no work here."""


@dataclass(slots=True)
class Model:
    """What a run should be."""

    id: str
    config: str
    created_at: datetime
    queue_at: datetime
    due_at: datetime
    status: str = "pending"
    failures: int = 0
    claimed: int = 0
    progressed: bool = False
    cancel: bool = False
    code: str | None = None
    lease_ends: datetime | None = None
    worker: Puppet | None = None  # who holds it
    recorded: set[str] = field(default_factory=set)
    succeeded: int = 0
    failed: int = 0
    asks_nobody: bool = False  # the sweep wakes it: it waits longer than a message may

    def record(self, *keys: str) -> None:
        if set(keys) - self.recorded:
            self.recorded |= set(keys)
            self.progressed, self.failures = True, 0

    def end(self, status: str, code: str | None = None) -> None:
        self.status, self.code, self.worker, self.lease_ends = status, code, None, None

    def give_back(self, due_at: datetime, failures: int) -> None:
        if self.cancel:
            self.end("cancelled")
        else:
            self.status, self.due_at, self.worker, self.lease_ends = "pending", due_at, None, None
            self.failures = failures

    @property
    def told(self) -> list[str]:
        kinds = [
            "requested",
            *(["started"] if self.claimed else []),
            *([self.status] if self.status in FINAL else []),
        ]
        return [f"agent.run.{kind}" for kind in kinds]


class RunMachine(RuleBasedStateMachine):
    """One tenant, two agents, any number of runs and workers.

    Seen red with each of: claims that do not look at the limit, an end or a yield that does not ring, a fence that does
    not look at the token, a takeover that forgets a request to stop, a checkpoint that leaves the failures counted.
    """

    world: World
    watch: Watch

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.signals = Hands(MORNING), RememberedSignals()
        self.database = dataclasses.replace(self.world.database, clock=self.clock, signals=self.signals)
        self.tenant = a_tenant(self.database, "Machine")
        self.actor = self.tenant.manager
        self.enabled = {
            a_config(self.database, self.actor, config={"locations": ["Germany"], "batchSize": 1}): (True, 1)
            for _ in range(2)
        }
        self.runs: dict[str, Model] = {}
        self.puppets: list[Puppet] = []
        self.messages: list[datetime] = []
        self.on, self.limit = True, 2
        self.excused = False  # a message was lost, or time alone made a run due: the sweep's to mend
        rows(self.database, self.actor, "UPDATE customers SET max_concurrent_runs = 2 RETURNING id")

    @property
    def now(self) -> datetime:
        return self.clock.moment

    @initialize(runs=st.integers(2, 5), limit=st.integers(1, 2))
    def begin(self, runs: int, limit: int) -> None:
        """More workers come than there are slots."""
        self.change_the_limit(limit)
        for which in range(runs):
            self.start(which, Trigger.MANUAL)
        self.no_wake_up_is_lost()
        for _ in range(limit + 1):
            self.visit()

    # What people do

    @rule(which=ANY, trigger=st.sampled_from([Trigger.MANUAL, Trigger.SCHEDULED]))
    def start(self, which: int, trigger: Trigger) -> None:
        config = list(self.enabled)[which % 2]
        try:
            with self.database.enter(self.actor) as work:
                run = start.start(work, agent_type=None, config_id=config, inputs={}, trigger=trigger)
        except Conflict:
            assert not self.enabled[config][0]
        else:
            handicap = BACKGROUND_HANDICAP if trigger is Trigger.SCHEDULED else timedelta()
            self.runs[run.id] = Model(run.id, config, self.now, self.now + handicap, self.now)

    @precondition(lambda self: self.runs)
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        run = self._run(which)
        try:
            with self.database.enter(self.actor) as work:
                start.cancel(work, RunId(run.id))
        except Conflict:
            assert run.status in FINAL
        else:
            run.cancel = True
            if run.status == "pending":
                run.end("cancelled")

    @precondition(lambda self: any(run.status in FINAL for run in self.runs.values()))
    @rule(which=ANY, from_checkpoints=st.booleans())
    def replay(self, which: int, *, from_checkpoints: bool) -> None:
        over = [run for run in self.runs.values() if run.status in FINAL]
        old = over[which % len(over)]
        try:
            with self.database.enter(self.actor) as work:
                run = start.replay(work, RunId(old.id), from_checkpoints=from_checkpoints)
        except Conflict:
            assert not self.enabled[old.config][0]  # type: ignore[index]
        else:
            self.runs[run.id] = Model(run.id, old.config, self.now, self.now, self.now)
            if from_checkpoints:
                self.runs[run.id].recorded = old.recorded - {"enrich"}

    @rule(which=ANY)
    def enable_or_disable(self, which: int) -> None:
        """Two in three enable: a machine whose agents are disabled does little."""
        config = list(self.enabled)[which % 2]
        enabled, version = self.enabled[config]
        if enabled and which % 3:
            return
        with self.database.enter(self.actor) as work:
            agents.change(work, config, version=version, changes={"enabled": not enabled})
        self.enabled[config] = (not enabled, version + 1)
        for run in self.runs.values():
            if enabled and (run.config, run.status) == (config, "pending"):
                run.cancel = True
                run.end("cancelled")

    @rule(off=st.sampled_from([False, False, True]))
    def switch(self, *, off: bool) -> None:
        if self.on and not off:
            return
        self.on = not self.on
        with self.database.enter(self.actor) as work:
            work.session.execute(text("UPDATE customers SET agents_enabled = :on"), {"on": self.on})
            if self.on:
                work.ring()

    @rule(limit=st.integers(1, 3))
    def change_the_limit(self, limit: int) -> None:
        self.limit = limit
        with self.database.enter(self.actor) as work:
            work.session.execute(text("UPDATE customers SET max_concurrent_runs = :most"), {"most": limit})
            work.ring()

    # What time and the doorbell do

    @rule(by=st.sampled_from([1, 5, 10, 30, 61, 121, 600, 1200, 3600, 73 * 3600]))
    def pass_time(self, by: int) -> None:
        before = self.now
        self.clock.forward(by)
        self.excused |= any(
            run.asks_nobody and run.status == "pending" and before < run.due_at <= self.now
            for run in self.runs.values()
        )

    @precondition(lambda self: self.messages)
    @rule()
    def lose_a_message(self) -> None:
        self.messages.pop(0)
        self.excused = True

    @rule()
    def sweep(self) -> None:
        (queue,) = rows(self.database, self.actor, "SELECT rung_at FROM tenant_queues")
        Sweep(self.database, Relay(self.database, [])).every_minute(lambda: timedelta(minutes=1))
        rings = any(customer_id == self.tenant.customer_id for customer_id, _ in self.signals.rings)
        unheard = queue.rung_at is None or queue.rung_at <= self.now - PATIENCE
        self._take_back()
        for run in self.runs.values():
            if run.status == "pending" and run.created_at <= self.now - OLDEST:
                run.end("failed", "too_old")
            elif run.status == "pending" and not self.enabled[run.config][0]:  # type: ignore[index]
                run.end("cancelled")
        assert rings == (unheard and self._can_work())
        self.excused &= not rings

    # What workers do

    @rule()
    def visit(self) -> None:
        """A worker answers a message; or comes for nothing, since messages are delivered twice."""
        due = [at for at in self.messages if at <= self.now]
        if due:
            self.messages.remove(due[0])
        run = self._claims()
        puppet = Puppet(self.database, self.tenant.customer_id)
        if run is None:
            assert puppet.calling is None
        else:
            run.worker = puppet
            self._goes_on(run)
            assert puppet.calling == self._calls(run)
        if puppet.calling:
            self.puppets.insert(0, puppet)
        self.excused = False

    @precondition(lambda self: any(run.worker in self.puppets for run in self.runs.values()))
    @rule(which=ANY, times=st.integers(0, SEARCHES + 1))
    def take_over(self, which: int, times: int) -> None:
        """A lease runs out and another worker comes; the first goes on, now or later, and must not be heard."""
        held = [run.worker for run in self.runs.values() if run.worker in self.puppets]
        first = held[which % len(held)]
        self.pass_time(int(LEASE.total_seconds()))
        self.visit()
        for _ in range(times):
            if first in self.puppets:
                self._give(self.puppets.index(first))

    @precondition(lambda self: self.puppets)
    @rule(which=ANY, times=st.integers(1, SEARCHES + 1))
    def give(self, which: int, times: int) -> None:
        """Some calls of one worker are answered; the last to come is the first."""
        if not self.puppets:
            return
        puppet = self.puppets[which % len(self.puppets)]
        for _ in range(times):
            if puppet in self.puppets:
                self._give(self.puppets.index(puppet))

    @rule()
    def come_and_do_it_all(self) -> None:
        self.visit()
        self.give(0, SEARCHES + 1)

    @precondition(lambda self: self.puppets)
    @rule(which=ANY)
    def give_at_the_end_of_the_slice(self, which: int) -> None:
        self._give(which, over=True)

    def _give(self, which: int, *, over: bool = False) -> None:
        puppet, call, run = self._tell(which, Word(slice_is_over=over))
        if run is not None and call == "enrich":
            run.record("enrich")
            run.succeeded = 1
            run.end("completed")
        elif run is not None:
            run.record(call)
            run.lease_ends = self.now + LEASE
            if over:
                run.give_back(self.now, run.failures)
            elif run.cancel:
                run.end("cancelled")
            elif not self.on:
                self._waits(run, SWITCHED_OFF, run.failures)
            else:
                self._goes_on(run)
                assert puppet.calling == self._calls(run)

    @precondition(lambda self: self.puppets)
    @rule(which=ANY, seconds=st.sampled_from([0, 10, 600, 1200]))
    def be_busy(self, which: int, seconds: int) -> None:
        _, _, run = self._tell(which, Word("busy", timedelta(seconds=seconds)))
        if run is not None:
            self._waits(run, timedelta(seconds=seconds), run.failures)

    @precondition(lambda self: self.puppets)
    @rule(which=ANY, how=st.sampled_from(["kill", "kill", "bug", "bug", "bug", "reject"]))
    def go_wrong(self, which: int, how: str) -> None:
        """A bug in a search is the run's; in an item it is the item's."""
        _, call, run = self._tell(which, Word(how))
        if run is None or how == "kill":
            return
        if how == "reject":
            run.end("failed", "credential_rejected")
        elif call == "enrich":
            run.record("enrich")
            run.failed = 1
            run.end("completed")
        elif run.failures + 1 >= FAILURES_IN_A_ROW:
            run.end("failed", "internal")
        else:
            self._waits(run, backoff(run.failures + 1), run.failures + 1)

    # What must hold

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        found = {row.id: row for row in rows(self.database, self.actor, RUNS)}
        assert found.keys() == self.runs.keys()
        for run in self.runs.values():
            row = found[run.id]
            assert (row.status, row.error_code, row.failures) == (run.status, run.code, run.failures)
            assert row.lease_expires_at == run.lease_ends
            assert sorted(row.steps or []) == sorted(self._real(run.recorded, row.steps or []))
            assert (row.items_succeeded, row.items_failed) == (run.succeeded, run.failed)
            assert row.items_processed == run.succeeded + run.failed
            assert (row.cancel_requested_at is not None) == run.cancel
            assert row.told == run.told
            reserved = Counter(row.entries or [])["reserved"]
            assert reserved == (run.status == "running"), "booked if and only if somebody may be calling"
            assert run.status != "pending" or row.due_at == run.due_at

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        """Work that can be done has a message on its way, unless one was lost or only time made it due."""
        for customer_id, delay in self.signals.rings:
            if customer_id == self.tenant.customer_id:
                self.messages.append(self.now + delay)
        self.signals.rings.clear()
        (queue,) = rows(self.database, self.actor, "SELECT rung_at FROM tenant_queues")
        if not self.excused and (queue.rung_at is not None or self._can_work()):
            assert any(at <= self.now for at in self.messages)

    def teardown(self) -> None:
        while self.puppets:
            self._tell(0, Word("kill"))
        self.watch.check({self.tenant.customer_id})
        with self.database.enter(engine_for(self.tenant.customer_id)) as work:
            items = work.session.execute(
                text("SELECT count(*) AS n, count(DISTINCT dedupe_key) AS keys FROM approval_items")
            ).one()
            work.session.execute(text(ABANDON))
        assert items.n == items.keys

    # The model

    def _run(self, which: int) -> Model:
        return list(self.runs.values())[which % len(self.runs)]

    def _can_work(self) -> bool:
        """A run is due, a slot is free, and agents are switched on."""
        running = sum(run.status == "running" for run in self.runs.values())
        due = any(run.status == "pending" and run.due_at <= self.now for run in self.runs.values())
        return due and self.on and running < self.limit

    def _claims(self) -> Model | None:
        """The run that the next claim takes, after what it ends."""
        self._take_back()
        if not self.on:
            return None
        while sum(run.status == "running" for run in self.runs.values()) < self.limit:
            due = [run for run in self.runs.values() if run.status == "pending" and run.due_at <= self.now]
            if not due:
                return None
            run = min(due, key=lambda run: (run.queue_at, run.id))
            if run.created_at <= self.now - OLDEST:
                run.end("failed", "too_old")
            elif not self.enabled[run.config][0]:  # type: ignore[index]
                run.end("cancelled")
            else:
                run.status, run.progressed, run.lease_ends = "running", False, self.now + LEASE
                run.claimed += 1
                return run
        return None

    def _take_back(self) -> None:
        """The runs of workers that are silent, as claims and the sweep do it."""
        running = sorted(
            (run for run in self.runs.values() if run.status == "running"), key=lambda run: run.id
        )
        for run in running:
            if run.lease_ends is not None and run.lease_ends <= self.now:
                failures = run.failures + (not run.progressed)
                if run.cancel:
                    run.end("cancelled")
                elif failures >= FAILURES_IN_A_ROW:
                    run.end("failed", "worker_lost")
                else:
                    run.give_back(run.due_at, failures)

    def _goes_on(self, run: Model) -> None:
        """Up to its next call, with everything before it recorded."""
        call = self._calls(run)
        before = STEPS[: STEPS.index(call)] if call in STEPS else STEPS
        run.record(*before)

    def _calls(self, run: Model) -> str:
        return next((key for key in STEPS if key.startswith("search") and key not in run.recorded), "enrich")

    def _waits(self, run: Model, wait: timedelta, failures: int) -> None:
        run.give_back(self.now + wait, failures)
        run.asks_nobody = wait > LONGEST_MESSAGE_DELAY

    def _tell(self, which: int, word: Word) -> tuple[Puppet, str, Model | None]:
        """Let a worker's call end so. The run is the one it holds, or None where it lost it or dies."""
        puppet = self.puppets[which % len(self.puppets)]
        call = puppet.calling or ""
        run = next((run for run in self.runs.values() if run.worker is puppet), None)
        puppet.tell(word)
        if puppet.calling is None:
            self.puppets.remove(puppet)
        return puppet, call, run

    @staticmethod
    def _real(recorded: set[str], keys: list[str]) -> list[str]:
        """The names of steps as the database has them: an item's holds its domain."""
        return [
            next((k for k in keys if k.startswith("enrich")), key) if key == "enrich" else key
            for key in recorded
        ]


@pytest.mark.slow
def test_a_run_does_what_its_model_does(world: World, postgres: Postgres, database_name: str) -> None:
    watch = Watch(postgres, database_name)
    watch.begin()
    machine = type("Machine", (RunMachine,), {"world": world, "watch": watch})
    explores = settings.get_current_profile_name() == "explore"
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=2000 if explores else 60,
            stateful_step_count=50 if explores else 40,
            derandomize=not explores,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
