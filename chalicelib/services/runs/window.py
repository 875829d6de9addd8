"""A map's calls: up to `concurrency` in flight; after each group that ends, one transaction.

An item whose provider is in trouble is put aside, so that it holds up no other. When nothing else is left, or
nothing but trouble comes back, the run waits, and its next slice begins with those that are not recorded.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from chalicelib.agents.base import Call, Proposal
from chalicelib.domain.errors import AppError, CredentialRejected, OutOfCredit, ProviderBusy
from chalicelib.domain.money import Quote
from chalicelib.domain.runs import IN_FLIGHT
from chalicelib.services.runs.record import Reserved, Step
from chalicelib.services.runs.stops import STOPS, Enough

if TYPE_CHECKING:
    from chalicelib.services.runs.context import DurableRun, Outcome

logger = logging.getLogger(__name__)

ENDS_THE_RUN: Final = (CredentialRejected, OutOfCredit)
"""Errors of one item that every other item would meet, too."""


@dataclass(slots=True)
class Window:
    """One map's progress in this slice."""

    run: "DurableRun"
    work: Callable[[str, Call], Any]
    propose: Callable[[str, Any], Proposal | None]
    hashes: Mapping[str, str]
    pays: Quote | None
    concurrency: int
    waiting: list[str]  # the next one last
    in_flight: "dict[Future[Outcome], tuple[str, Reserved | None]]" = field(default_factory=dict)
    aside: list[ProviderBusy] = field(default_factory=list)
    troubles_in_a_row: int = 0
    stop: BaseException | None = None

    def go_through(self) -> None:
        """Call until every item is recorded, or raise what the slice has to stop for, with nothing in flight."""
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
            room = min(self.concurrency - len(self.in_flight), len(self.waiting))
            names = [self.waiting.pop() for _ in range(room)]
            booked, refusal = self.run.book(names, self.pays, counts=True)
            self.waiting.extend(reversed(names[len(booked) :]))
            for name, entry in zip(names, booked, strict=False):
                future = pool.submit(self.run.perform, partial(self.work, name), entry)
                self.in_flight[future] = (name, entry)
            if refusal is not None:
                return self.run.patience(refusal, nothing_runs=not self.in_flight)
        except STOPS as why:
            self.stop = why
        return None

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
        proposal: Proposal | None = None
        if error is None:
            try:
                proposal = self.propose(name, outcome.output)
            except Exception as wrong:  # noqa: BLE001 - one bad item fails that item only
                error = wrong
        step = Step(name, self.hashes[name], outcome.output, item=True, duration_ms=outcome.duration_ms)
        if error is None:
            self.troubles_in_a_row = 0
        else:
            step = _failed(step, error)
        self.run.remember(step, proposal)
        return None

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
    return Step(step.key, step.input_hash, None, message, code, item=True, duration_ms=step.duration_ms)
