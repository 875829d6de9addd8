"""What a worker meets when everything goes wrong, decided by a seed: a stormy provider that keeps books, a bell and
a clock that several processes share, all of them files in one directory.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from chalicelib.db.work import Database
from chalicelib.domain.access import engine_for
from chalicelib.domain.companies import Company, CompanyPage, CompanyStub, IdealCustomer
from chalicelib.domain.errors import Conflict, CredentialRejected, ProviderBusy, ProviderFailed
from chalicelib.domain.ids import CustomerId, RunId
from chalicelib.domain.money import Charge, Terms
from chalicelib.domain.providers import Caller
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from tests.fakes.providers import ScriptedModel, one_by_one

PER_PAGE: Final = 6
PAGES: Final = 4


@dataclass(frozen=True, slots=True)
class Trip:
    """One visit of a worker to one tenant."""

    customer: str
    files: str  # the directory
    number: int
    seed: int
    storm: float = 0.0  # how likely a call fails
    rejects: bool = False  # the key may be found to be bad
    pace: float = 0.0  # seconds that pass each time the worker looks at its clock
    cancel_at: int | None = None  # the call of this visit during which a person cancels its run
    meanwhile_at: int | None = None  # the call during which something else happens


class SharedClock:
    """The moment that every process of a schedule believes in."""

    def __init__(self, files: Path) -> None:
        self._file = files / "clock"

    def __call__(self) -> datetime:
        return datetime.fromisoformat(self._file.read_text())

    def set(self, moment: datetime) -> None:
        unfinished = self._file.with_suffix(".next")
        unfinished.write_text(moment.isoformat())
        unfinished.replace(self._file)

    def forward(self, seconds: float) -> None:
        self.set(self() + timedelta(seconds=seconds))


class SharedBell:
    """Signals that append each ring to a file."""

    def __init__(self, files: Path) -> None:
        self._file = files / "rings"
        self._file.touch()
        self._seen = 0

    def ring(self, customer_id: CustomerId, *, delay: timedelta = timedelta()) -> None:
        with self._file.open("a") as file:
            file.write(f"{customer_id} {delay.total_seconds()}\n")

    def nudge_relay(self) -> None:
        pass

    def nudge_effects(self, customer_id: CustomerId, *, delay: timedelta) -> None:
        pass

    def heard(self) -> list[tuple[CustomerId, timedelta]]:
        """The rings since the last time."""
        lines = self._file.read_text().splitlines()[self._seen :]
        self._seen += len(lines)
        return [
            (CustomerId(who), timedelta(seconds=float(delay)))
            for who, delay in (line.split() for line in lines)
        ]


@dataclass(frozen=True, slots=True)
class Line:
    """One call in the provider's books."""

    trip: int
    place: str
    call: str  # the step's key
    entry: str  # the ledger's id of it
    answer: str  # given; late: given, but it never arrived; else why not

    @property
    def was_made(self) -> bool:
        return self.answer in ("given", "late")


class Books:
    """What the provider knows of calls; written before it answers."""

    def __init__(self, files: Path) -> None:
        self._file = files / "books"
        self._file.touch()

    def write(self, line: Line) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(astuple(line)) + "\n")

    def lines(self) -> list[Line]:
        return [Line(*json.loads(line)) for line in self._file.read_text().splitlines()]


class StormyCompanies:
    """Companies named after the place they are searched in, so that no two runs with places of their own meet.

    What goes wrong with a call follows from the seed, the call, and how often it was tried; from the third time on all
    goes well.
    """

    def __init__(self, database: Database, trip: Trip, meanwhile: Callable[[], None]) -> None:
        self._database = database
        self._trip = trip
        self._meanwhile = meanwhile
        self._books = Books(Path(trip.files))
        self._numbers = count(1)

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
        place = profile.locations[0]
        self._call(caller, f"search:{page}", place)
        numbers = range((page - 1) * PER_PAGE, page * PER_PAGE)
        stubs = tuple(CompanyStub(f"{place}-{n}", f"Company {n}", f"{place}-{n}.example") for n in numbers)
        return CompanyPage(stubs, page, PAGES, PER_PAGE * PAGES)

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        self._call(caller, f"enrich:{domain}", domain.partition("-")[0])
        return Company(id=domain, name=f"Company {domain}", domain=domain, employee_count=100)

    enrich_many = one_by_one

    def _call(self, caller: Caller, call: str, place: str) -> None:
        tried = sum((line.place, line.call) == (place, call) for line in self._books.lines())
        answer = self._answer(f"{place} {call}", tried)
        self._books.write(Line(self._trip.number, place, call, caller.call_id, answer))
        number = next(self._numbers)
        if number == self._trip.cancel_at:
            self._cancel(caller.call_id)
        if number == self._trip.meanwhile_at:
            self._meanwhile()
        if answer == "given":
            caller.meter.add(Charge(credits=1))
        elif answer == "late":
            raise ProviderBusy("No answer.", code="provider_timeout", retry_after=timedelta(seconds=20))
        elif answer == "busy":
            raise ProviderBusy(
                "Too many requests.", code="rate_limited", retry_after=timedelta(seconds=5 + len(call))
            )
        elif answer == "trouble":
            raise ProviderBusy("Out of order.", code="provider_trouble")
        elif answer == "rejected":
            raise CredentialRejected("The key is no good.")
        elif answer == "bad":
            raise ProviderFailed("Cannot read this.", code="bad_request")
        else:
            raise ZeroDivisionError

    def _answer(self, call: str, tried: int) -> str:
        chance = random.Random(f"{self._trip.seed} {call} {tried}")
        if self._trip.rejects and chance.random() < 0.05:
            return "rejected"
        if tried >= 2 or chance.random() >= self._trip.storm:
            return "given"
        kinds = ["busy", "busy", "trouble", "late"]
        if not tried:
            kinds += ["bug", "bad" if "enrich" in call else "bug"]
        return chance.choice(kinds)

    def _cancel(self, entry: str) -> None:
        actor = engine_for(CustomerId(self._trip.customer))
        with suppress(Conflict), self._database.enter(actor) as work:
            query = text("SELECT run_id FROM usage_entries WHERE id = :id")
            run_id = work.session.execute(query, {"id": entry}).scalar_one()
            start.cancel(work, RunId(run_id))


def _nothing() -> None:
    pass


def travel(database: Database, trip: Trip, meanwhile: Callable[[], None] = _nothing) -> None:
    """Do what one message asks for."""
    files = Path(trip.files)
    database = _shared(database, files)
    terms = {"apollo": Terms(credential=f"key of {trip.seed}", calls_per_minute=100)}
    providers = Providers(StormyCompanies(database, trip, meanwhile), ScriptedModel(), terms)
    clock = SharedClock(files)
    engine = Engine(database, lambda _customer: providers, clock=_ticks(trip.pace), sleep=clock.forward)
    engine.visit(CustomerId(trip.customer), lambda: timedelta(minutes=5))


def _shared(database: Database, files: Path) -> Database:
    return Database(database.app, database.across, database.settings, SharedBell(files), SharedClock(files))


def _ticks(pace: float) -> Any:
    ticks: Iterator[int] = count()
    return lambda: next(ticks) * pace
