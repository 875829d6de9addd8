"""A run as its agent sees it, made durable.

The main thread alone talks to the database. Before anything is done, one transaction fences, writes the
results so far (with what they propose) and books the calls to come, if every gate lets them pass; then the
calls are made, at most IN_FLIGHT of them in flight or unwritten.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError

from chalicelib import tracing
from chalicelib.agents.base import Call, CrmReader, Ports, Proposal
from chalicelib.db.driver import Deferred
from chalicelib.db.queries import facts
from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor
from chalicelib.domain.errors import (
    BudgetReached,
    CredentialRejected,
    LimitReached,
    ProviderBusy,
    ProviderFailed,
)
from chalicelib.domain.facts import Keeps
from chalicelib.domain.integrations import Held
from chalicelib.domain.money import Gate, Meter, Quote, Refusal, Terms
from chalicelib.domain.providers import Caller, CompanySource, LanguageModel, PeopleSource
from chalicelib.domain.runs import IN_FLIGHT, LONGEST_CALL, TRIES, TROUBLE, backoff
from chalicelib.faults import Point, reach
from chalicelib.integrations.not_configured import NotConfigured
from chalicelib.services import crm
from chalicelib.services.approvals.propose import Origin, propose
from chalicelib.services.runs.memory import Asked, Fact, Memory, Place
from chalicelib.services.runs.record import (
    Reserved,
    Step,
    Unwritten,
    check_same,
    decode,
    encode,
    fingerprint,
    fits,
)
from chalicelib.services.runs.stops import CancelRequested, Enough, SwitchedOff, Yielded
from chalicelib.services.runs.window import Window

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

FUNCTION_RESERVE = timedelta(seconds=20)
"""Kept of the function's time to write results and give the run back."""


SHORT_WAIT: Final = timedelta(seconds=2)
"""Waits up to this are slept; longer ones give the run back."""


NO_PEOPLE: Final = NotConfigured("Apollo.io")


