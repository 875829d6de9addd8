"""Workers on strings: each call of theirs waits for the test's word, so that a test decides what happens between any
two transactions of a run. One item a run, so a worker makes one call at a time; no answer is remembered, so every run
makes all of its calls.
"""

import queue
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from chalicelib.db.work import Database
from chalicelib.domain.companies import Company, CompanyPage, CompanyStub, IdealCustomer
from chalicelib.domain.errors import CredentialRejected, ProviderBusy
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.money import Charge
from chalicelib.domain.providers import Caller
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from tests.fakes.providers import ScriptedModel, one_by_one

SEARCHES: Final = 2
"""Pages that are looked at until there is a company."""
PATIENCE: Final = 60.0
"""Seconds after which a test that hangs fails."""


class Killed(BaseException):
    """As good as kill -9 in a call: nobody catches it, and nothing is written after it."""


@dataclass(frozen=True, slots=True)
class Word:
    """What becomes of a call."""

    what: str = "give"  # or busy, bug, reject, kill
    wait: timedelta = timedelta()
    slice_is_over: bool = False


class Puppet:
    """One visit to a tenant. It is `calling` something and waits, or it is over."""

    def __init__(self, database: Database, customer_id: CustomerId) -> None:
        self.calling: str | None = None
        self._told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()
        self._seconds = 0.0
        providers = Providers(self, ScriptedModel())
        forgetful = replace(database.settings, provider_facts_fresh_days=0, provider_searches_fresh_days=0)
        self._engine = Engine(
            replace(database, settings=forgetful),
            lambda _customer: providers,
            clock=lambda: self._seconds,
            stay=timedelta(),
        )
        self._thread = threading.Thread(target=self._visit, args=(customer_id,), daemon=True)
        self._failure: BaseException | None = None
        self._thread.start()
        self._listen()

    def tell(self, word: Word) -> None:
        """Let the call end so, and wait for the next one or the end."""
        self._words.put(word)
        self._listen()

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
        self._call(caller, f"search:{page}")
        name = caller.call_id.replace("_", "-")
        found = (CompanyStub(name, name, f"{name}.example"),) if page == SEARCHES else ()
        return CompanyPage(found, page, SEARCHES, 1)

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        self._call(caller, "enrich")
        return Company(id=domain, name=domain, domain=domain)

    enrich_many = one_by_one

    def _call(self, caller: Caller, call: str) -> None:
        self._told.put(call)
        word = self._words.get(timeout=PATIENCE)
        if word.slice_is_over:
            self._seconds += 10_000
        if word.what == "kill":
            raise Killed
        if word.what == "busy":
            raise ProviderBusy("Too many requests.", retry_after=word.wait)
        if word.what == "bug":
            raise ZeroDivisionError
        if word.what == "reject":
            raise CredentialRejected("The key is no good.")
        caller.meter.add(Charge(credits=1))

    def _visit(self, customer_id: CustomerId) -> None:
        try:
            self._engine.visit(customer_id, lambda: timedelta(minutes=5))
        except Killed:
            pass
        except BaseException as failure:  # noqa: BLE001 - told to the test's own thread
            self._failure = failure
        self._told.put(None)

    def _listen(self) -> None:
        self.calling = self._told.get(timeout=PATIENCE)
        if self.calling is None:
            self._thread.join(PATIENCE)
            if self._failure is not None:
                raise self._failure
