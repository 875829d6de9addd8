"""Workers that can be killed, each a process of its own, forked from one that has everything imported.

`python -m tests.fakes.worker` reads a job a line and answers with a line once its worker is over or stopped.
A worker kills or stops itself at a named point. Its providers append each call to a file before they answer, as
a provider's own books would.
"""

import dataclasses
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Self

from sqlalchemy.orm import configure_mappers

from chalicelib import faults
from chalicelib.agents import lead_source
from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.companies import Company, CompanyPage
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.integrations.vault.envelope import Envelopes
from chalicelib.integrations.vault.keyfile import KeyFile
from chalicelib.services.approvals.effects import apply_due
from chalicelib.services.outbox import Relay
from chalicelib.services.rotation import Rotation
from chalicelib.services.runs import record
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from chalicelib.settings import Settings
from local.processes import ROOT
from tests.fakes.chaos import Trip, travel
from tests.fakes.providers import ScriptedCompanies, ScriptedModel
from tests.fakes.signals import RememberedSignals

LONGEST_SECONDS = 120
"""A worker that takes longer hangs, and is killed by its alarm."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does, and where it dies."""

    kind: str  # run, apply, relay, rotate or trip
    customer: str
    books: Path  # of a rotation: the key file
    companies: int = 12
    trip: Trip | None = None
    die_at: faults.Point | None = None
    nth: int = 1
    by: signal.Signals = signal.SIGKILL  # or SIGSTOP


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a worker: its exit code, as `subprocess` counts, or None for one that is stopped."""

    pid: int
    code: int | None


class Nursery:
    """Where workers come from, one at a time; stopped ones may wait beside."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fakes.worker"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=20)

    def work(self, settings: Settings, job: Job) -> Fate:
        """Have a worker do this job, to its end or its death."""
        environ = {
            "DATABASE_URL": settings.database_url,
            "DATABASE_SYSTEM_URL": settings.database_system_url,
            "OIDC_ISSUER": settings.oidc_issuer,
            "OIDC_JWKS_URL": settings.oidc_jwks_url,
            "OIDC_CLIENT_ID": settings.oidc_client_id,
        }
        return self._ask({"environ": environ, "job": dataclasses.asdict(job)})

    def go_on(self, pid: int) -> Fate:
        """Let a stopped worker go on, to its end."""
        return self._ask({"go_on": pid})

    def _ask(self, order: dict[str, Any]) -> Fate:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order, default=str) + "\n")
        self._process.stdin.flush()
        return Fate(**json.loads(self._process.stdout.readline()))


def main(orders: IO[str], answers: IO[str]) -> None:
    """Fork a worker for each order, and say what became of it. Whoever is left at the end is killed."""
    _make_what_is_made_once()
    stopped: set[int] = set()
    for line in orders:
        order = json.loads(line)
        pid = order.get("go_on") or os.fork()
        if pid == 0:
            _be_a_worker(order)
        if pid in stopped:
            stopped.discard(pid)
            os.kill(pid, signal.SIGCONT)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            stopped.add(pid)
        fate = Fate(pid, None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))
        answers.write(json.dumps(dataclasses.asdict(fate)) + "\n")
        answers.flush()
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)


def _make_what_is_made_once() -> None:
    """Forked workers share what the first use would make: mappers, models."""
    configure_mappers()
    for model in (lead_source.Config, lead_source.Input):
        model.model_rebuild()
    for kind in (Company, CompanyPage, list[str]):
        record._adapter(kind)
    gc.freeze()


def _be_a_worker(order: dict[str, Any]) -> None:
    os.dup2(2, 1)
    signal.alarm(LONGEST_SECONDS)
    logging.disable()
    try:
        given = order["job"]
        trip, die_at = given.pop("trip"), given.pop("die_at")
        job = Job(
            **{**given, "books": Path(given["books"]), "by": signal.Signals(int(given["by"]))},
            trip=trip and Trip(**trip),
            die_at=die_at and faults.Point(die_at),
        )
        with _database(Settings.from_environ(order["environ"])) as database:
            if job.die_at:
                _die_at(job.die_at, job.nth, job.by)
            _work(database, job)
    except BaseException:  # noqa: BLE001 - nothing may return into the forking loop
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    app, across = create(settings.database_url, pool_size=9), create(settings.database_system_url)
    yield Database(app, across, settings, RememberedSignals())
    app.dispose()
    across.dispose()


def _work(database: Database, job: Job) -> None:
    def write(line: str) -> None:
        with job.books.open("a") as books:
            books.write(line + "\n")

    customer_id = CustomerId(job.customer)
    if job.trip is not None:
        travel(database, job.trip)
    elif job.kind == "apply":
        apply_due(database, customer_id)
    elif job.kind == "rotate":
        Rotation(database, Envelopes(KeyFile(job.books))).rotate()
    elif job.kind == "relay":
        Relay(database, [_Sink(write)]).drain(lambda: timedelta(minutes=5))
    else:
        providers = Providers(ScriptedCompanies(job.companies, before=write), ScriptedModel())
        engine = Engine(database, lambda _customer: providers)
        while engine.visit(customer_id, lambda: timedelta(minutes=5)):
            pass


class _Sink:
    """Appends each event to the books."""

    name = "eventbridge"

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        for event in events:
            self._write(f"{event.cloud_event['subject']} {event.cloud_event['sequence']}")
        return [None] * len(events)


def _die_at(point: faults.Point, nth: int, by: signal.Signals) -> None:
    """Die the nth time the point is reached: nothing is cleaned up, nothing is told.

    Only the main thread stops the process, and only between transactions: a process that is stopped inside one keeps
    its locks, which the database's own timeouts are for.
    """
    left = iter(range(nth - 1, -1, -1))

    def hook(reached: faults.Point) -> None:
        if by is signal.SIGSTOP and threading.current_thread() is not threading.main_thread():
            return
        if reached is point and next(left, -1) == 0:
            os.kill(os.getpid(), by)

    faults.install(hook)


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
