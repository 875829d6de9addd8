"""A run as its agent sees it, made durable.

The main thread alone talks to the database. Before anything is done, one transaction fences, writes the
results so far (with what they propose) and books the calls to come; then the calls are made, at most
IN_FLIGHT of them in flight or unwritten.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from chalicelib.agents.base import Call, CrmReader, Proposal
from chalicelib.db.driver import Deferred
from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor
from chalicelib.domain.errors import AppError, CredentialRejected, OutOfCredit, ProviderBusy
from chalicelib.domain.money import Quote
from chalicelib.domain.ports import Caller, CompanySource, LanguageModel
from chalicelib.domain.runs import IN_FLIGHT, LONGEST_CALL
from chalicelib.faults import Point, reach
from chalicelib.services import crm
from chalicelib.services.approvals.propose import Origin, propose
from chalicelib.services.runs.record import Reserved, Step, Unwritten, check_same, decode, encode, fingerprint

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

ENDS_THE_RUN = (CredentialRejected, OutOfCredit)
"""Errors of one item that every other item would meet, too."""


FUNCTION_RESERVE = timedelta(seconds=20)
"""Kept of the function's time to write results and give the run back."""


class Yielded(Exception):
    """The slice is over; the run goes back to the queue."""


class SwitchedOff(Exception):
    """The tenant's agents were switched off while the run was at work."""


class CancelRequested(Exception):
    """Somebody asked the run to stop."""


