"""A map's calls: up to `concurrency` in flight; after each group that ends, one transaction.

An item whose provider is in trouble is put aside, so that it holds up no other. When nothing else is left, or
nothing but trouble comes back, the run waits, and its next slice begins with those that are not recorded.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from chalicelib.agents.base import Call, Proposal
from chalicelib.domain.errors import AppError, CredentialRejected, OutOfCredit, ProviderBusy
from chalicelib.domain.money import Quote
from chalicelib.domain.runs import IN_FLIGHT
from chalicelib.services.runs.memory import Asked
from chalicelib.services.runs.record import Reserved, Step, decode, fits
from chalicelib.services.runs.stops import STOPS, Enough

if TYPE_CHECKING:
    from chalicelib.services.runs.context import DurableRun, Outcome

logger = logging.getLogger(__name__)

ENDS_THE_RUN: Final = (CredentialRejected, OutOfCredit)
"""Errors of one item that every other item would meet, too."""
AT_ONCE: Final = 50
"""Items recorded from memory in one transaction, about."""


@dataclass(slots=True)
class Window:
    """One map's progress in this slice."""

    run: "DurableRun"
    work: Callable[[str, Call], Any]
    propose: Callable[[str, Any], Proposal | None]
    returns: Any
    hashes: Mapping[str, str]
    asked: Asked
    pays: Quote | None
    concurrency: int
    waiting: list[str]  # the next one last
    counts: bool = True  # whether these are items of the run's
    in_flight: "dict[Future[Outcome], tuple[str, Reserved | None]]" = field(default_factory=dict)
    aside: list[ProviderBusy] = field(default_factory=list)
    troubles_in_a_row: int = 0
    stop: BaseException | None = None

    def go_through(self) -> None:
        """Call until every item is recorded, or raise what the slice has to stop for, with nothing in flight.

        What is known already comes first: it costs nothing, so no gate may keep it from being done.
        """
        _ = self.run.providers  # found here: the calls run on threads that have no way to the database
        self._leave_to_the_first()
        self._look_ahead()
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="call") as pool:
            while self.waiting or self.in_flight:
                patience = self._fill(pool)
                if self.in_flight:
                    self._take_in_what_ended(patience)
                elif self.stop is not None:
                    break
                else:
                    self.run.sleep(patience or 0)
        if self.aside and (self.stop is None or isinstance(self.stop, Enough)):
            self.stop = self._longest_wait()  # those that were counted today are today's to be done
        if self.stop is not None:
            raise self.stop

    def _fill(self, pool: ThreadPoolExecutor) -> float | None:
        """Record what has ended and start as many calls as there is room for and the gates let pass.

        Returns after how many seconds it is worth trying again; None: when a call has ended.
        """
        if self.stop is not None:
            return None
        try:
            names = self._next_to_call()
            asked = [keeps for name in names if (keeps := self.asked.keeps.get(name)) is not None]
            booked, refusal = self.run.book(names, self.pays, counts=self.counts, asked=asked)
            self.waiting.extend(reversed(names[len(booked) :]))
            for name, entry in zip(names, booked, strict=False):
                if self._recall(name):  # somebody else's answer, of this moment
                    if entry is not None:
                        self.run.release(entry)
                    continue
                future = pool.submit(copy_context().run, self.run.perform, partial(self.work, name), entry)
                self.in_flight[future] = (name, entry)
            if refusal is not None:
                return self.run.patience(refusal, nothing_runs=not self.in_flight)
        except STOPS as why:
            self.stop = why
        return None

    def _next_to_call(self) -> list[str]:
        """As many as there is room for. Those whose answer is known by now are recorded on the way."""
        names: list[str] = []
        while self.waiting and len(names) + len(self.in_flight) < self.concurrency:
            if len(self.run.unwritten.steps) >= AT_ONCE:
                break
            name = self.waiting.pop()
            if not self._recall(name):
                names.append(name)
        return names

    def _take_in_what_ended(self, patience: float | None) -> None:
        ended, _ = wait(self.in_flight, timeout=patience, return_when=FIRST_COMPLETED)
        for future in ended:
            name, entry = self.in_flight.pop(future)
            self.stop = self._take_in(name, entry, future.result()) or self.stop

    def _take_in(self, name: str, entry: Reserved | None, outcome: "Outcome") -> BaseException | None:
        """Note one call's result. Returns what the whole run has to stop for, if anything."""
        error = self.run.close(name, entry, outcome.error)
        if self.run.renews(outcome):
            self.waiting.append(name)
            return None
        if isinstance(error, ProviderBusy) and error is not outcome.error:
            return self._put_aside(error)
        if isinstance(error, (ProviderBusy, *ENDS_THE_RUN)):
            return error
        if error is None:
            error = self._keep(name, outcome.output)
        step = Step(
            name, self.hashes[name], outcome.output, item=self.counts, duration_ms=outcome.duration_ms
        )
        if error is None:
            self.troubles_in_a_row = 0
            self._record(step)
        else:
            failed = _failed(step, error)
            self.run.remember(failed)
            for other in self.asked.others.get(name, ()):
                self._share_failure(failed, other)
        return None

    def _keep(self, name: str, output: Any) -> Exception | None:
        """Remember an answer. Returns what is wrong with it, if anything."""
        keeps = self.asked.keeps.get(name)
        if keeps is not None:
            try:
                self.run.keep(keeps, decode(output, self.returns), output)
            except Exception as wrong:  # noqa: BLE001 - one bad item fails that item only
                return wrong
        return None

    def _record(self, step: Step) -> None:
        """Take an answer and what the agent proposes for it; and let those go on who asked the same."""
        proposal: Proposal | None = None
        try:
            proposal = self.propose(step.key, step.output)
        except Exception as wrong:  # noqa: BLE001 - one bad item fails that item only
            step = _failed(step, wrong)
        if proposal is not None and step.fact is not None and not step.fact.ours:
            evidence = {**proposal.evidence, "remembered": step.fact.as_evidence(self.asked.keeps[step.key])}
            proposal = replace(proposal, evidence=evidence)
        self.run.remember(step, proposal)
        self.waiting.extend(reversed(self.asked.others.get(step.key, ())))

    def _share_failure(self, failed: Step, other: str) -> None:
        self.run.remember(replace(failed, key=other, input_hash=self.hashes[other], duration_ms=0))

    # What is known already

    def _recall(self, name: str) -> bool:
        """Record an item from what is known, if it is."""
        keeps = self.asked.keeps.get(name)
        fact = None if keeps is None else self.run.recall_fact(keeps, self.returns)
        if fact is None:
            return False
        self._record(Step(name, self.hashes[name], fact.value, item=self.counts, fact=fact))
        return True

    def _leave_to_the_first(self) -> None:
        """Of those who ask the same let one wait. Where an earlier slice has done it, the others follow from that."""
        names, self.waiting = self.waiting, []
        for name in names:
            first = self.asked.first.get(name, name)
            done = None if first == name else self.run.recorded.get(first)
            if done is not None and done.error is not None:
                self._share_failure(done, name)
            elif done is not None and fits(done.output, self.returns):
                keeps = self.asked.keeps[first]
                self.run.learn(keeps, decode(done.output, self.returns), done.output)
            if first == name or (done is not None and done.error is None):
                self.waiting.append(name)

    def _look_ahead(self) -> None:
        """Record everything that earlier runs were told."""
        if not self.asked.keeps:
            return
        names, self.waiting = self.waiting[::-1], []
        unknown: list[str] = []
        for begin in range(0, len(names), AT_ONCE):
            some = names[begin : begin + AT_ONCE]
            self.run.look(self.asked.keeps[name] for name in some)
            unknown += [name for name in some if not self._recall(name)]
        self.waiting = [*reversed(unknown), *self.waiting]

    def _put_aside(self, busy: ProviderBusy) -> ProviderBusy | None:
        """Leave an item for the next slice. Returns what to wait for when nothing but trouble comes back."""
        self.aside.append(busy)
        self.troubles_in_a_row += 1
        return self._longest_wait() if self.troubles_in_a_row >= IN_FLIGHT else None

    def _longest_wait(self) -> ProviderBusy:
        return max(self.aside, key=lambda busy: busy.retry_after or timedelta())


def _failed(step: Step, error: BaseException) -> Step:
    if not isinstance(error, AppError):
        logger.error("an item failed unexpectedly", exc_info=error, extra={"step": step.key})
    message, code = (
        (error.message, error.code)
        if isinstance(error, AppError)
        else ("This item could not be worked on: something unexpected was in it.", "unexpected")
    )
    return replace(step, output=None, error=message, error_code=code, item=True)  # counted or not, it is told