@dataclass(frozen=True, slots=True)
class Providers:
    """The tenant's way to the outside."""

    companies: CompanySource
    model: LanguageModel
    terms: Mapping[str, Terms] = MappingProxyType({})  # by provider
    people: PeopleSource = NO_PEOPLE
    held: Mapping[str, Held] = MappingProxyType({})  # the tenant's own keys, by provider
    renew: "Callable[[CredentialRejected], Providers | None]" = field(
        default=lambda _refused: None, repr=False
    )
    """After a refusal: others, if the tenant has changed a key since these were made."""

    def terms_of(self, quote: Quote) -> Terms:
        return self.terms.get(quote.provider, Terms())


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
    find_providers: Callable[[], Providers]  # asks the database; main thread only
    deadline: "Deadline"
    recorded: dict[str, Step] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)  # of a step's call that met a provider's trouble
    sleep: Callable[[float], None] = time.sleep
    unwritten: Unwritten = field(default_factory=Unwritten)
    counters: Counters = field(default_factory=Counters)
    notes: dict[str, Any] = field(default_factory=dict)
    _providers: Providers | None = None
    memory: Memory = field(init=False)
    _recorded_some: bool = False
    _total: int | None = None
    _moment: datetime | None = None  # of the latest transaction
    _marks: Mapping[str, datetime] | None = MappingProxyType({})  # of earlier slices; None: not looked up

    def __post_init__(self) -> None:
        self.memory = Memory(self.database.settings)

    @property
    def has_progressed(self) -> bool:
        """Whether a step was recorded in this slice, or is about to be."""
        return self._recorded_some or bool(self.unwritten.steps)

    @property
    def providers(self) -> Providers:
        """The tenant's, as its keys are when the run first calls somebody: a run that calls nobody looks for none."""
        if self._providers is None:
            self._providers = self.find_providers()
        return self._providers

    def recall(self, steps: Iterable[Step], tries: Mapping[str, int]) -> None:
        """Take over what earlier slices did, and how often they tried which calls in vain."""
        self.tries.update(tries)
        self._marks = None
        for step in steps:
            self.recorded[step.key] = step
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
        keeps: Keeps[Result] | None = None,
    ) -> Result:
        input_hash = fingerprint(inputs)
        if (done := self._done(key, input_hash)) is not None:
            return decode(done.output, returns)
        if keeps is not None and (fact := self._known(keeps, returns)) is not None:
            self.remember(Step(key, input_hash, fact.value, fact=fact))
            return decode(fact.value, returns)
        while True:
            entry = self._book_one(key, pays)
            outcome = self.perform(lambda call: encode(work(call), returns), entry)
            if (error := self.close(key, entry, outcome.error)) is None:
                break
            if not self.renews(outcome):
                raise error
        result = decode(outcome.output, returns)
        if keeps is not None:
            self.keep(keeps, result, outcome.output)
        self.remember(Step(key, input_hash, outcome.output, duration_ms=outcome.duration_ms))
        return result

    def look_up(
        self, key: str, read: Callable[[CrmReader], Result], *, returns: type[Result], inputs: object = None
    ) -> Result:
        input_hash = fingerprint(inputs)
        if (done := self._done(key, input_hash)) is not None:
            return decode(done.output, returns)
        self._stop_if_due()
        news, self.unwritten.news = (
            self.unwritten.news,
            [],
        )  # a bucket is everybody's: not to be held while we read
        with self._fenced(current_step=key) as (work, _):
            output = encode(read(crm.Reader(work)), returns)
        self.unwritten.news = news
        self.remember(Step(key, input_hash, output))
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
        keeps: Callable[[Item], Keeps[Result]] | None = None,
        concurrency: int = IN_FLIGHT,
        counts: bool = True,
    ) -> list[Result]:
        keyed = {key(item): item for item in items}
        hashes = {name: fingerprint(item) for name, item in keyed.items()}
        todo = [name for name in keyed if self._done(name, hashes[name]) is None]
        if counts:
            self._total = self.counters.processed + len(todo)
        asked = Asked.of({name: keeps(item) for name, item in keyed.items()} if keeps else {})
        Window(
            self,
            work=lambda name, call: encode(work(call, keyed[name]), returns),
            propose=lambda name, output: propose(keyed[name], decode(output, returns)),
            returns=returns,
            hashes=hashes,
            asked=asked,
            pays=pays,
            concurrency=min(concurrency, IN_FLIGHT),
            waiting=todo[::-1],
            counts=counts,
        ).go_through()
        return [decode(step.output, returns) for name in keyed if (step := self.recorded[name]).error is None]

    def remembered(self, key: str) -> datetime | None:
        step = self.recorded.get(key)
        if step is not None and step.fact is not None:
            return step.fact.fetched_at
        if self._marks is None:
            with self.database.enter(self.actor) as work:
                self._marks = facts.marked(work.session, self.actor.scope, self.lease.run_id)
        return self._marks.get(key)

    def note(self, **facts: Any) -> None:
        self.notes.update(facts)

    # What providers said before

    def _known(self, keeps: Keeps[Any], returns: type[Any]) -> Fact | None:
        """An answer that serves, of this run or an earlier one."""
        if self.memory.recall(keeps) is None:
            self.look([keeps])
        return self.recall_fact(keeps, returns)

    def look(self, asked: Iterable[Keeps[Any]]) -> None:
        """Look for what earlier runs were told, if there may be any; what is unwritten is written with it."""
        if wanted := self.memory.wanted(asked):
            self._checkpoint((), current_step=None, wanted=wanted)

    def recall_fact(self, keeps: Keeps[Any], returns: type[Any]) -> Fact | None:
        """An answer that is known here and can be read."""
        fact = self.memory.recall(keeps)
        if fact is not None and not fits(fact.value, returns):
            logger.info("a remembered answer is of another shape", extra={"kind": keeps.kind.value})
            self.memory.drop(keeps)
            return None
        return fact

    def learn(self, keeps: Keeps[Any], answer: Any, value: Any) -> list[str]:
        """Remember an answer for this run. Returns the keys that it is found under."""
        return self.memory.learn(keeps, answer, Fact(value, self._now(), ours=True))

    def keep(self, keeps: Keeps[Any], answer: Any, value: Any) -> None:
        """Remember an answer of this run's own, for itself and, with the next transaction, for later runs."""
        keys = self.learn(keeps, answer, value)
        if (row := self.memory.as_row(keeps, answer, value, keys)) is not None:
            self.unwritten.facts.append(row)

    def _now(self) -> datetime:
        """The database's time, of a moment ago."""
        if self._moment is None:
            with self.database.enter(self.actor) as work:
                self._moment = work.now
        return self._moment

    # The calls

    def perform(self, work: Callable[[Call], Any], entry: Reserved | None) -> "Outcome":
        """Make one call, on any thread. Never raises."""
        started = time.monotonic()
        caller = Caller(
            meter=entry.meter if entry else Meter(),
            timeout=self.deadline.call_timeout(),
            call_id=entry.id if entry else "",
            most_tokens_in=entry.quote.most_tokens_in if entry else 0,
        )
        held = self._providers  # another thread's refusal may renew them meanwhile
        ports: Ports = held or _WhenAsked(self)
        reach(Point.BEFORE_CALL)
        try:
            with _traced(entry):
                output, error = work(Call(caller, ports)), None
        except Exception as wrong:  # noqa: BLE001 - handed to the main thread, which decides
            output, error = None, wrong
        reach(Point.AFTER_CALL)
        return Outcome(output, error, round((time.monotonic() - started) * 1000), held or self._providers)

    def renews(self, outcome: "Outcome") -> bool:
        """Whether a call's key was refused and is another one by now, so that the call can be made again."""
        if not isinstance(outcome.error, CredentialRejected):
            return False
        if outcome.providers is self.providers:
            fresh = self.providers.renew(outcome.error)
            if fresh is None:
                return False
            self._providers = fresh
        return True

    def close(self, name: str, entry: Reserved | None, error: Exception | None) -> Exception | None:
        """Close a call's books. Returns its error, or what a provider's trouble comes to: a try later, or none."""
        if entry:
            self.unwritten.settle(entry, error)
        if not isinstance(error, ProviderBusy) or error.code not in TROUBLE:
            return error
        self.tries[name] += 1
        if self.tries[name] >= TRIES:
            what = error.message.partition(". ")[0].rstrip(".")
            return ProviderFailed(f"{what}. The call was tried {TRIES} times.", code=error.code)
        wait_for = max(error.retry_after or timedelta(), backoff(self.tries[name]))
        return ProviderBusy(error.message, code=error.code, retry_after=wait_for)

    # The gates

    def _book_one(self, key: str, pays: Quote | None) -> Reserved | None:
        """Book one call, waiting for its turn if that is near. Without one, and nothing to write, nothing is done."""
        if pays is None and not self.unwritten:
            self._stop_if_due()
            return None
        while True:
            booked, refusal = self.book([key], pays, counts=False)
            if refusal is None:
                return booked[0]
            self.sleep(self.patience(refusal, nothing_runs=True) or 0)

    def book(
        self, names: Sequence[str], pays: Quote | None, *, counts: bool, asked: Iterable[Keeps[Any]] = ()
    ) -> tuple[list[Reserved | None], Refusal | None]:
        """Write what is unwritten and book the calls to come: all, or the first few of them and why not more.

        `counts` says whether these are items, which an agent's limits count. What they ask is looked for once more.
        """
        wanted = self.memory.wanted(asked)
        if pays is None:
            self._checkpoint((), current_step=names[0] if names else None, wanted=wanted)
            return [None] * len(names), None
        refused: Refusal | None = None
        while True:
            entries = [Reserved.of(name, pays, self.providers.terms_of(pays)) for name in names]
            refusal = self._checkpoint(
                entries, current_step=names[0] if names else None, counts=counts, wanted=wanted
            )
            if refusal is None:
                return list(entries), refused
            refused = refusal
            if refusal.fits < 1:
                return [], refused
            names = names[: refusal.fits]

    def release(self, entry: Reserved) -> None:
        """Give back what was booked for a call that is not made."""
        self.unwritten.settle(entry, None)

    def patience(self, refusal: Refusal, *, nothing_runs: bool) -> float | None:
        """Seconds until it is worth asking again; None: not before a call has ended.

        Raises what the run has to stop for when no call is under way and it is not worth waiting.
        """
        if refusal.retry_in is not None and refusal.retry_in <= SHORT_WAIT:
            return refusal.retry_in.total_seconds()
        if not nothing_runs:
            return None
        if refusal.gate is Gate.DAILY:
            raise Enough(refusal.words)
        if refusal.retry_in is not None:
            raise LimitReached(refusal.words, code=f"{refusal.gate}_limit", retry_after=refusal.retry_in)
        raise BudgetReached(refusal.words, code=f"budget_{refusal.gate}")

    # The record

    def _done(self, key: str, input_hash: str) -> Step | None:
        step = self.recorded.get(key)
        if step is not None:
            check_same(step, input_hash)
        return step

    def remember(self, step: Step, proposal: Proposal | None = None) -> None:
        self.recorded[step.key] = step
        self.counters.count(step)
        self.unwritten.steps.append((step, proposal))

    def _stop_if_due(self) -> None:
        if self.deadline.slice_is_over():
            raise Yielded

    def _checkpoint(
        self,
        reserved: Sequence[Reserved],
        *,
        current_step: str | None,
        counts: bool = False,
        wanted: Sequence[Place] = (),
    ) -> Refusal | None:
        """Write what is unwritten and book what comes, or say who refused, or find that the run has to stop."""
        self._stop_if_due()
        with self._fenced(reserved, current_step=current_step, counts=counts) as (work, answered):
            found = self.memory.look(work, wanted)
        self.memory.take_in(found, self._now())
        return queries.answer(answered).refusal

    @contextmanager
    def _fenced(
        self, reserved: Sequence[Reserved] = (), *, current_step: str | None, counts: bool = False
    ) -> Iterator[tuple[Work, Deferred]]:
        """A fenced transaction that writes what is unwritten and books what comes; then, whether to stop."""
        reach(Point.BEFORE_CHECKPOINT)
        try:
            with self.database.enter(self.actor) as work:
                if self._proposes():
                    queries.fence(
                        work.connection, self.lease
                    )  # the run's lock comes before those of its proposals
                answered = self._write(work, reserved, current_step=current_step, counts=counts)
                yield work, answered
        except DBAPIError as error:
            queries.raise_if_lost(error)
            raise
        self._moment = work.now
        self._recorded_some = self.has_progressed
        self.unwritten = Unwritten()
        reach(Point.AFTER_CHECKPOINT)
        answer = queries.answer(answered)
        if answer.cancel_requested:
            raise CancelRequested
        if not answer.agents_enabled:
            raise SwitchedOff

    def _write(
        self, work: Work, reserved: Sequence[Reserved], *, current_step: str | None, counts: bool
    ) -> Deferred:
        proposals = [proposal for _, proposal in self.unwritten.steps if proposal]
        outcomes = iter(propose(work, self.origin, proposals))
        written = queries.Written(
            steps=[
                step.as_row(next(outcomes).as_json() if proposal else None)
                for step, proposal in self.unwritten.steps
            ],
            settled=self.unwritten.settled,
            news=self.unwritten.news,
            total=self._total,
        )
        answered = queries.checkpoint(
            work.connection,
            self.lease,
            written,
            calls=[entry.as_row() for entry in reserved],
            quote=self._quoted(reserved[0], counts=counts) if reserved else None,
            current_step=current_step,
        )
        if self.unwritten.facts:
            facts.keep(work.session, self.lease.run_id, self.unwritten.facts)
        if marks := self.unwritten.marks:
            facts.mark(work.session, self.lease.run_id, marks)
        return answered

    def _quoted(self, entry: Reserved, *, counts: bool) -> dict[str, Any]:
        """What each of some calls may cost at worst, and what it counts towards."""
        settings = self.database.settings
        worst = entry.terms.worst(entry.quote)
        return {
            "provider": entry.quote.provider,
            "operation": entry.quote.operation,
            "model": entry.terms.model,
            "credits": entry.quote.credits,
            "dollars": None if worst is None else str(worst),
            "payer": entry.terms.payer.value,
            "credential": entry.terms.credential,
            "perMinute": entry.terms.calls_per_minute,
            "countsItems": counts,
            "platformCredits": settings.platform_credits_per_month,
            "platformDollars": settings.platform_dollars_per_month,
        }

    def write_proposals(self) -> None:
        """Write what is left if it is more than `rest` takes.

        It proposes something, which takes a while and the queue shall not wait for; or there are answers to keep.
        """
        if self._proposes() or self.unwritten.facts or self.unwritten.marks:
            with suppress(CancelRequested, SwitchedOff), self._fenced(current_step=None):
                pass

    def _proposes(self) -> bool:
        return any(proposal for _, proposal in self.unwritten.steps)

    def rest(self) -> queries.Written:
        """What is left once proposals are written, to go with the run's end."""
        return queries.Written(
            steps=[step.as_row(None) for step, _ in self.unwritten.steps],
            settled=self.unwritten.settled,
            news=self.unwritten.news,
            total=self._total,
        )

    def write_rest(self, work: Work) -> None:
        """Write what is left, in a transaction that holds the run already."""
        self._write(work, (), current_step=None, counts=False)

    def give_up(self) -> None:
        """Forget what could not be written; its calls are booked as unknown when the run is let go of."""
        self.unwritten = Unwritten()


@dataclass(frozen=True, slots=True)
class _WhenAsked:
    """The run's providers, looked for when a step asks for one; on the main thread."""

    run: DurableRun

    @property
    def companies(self) -> CompanySource:
        return self.run.providers.companies

    @property
    def people(self) -> PeopleSource:
        return self.run.providers.people

    @property
    def model(self) -> LanguageModel:
        return self.run.providers.model


@contextmanager
def _traced(entry: Reserved | None) -> Iterator[None]:
    """A step in the run's trace, and the provider's part of it where the call is paid for."""
    if entry is None:
        with tracing.span("step"):
            yield
        return
    with (
        tracing.span("step", step=entry.step_key),
        tracing.span(
            entry.quote.provider, remote=True, operation=entry.quote.operation, entry_id=str(entry.id)
        ),
    ):
        yield


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call."""

    output: Any
    error: Exception | None
    duration_ms: int
    providers: Providers | None = None  # that the call was made with