@dataclass(frozen=True, slots=True)
class Providers:
    """The tenant's way to the outside."""

    companies: CompanySource
    model: LanguageModel


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long this worker may go on: until the slice is over, or the function nearly is."""

    slice_ends: float  # by `clock`
    function_left: Callable[[], timedelta]
    clock: Callable[[], float] = time.monotonic

    def slice_is_over(self) -> bool:
        return self.clock() >= self.slice_ends or self.function_left() < FUNCTION_RESERVE

    def call_timeout(self) -> timedelta:
        """What a call that starts now may take, so that its result can still be written."""
        return max(min(LONGEST_CALL, self.function_left() - FUNCTION_RESERVE / 2), timedelta(seconds=1))


@dataclass(slots=True)
class Counters:
    processed: int = 0
    succeeded: int = 0
    failed: int = 0

    def count(self, step: Step) -> None:
        if step.item:
            self.processed += 1
            self.succeeded += step.error is None
            self.failed += step.error is not None


@dataclass(slots=True)
class DurableRun:
    """Implements RunContext."""

    database: Database
    actor: Actor
    lease: queries.Lease
    origin: Origin
    providers: Providers
    deadline: "Deadline"
    recorded: dict[str, Step]
    unwritten: Unwritten = field(default_factory=Unwritten)
    counters: Counters = field(default_factory=Counters)
    notes: dict[str, Any] = field(default_factory=dict)
    has_progressed: bool = False  # a step was recorded in this slice
    _total: int | None = None

    def __post_init__(self) -> None:
        for step in self.recorded.values():
            self.counters.count(step)

    # What agents call

    def step(
        self,
        key: str,
        work: Callable[[Call], Result],
        *,
        returns: type[Result],
        inputs: object = None,
        pays: Quote | None = None,
    ) -> Result:
        input_hash = fingerprint(inputs)
        if (done := self._done(key, input_hash)) is not None:
            return decode(done.output, returns)
        reserved = [Reserved.of(key, pays)] if pays else []
        self._checkpoint(reserved, current_step=key)
        outcome = self._perform(lambda call: encode(work(call), returns), reserved[0] if reserved else None)
        if reserved:
            self.unwritten.settled.append(reserved[0].settled(outcome.error))
        if outcome.error is not None:
            raise outcome.error
        self._remember(Step(key, input_hash, outcome.output, duration_ms=outcome.duration_ms))
        return decode(outcome.output, returns)

    def look_up(
        self, key: str, read: Callable[[CrmReader], Result], *, returns: type[Result], inputs: object = None
    ) -> Result:
        input_hash = fingerprint(inputs)
        if (done := self._done(key, input_hash)) is not None:
            return decode(done.output, returns)
        self._stop_if_due()
        with self._fenced(current_step=key) as work:
            output = encode(read(crm.Reader(work)), returns)
        self._remember(Step(key, input_hash, output))
        return decode(output, returns)

    def map(
        self,
        items: Sequence[Item],
        *,
        key: Callable[[Item], str],
        work: Callable[[Call, Item], Result],
        returns: type[Result],
        pays: Quote | None = None,
        propose: Callable[[Item, Result], Proposal | None] = lambda _item, _result: None,
        concurrency: int = IN_FLIGHT,
    ) -> list[Result]:
        keyed = {key(item): item for item in items}
        hashes = {name: fingerprint(item) for name, item in keyed.items()}
        todo = [name for name in keyed if self._done(name, hashes[name]) is None]
        self._total = self.counters.processed + len(todo)
        if todo:
            self._run_window(
                todo,
                lambda name, call: encode(work(call, keyed[name]), returns),
                hashes=hashes,
                pays=pays,
                propose=lambda name, output: propose(keyed[name], decode(output, returns)),
                concurrency=min(concurrency, IN_FLIGHT),
            )
        return [decode(step.output, returns) for name in keyed if (step := self.recorded[name]).error is None]

    def note(self, **facts: Any) -> None:
        self.notes.update(facts)

    # The window

    def _run_window(
        self,
        todo: list[str],
        work: Callable[[str, Call], Any],
        *,
        hashes: dict[str, str],
        pays: Quote | None,
        propose: Callable[[str, Any], Proposal | None],
        concurrency: int,
    ) -> None:
        """Keep up to `concurrency` calls in flight; after each group that ends, one transaction."""
        waiting = list(reversed(todo))
        in_flight: dict[Future[Outcome], tuple[str, Reserved | None]] = {}
        stop: BaseException | None = None
        with ThreadPoolExecutor(concurrency, thread_name_prefix="call") as pool:
            while waiting or in_flight:
                try:
                    if stop is None:
                        self._stop_if_due()
                        names = [
                            waiting.pop() for _ in range(min(concurrency - len(in_flight), len(waiting)))
                        ]
                        booked = [Reserved.of(name, pays) if pays else None for name in names]
                        self._checkpoint(
                            [entry for entry in booked if entry], current_step=names[0] if names else None
                        )
                        for name, entry in zip(names, booked, strict=True):
                            in_flight[pool.submit(self._perform, partial(work, name), entry)] = (name, entry)
                except (Yielded, SwitchedOff, CancelRequested, ProviderBusy) as why:
                    stop = why
                if not in_flight:
                    break
                ended, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in ended:
                    name, entry = in_flight.pop(future)
                    stop = self._take_in(name, entry, future.result(), hashes[name], propose) or stop
        if stop is not None:
            raise stop

    def _take_in(
        self,
        name: str,
        entry: "Reserved | None",
        outcome: "Outcome",
        input_hash: str,
        propose: Callable[[str, Any], Proposal | None],
    ) -> BaseException | None:
        """Note one call's result. Returns what the whole run has to stop for, if anything."""
        if entry:
            self.unwritten.settled.append(entry.settled(outcome.error))
        proposal: Proposal | None = None
        error = outcome.error
        if isinstance(error, (ProviderBusy, *ENDS_THE_RUN)):
            return error
        if error is None:
            try:
                proposal = propose(name, outcome.output)
            except Exception as wrong:  # noqa: BLE001 - one bad item fails that item only
                error = wrong
        if error is None:
            self._remember(
                Step(name, input_hash, outcome.output, item=True, duration_ms=outcome.duration_ms), proposal
            )
            return None
        if not isinstance(error, AppError):
            logger.error("an item failed unexpectedly", exc_info=error, extra={"step": name})
        message, code = (
            (error.message, error.code)
            if isinstance(error, AppError)
            else ("This item could not be worked on: something unexpected was in it.", "unexpected")
        )
        failed = Step(name, input_hash, None, message, code, item=True, duration_ms=outcome.duration_ms)
        self._remember(failed)
        return None

    def _perform(self, work: Callable[[Call], Any], entry: "Reserved | None") -> "Outcome":
        """Make one call, on any thread. Never raises."""
        started = time.monotonic()
        caller = Caller(
            meter=entry.meter if entry else Reserved.of("", Quote("", "")).meter,
            timeout=self.deadline.call_timeout(),
            call_id=entry.id if entry else "",
        )
        reach(Point.BEFORE_CALL)
        try:
            output, error = work(Call(caller, self.providers.companies, self.providers.model)), None
        except Exception as wrong:  # noqa: BLE001 - handed to the main thread, which decides
            output, error = None, wrong
        reach(Point.AFTER_CALL)
        return Outcome(output, error, round((time.monotonic() - started) * 1000))

    # The record

    def _done(self, key: str, input_hash: str) -> Step | None:
        step = self.recorded.get(key)
        if step is not None:
            check_same(step, input_hash)
        return step

    def _remember(self, step: Step, proposal: Proposal | None = None) -> None:
        self.recorded[step.key] = step
        self.counters.count(step)
        self.unwritten.steps.append((step, proposal))

    def _stop_if_due(self) -> None:
        if self.deadline.slice_is_over():
            raise Yielded

    def _checkpoint(self, reserved: list[Reserved], *, current_step: str | None) -> None:
        """Write what is unwritten and book what comes, or find out that the run has to stop."""
        self._stop_if_due()
        with self._fenced(reserved, current_step=current_step):
            pass

    @contextmanager
    def _fenced(self, reserved: Sequence[Reserved] = (), *, current_step: str | None) -> Iterator[Work]:
        """A fenced transaction that writes what is unwritten and books what comes; then, whether to stop."""
        reach(Point.BEFORE_CHECKPOINT)
        try:
            with self.database.enter(self.actor) as work:
                queries.fence(work.session, self.lease)
                answered = self._write(work, reserved, current_step=current_step)
                yield work
        except DBAPIError as error:
            queries.raise_if_lost(error)
            raise
        self.has_progressed = self.has_progressed or bool(self.unwritten.steps)
        self.unwritten = Unwritten()
        reach(Point.AFTER_CHECKPOINT)
        orders = queries.orders(answered)
        if orders.cancel_requested or not orders.agents_enabled:
            self.unwritten.settled.extend(entry.settled(None) for entry in reserved)
            raise CancelRequested if orders.cancel_requested else SwitchedOff

    def _write(self, work: Work, reserved: Sequence[Reserved], *, current_step: str | None) -> Deferred:
        births = propose(work, self.origin, [proposal for _, proposal in self.unwritten.steps if proposal])
        outcomes = iter(births)
        return queries.checkpoint(
            work.session,
            self.lease,
            steps=[
                step.as_row(next(outcomes).as_json() if proposal else None)
                for step, proposal in self.unwritten.steps
            ],
            settled=self.unwritten.settled,
            reserved=[entry.as_row() for entry in reserved],
            current_step=current_step,
            total=self._total,
        )

    def finish(self) -> None:
        """Write what is left before the run is let go of; a request to stop comes too late by then."""
        if self.unwritten:
            with suppress(CancelRequested, SwitchedOff), self._fenced(current_step=None):
                pass

    def give_up(self) -> None:
        """Forget what could not be written; its calls are booked as unknown when the run is let go of."""
        self.unwritten = Unwritten()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call."""

    output: Any
    error: Exception | None
    duration_ms: int
