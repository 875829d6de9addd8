"""A worker's visit to one tenant: claim the best due run, work on it for a slice, give it back or end it.

The transaction that ends a run soon after the worker came takes the tenant's next one, too (ADR 0010).
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from chalicelib import tracing
from chalicelib.agents import registry
from chalicelib.agents.base import Agent
from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor, engine_for
from chalicelib.domain.errors import AppError, Invalid, LeaseLost, LimitReached, ProviderBusy
from chalicelib.domain.ids import CustomerId, RunId, new_id
from chalicelib.domain.runs import FAILURES_IN_A_ROW, TROUBLE, RunStatus, Trigger, backoff
from chalicelib.faults import Point, reach
from chalicelib.services.approvals.propose import Origin
from chalicelib.services.runs.context import Deadline, DurableRun, Providers
from chalicelib.services.runs.record import Step
from chalicelib.services.runs.stops import CancelRequested, Enough, SwitchedOff, Yielded
from chalicelib.services.triggers import take_events

logger = logging.getLogger(__name__)

LONGEST_MESSAGE_DELAY = timedelta(minutes=15)
"""SQS's own; waits beyond it are the sweep's."""
MOST_ERRORS_TOLD = 100
SWITCHED_OFF = timedelta(minutes=1)
STAY: Final = timedelta(milliseconds=250)
"""A visit takes further runs of its tenant for so long; then the others' messages have their turn."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Executes runs. `providers` gives a tenant's way to the outside, or raises why there is none."""

    database: Database
    providers: Callable[[CustomerId], Providers]
    clock: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)
    stay: timedelta = STAY

    def visit(self, customer_id: CustomerId, function_left: Callable[[], timedelta]) -> list[RunId]:
        """Work on one run of this tenant for a slice; if it ends within `stay`, on the next, too. Returns which."""
        actor = engine_for(customer_id)
        stays_until = self.clock() + self.stay.total_seconds()
        visited: list[RunId] = []
        reach(Point.BEFORE_CLAIM)
        claimed = self._claim(actor)
        reach(Point.AFTER_CLAIM)
        while claimed is not None:
            run_id = RunId(claimed.row.id)
            visited.append(run_id)
            visit = _Visit(self, actor, claimed.row, queries.Lease(run_id, claimed.token), stays_until)
            try:
                visit.work_or_retreat(self._deadline(function_left))
            except LeaseLost:
                logger.info("the run is somebody else's now", extra={"run_id": run_id})
            claimed = visit.next
        return visited

    def _claim(self, actor: Actor) -> "_Claimed | None":
        settings = self.database.settings
        token = new_id("RunId")
        with self.database.enter(actor) as work:
            row = queries.claim(
                work.connection,
                token=token,
                limit=settings.agents_max_concurrent_runs,
                enabled=settings.agents_enabled,
                sinks=settings.event_sinks,
            )
            work.rung = bool(row.rings)
            work.emitted = bool(row.told)
        return None if row.id is None else _Claimed(row, token)

    def _deadline(self, function_left: Callable[[], timedelta]) -> Deadline:
        seconds = self.database.settings.run_slice_seconds
        return Deadline(self.clock() + seconds, function_left, self.clock)


@dataclass(frozen=True, slots=True)
class _Claimed:
    row: Any
    token: str


@dataclass(slots=True)
class _Visit:
    """One slice of one run."""

    engine: Engine
    actor: Actor
    row: Any  # as the claim left it
    lease: queries.Lease
    stays_until: float  # by the engine's clock
    run: DurableRun | None = None
    next: _Claimed | None = None  # what the transaction that ended this one took

    def work_or_retreat(self, deadline: Deadline) -> None:
        """Work; where the database refuses what came of it, give that up and try again later, counted."""
        try:
            self.work(deadline)
        except DBAPIError as error:
            queries.raise_if_lost(error)
            logger.exception("the database refused what a run wrote", extra={"run_id": self.row.id})
            if self.run is not None:
                self.run.give_up()
            self._back_off(self.run)

    def work(self, deadline: Deadline) -> None:
        """Run the agent, and whatever comes of it leave the run in a state somebody goes on from."""
        with tracing.joined("run", self.row.causation.get("trace")) as span:
            span.annotations |= {
                "run_id": self.row.id,
                "agent_type": self.row.agent_type,
                "attempt": self.row.attempt,
            }
            tracing.past("queue", began=self.row.due_at.timestamp(), ended=span.began)
            self._work(deadline)

    def _work(self, deadline: Deadline) -> None:
        run: DurableRun | None = None
        try:
            agent = registry.find(self.row.agent_type)
            run = self._context(deadline)
            self._run_agent(agent, run, self._input())
            self._end(RunStatus.COMPLETED, run)
        except (LeaseLost, DBAPIError):
            raise
        except Yielded:
            self._give_back(run, timedelta(), None)
        except SwitchedOff:
            self._give_back(run, SWITCHED_OFF, "Agents are switched off.")
        except CancelRequested:
            self._end(RunStatus.CANCELLED, run)
        except Enough as enough:
            if run is not None:
                run.note(stoppedBy="daily_limit", message=str(enough))
            self._end(RunStatus.COMPLETED, run)
        except (ProviderBusy, LimitReached) as busy:
            wait = timedelta(minutes=1) if busy.retry_after is None else busy.retry_after
            self._give_back(run, wait, busy.message)
        except AppError as refused:
            logger.info("a run ended with a refusal", extra={"run_id": self.row.id, "code": refused.code})
            self._end(RunStatus.FAILED, run, refused)
        except Exception:
            logger.exception("a run met a bug", extra={"run_id": self.row.id})
            self._back_off(run)

    def _input(self) -> dict[str, Any]:
        """The run's own, or what gathered for it until now."""
        given: dict[str, Any] = self.row.input
        if self.row.trigger != Trigger.EVENT or given or self.row.agent_config_id is None:
            return given
        return take_events(
            self.engine.database,
            self.actor,
            self.lease,
            config_id=self.row.agent_config_id,
            agent_type=self.row.agent_type,
        )

    def _run_agent(self, agent: Agent, run: DurableRun, given: dict[str, Any]) -> None:
        try:
            config, inputs = (
                agent.config.model_validate(self.row.config),
                agent.input.model_validate(given),
            )
        except ValidationError:
            raise Invalid(
                "This agent has changed since the run was accepted, and its settings no longer fit. Save the agent"
                " again, then start a new run.",
                code="config_outdated",
            ) from None
        try:
            agent.run(run, inputs, config)
        finally:
            try:
                agent.cleanup()
            except Exception:
                logger.exception("cleanup failed", extra={"run_id": self.row.id})

    def _context(self, deadline: Deadline) -> DurableRun:
        origin = Origin(
            run_id=self.lease.run_id,
            agent_type=self.row.agent_type,
            config_id=self.row.agent_config_id,
            owner_id=self.row.owner_id,
            starter_id=self.row.requested_by,
            expiry=timedelta(hours=self.row.approval_expiry_hours),
            approval_required=self.row.approval_required,
            causation=self.row.causation,
        )
        self.run = DurableRun(
            database=self.engine.database,
            actor=self.actor,
            lease=self.lease,
            origin=origin,
            find_providers=partial(self.engine.providers, self.actor.customer_id),
            deadline=deadline,
            sleep=self.engine.sleep,
        )
        if self.row.attempt > 1:
            self._recall(self.run)
        return self.run

    def _recall(self, run: DurableRun) -> None:
        """What earlier slices did, and which calls they tried in vain."""
        with self.engine.database.enter(self.actor) as work:
            rows = queries.steps(work.session, self.actor.scope, self.lease.run_id)
            tries = queries.tries(work.session, self.actor.scope, self.lease.run_id, TROUBLE)
        steps = [
            Step(row.key, row.input_hash, row.output, row.error, row.error_code, item=row.item)
            for row in rows
        ]
        run.recall(steps, tries)

    def _give_back(self, run: DurableRun | None, due: timedelta, reason: str | None) -> None:
        """To the queue, due later; waiting is no failure."""
        self._hand_over(run, due, reason, failures=0 if run and run.has_progressed else self.row.failures)

    def _back_off(self, run: DurableRun | None) -> None:
        """After a bug: try again later, at most FAILURES_IN_A_ROW times without progress."""
        failures = 1 if run and run.has_progressed else self.row.failures + 1
        if failures >= FAILURES_IN_A_ROW:
            said = AppError(
                f"The agent failed {failures} times in a row for a reason of its own, which has been logged."
                " Try again later; if it happens again, tell support this run's id.",
                code="internal",
            )
            self._end(RunStatus.FAILED, run, said)
        else:
            self._hand_over(
                run, backoff(failures), "Something unexpected happened; trying again.", failures=failures
            )

    def _hand_over(
        self, run: DurableRun | None, due: timedelta, reason: str | None, *, failures: int
    ) -> None:
        settings = self.engine.database.settings
        if run is not None:
            run.write_proposals()
        with self._fenced() as work:
            if run is not None and run.unwritten:
                queries.fence(work.connection, self.lease, queue=True)
                run.write_rest(work)
            row = queries.give_back(
                work.connection,
                self.lease,
                due=due,
                reason=reason,
                failures=failures,
                limit=settings.agents_max_concurrent_runs,
                sinks=settings.event_sinks,
            )
            work.rung, work.emitted = bool(row.rings), bool(row.ended)
        if not row.ended and timedelta() < due <= LONGEST_MESSAGE_DELAY:
            self.engine.database.signals.ring(self.actor.customer_id, delay=due)

    def _end(self, status: RunStatus, run: DurableRun | None, refused: AppError | None = None) -> None:
        settings = self.engine.database.settings
        if run is not None:
            run.write_proposals()
        token = new_id("RunId") if self.engine.clock() < self.stays_until else None
        reach(Point.BEFORE_END)
        with self._fenced() as work:
            row = queries.finish(
                work.connection,
                self.lease,
                queries.Written() if run is None else run.rest(),
                status=status.value,
                output=None if run is None else _output(run, success=status is RunStatus.COMPLETED),
                code=refused.code if refused else None,
                error=refused.message if refused else None,
                next_token=token,
                limit=settings.agents_max_concurrent_runs,
                enabled=settings.agents_enabled,
                sinks=settings.event_sinks,
            )
            work.rung, work.emitted = bool(row.rings), True
        if token is not None and row.id is not None:
            self.next = _Claimed(row, token)
        reach(Point.AFTER_END)

    @contextmanager
    def _fenced(self) -> Iterator[Work]:
        """The transaction that lets go of the run, once it knows that nobody else has it."""
        try:
            with self.engine.database.enter(self.actor) as work:
                yield work
        except DBAPIError as error:
            queries.raise_if_lost(error)
            raise


def _output(run: DurableRun, *, success: bool) -> dict[str, Any]:
    """The run's output, with the plan's fields; what an agent noted stands beside them. The ids of its approval
    items are added where it is stored.
    """
    failed = [step for step in run.recorded.values() if step.error is not None]
    return {
        "success": success,
        "itemsProcessed": run.counters.processed,
        "itemsSucceeded": run.counters.succeeded,
        "itemsFailed": run.counters.failed,
        "results": [{"key": step.key} for step in run.recorded.values() if step.item and step.error is None][
            :1000
        ],
        "errors": [{"item": step.key, "error": step.error} for step in failed[:MOST_ERRORS_TOLD]],
        **run.notes,
    }
