"""The engine beside DBOS Transact: runs of three steps that do nothing, from acceptance to the end.

Both have the same PostgreSQL server with its own durability, a process that accepts, several at once, and one
or two that work, each with as many runs at work as do it good. A run is accepted (committed: the API would
say 202), queued, claimed, its three steps are each committed before the next begins, and it is completed;
ours also puts three events into the outbox, keeps an audit entry, tells tenants apart by row-level security,
and limits how many of a tenant's runs are at work.

Ours is started by the services that the API calls, and executed by the entry point that Lambda calls, with
the same event. Its doorbell is a pipe in the place of SQS, whose own time is not ours to measure; runs are
spread over a few tenants. DBOS is used as documented: a client enqueues, applications with executor ids of
their own listen to a registered queue, polled every ten milliseconds. It polls while it has nothing to do,
too, so its processes are stopped while ours have their turn.

What a run costs the database is counted in a session of its own, which is not timed. Both databases are
analyzed after the warm-up: plans made for empty tables are not those of a system that has been used.
"""

import random
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from bench import dbos_environment
from bench.children import Child
from bench.counting import Counters, logged
from bench.doorbell import Doorbell
from bench.installation import DATABASE, Installation, installed
from bench.measuring import Report, in_turns
from bench.watching import NAME, Watch
from local.postgres import Postgres
from tests.fakes.flight_counter import FlightCounter

TENANTS: Final = 8
AT_ONCE: Final = 8
"""Runs of ours at work in one process."""
DBOS_AT_ONCE: Final = 32
"""Of theirs, which does better with so many than with as few as ours."""
ACCEPTED_AT_ONCE: Final = 4
POLLING_SECONDS: Final = 0.01

BATCH: Final = 60
PAIRS: Final = 15
PAIRS_OF_TWO: Final = 3
IDLE: Final = 20
COUNTED: Final = 60
WARM_UP: Final = 30

_DBOS_DATABASE: Final = "reference"


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name, installed(customers=TENANTS) as given:
        _check_durability(given.postgres)
        given.postgres.create_database(_DBOS_DATABASE)
        ours, theirs = _Ours(given, Path(name)), _Theirs(given, Path(name))
        costs = {"ours": ours.cost(), "theirs": theirs.cost()}
        with ours.working(), theirs.working():
            mine, other = in_turns(ours.sample, theirs.sample, runs=PAIRS)
            idle = [(ours.idle(), theirs.idle()) for _ in range(IDLE)]
            ours.one_more()
            theirs.one_more()
            mine_two, other_two = in_turns(ours.sample, theirs.sample, runs=PAIRS_OF_TWO)
    two = Report("", mine_two, other_two, "", "")
    return Report(
        bench="engine_vs_dbos",
        ours=mine,
        theirs=other,
        unit="runs/s",
        better="higher",
        reference=f"DBOS Transact {dbos_environment.version()}, one worker process each, on the same PostgreSQL",
        extras={
            "with_two_workers": {
                "ratio": round(two.ratio, 3),
                "ours": round(statistics.median(mine_two), 1),
                "theirs": round(statistics.median(other_two), 1),
            },
            "idle_ms_p50": {
                "ours": round(statistics.median(pair[0] for pair in idle), 2),
                "theirs": round(statistics.median(pair[1] for pair in idle), 2),
            },
            "a_run_costs": costs,
            "runs_a_sample": BATCH,
            "at_once": {"ours": AT_ONCE, "theirs": DBOS_AT_ONCE},
            "tenants": TENANTS,
        },
    )


def _check_durability(postgres: Postgres) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        if postgres.execute(f"SHOW {setting}") != [["on"]]:
            raise AssertionError(f"{setting} is off: this would measure something else.")


class _Side(ABC):
    """One of the two, with its processes."""

    database: str
    nothing_left: str  # a question to the database

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation, self.folder = installation, folder
        self._children: list[Child] = []
        self._stack = ExitStack()
        self._watch: Watch

    @abstractmethod
    def acceptor(self, port: int) -> Child: ...

    @abstractmethod
    def worker(self, port: int, number: int) -> Child: ...

    @abstractmethod
    def accept(self, acceptor: Child, runs: int) -> None: ...

    @abstractmethod
    def once(self, acceptor: Child) -> float: ...

    @contextmanager
    def working(self, port: int = 0) -> Iterator[None]:
        """With one worker, warm, and paused unless it has its turn.

        Args:
            port: of a proxy before the database.
        """
        self._port = port or self.installation.postgres.port
        postgres = self.installation.postgres
        with ExitStack() as self._stack:
            self._watch = Watch(postgres.url(postgres.superuser, self.database))
            self._stack.callback(self._watch.close)
            worker = self._stack.enter_context(self.worker(self._port, 1))  # DBOS makes its tables
            self._children = [self._stack.enter_context(self.acceptor(self._port)), worker]
            self._work_off(WARM_UP)
            postgres.execute("VACUUM ANALYZE", database=self.database)  # autovacuum comes but once a minute
            self._work_off(WARM_UP)
            self._pause()
            yield
            self._resume()
        self._children = []

    def one_more(self) -> None:
        """Another worker process."""
        self._resume()
        self._children.append(self._stack.enter_context(self.worker(self._port, len(self._children))))
        self._work_off(WARM_UP)
        self._pause()

    def sample(self) -> float:
        """Runs a second, from the first one's acceptance to the last one's end."""
        self._resume()
        took = self._work_off(BATCH)
        self._pause()
        return BATCH / took

    def idle(self) -> float:
        """Milliseconds of one run alone, at any moment of a poll."""
        self._resume()
        time.sleep(random.uniform(0.05, 0.1))
        took = self.once(self._children[0])
        self._pause()
        return took

    def cost(self) -> dict[str, float]:
        """What one run costs the database while many are at work, polling included."""
        start_and_end, all_of_it = self._session(0), self._session(COUNTED)
        return {name: round((count - start_and_end[name]) / COUNTED, 1) for name, count in all_of_it.items()}

    def _session(self, runs: int) -> dict[str, int]:
        """What the processes cost from their start to their end, with so many runs in between."""
        postgres = self.installation.postgres
        before = Counters.of(postgres, self.database)
        with logged(postgres, self.database) as log, FlightCounter(postgres.port) as proxy:
            with self.working(proxy.port):
                self._resume()
                proxy.reset()
                log.reset()
                if runs:
                    self._work_off(runs)
                flights, statements = proxy.flights, log.statements().total()
                asked = self._watch.asked
            self._wait_for_silence()
        spent = Counters.of(postgres, self.database).minus(before)
        return {
            "statements": statements,
            "flights": flights,
            "commits": spent.commits - asked,
            "wal_syncs": spent.wal_syncs,
        }

    def _wait_for_silence(self) -> None:
        """A session's share is in the counters once it has ended."""
        sql = (
            "SELECT count(*) FROM pg_stat_activity"  # noqa: S608 - ours
            f" WHERE datname = '{self.database}' AND application_name <> '{NAME}'"
        )
        while self.installation.postgres.execute(sql) != [[0]]:
            time.sleep(0.01)

    def _work_off(self, runs: int) -> float:
        """Seconds until none is left."""
        began = time.perf_counter()
        self.accept(self._children[0], runs)
        self._watch.until(self.nothing_left, every_seconds=0.005)
        return time.perf_counter() - began

    def _pause(self) -> None:
        for child in self._children:
            child.pause()

    def _resume(self) -> None:
        for child in self._children:
            child.resume()


class _Ours(_Side):
    database = DATABASE
    nothing_left = "SELECT NOT EXISTS (SELECT FROM agent_runs WHERE status IN ('pending', 'running'))"

    def __init__(self, installation: Installation, folder: Path) -> None:
        super().__init__(installation, folder)
        self._doorbell = Doorbell.made()

    def acceptor(self, port: int) -> Child:
        options = ["--at-once", str(ACCEPTED_AT_ONCE), "--watch-url", self.installation.all_seeing_url]
        return self._child("acceptor", port, "accept", *options)

    def worker(self, port: int, number: int) -> Child:
        return self._child(f"worker-{number}", port, "work", "--at-once", str(AT_ONCE))

    def accept(self, acceptor: Child, runs: int) -> None:
        acceptor.ask("accept", runs=runs, people=self.installation.people)

    def once(self, acceptor: Child) -> float:
        return float(acceptor.ask("once", person=self.installation.people[0])["ms"])

    def _child(self, name: str, port: int, role: str, *more: str) -> Child:
        ends = self._doorbell.ends
        return Child(
            ["-m", "bench.engine_child", role, *map(str, ends), *more],
            environ={
                **self.installation.environ(database_port=port),
                "DATABASE_POOL_SIZE": str(AT_ONCE),
            },
            log_file=self.folder / f"ours-{name}.log",
            fds=ends,
        )


class _Theirs(_Side):
    database = _DBOS_DATABASE
    nothing_left = (
        "SELECT NOT EXISTS (SELECT FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING'))"
    )

    def __init__(self, installation: Installation, folder: Path) -> None:
        super().__init__(installation, folder)
        self._python = dbos_environment.interpreter()

    def acceptor(self, port: int) -> Child:
        return self._child("acceptor", port, "accept", "--at-once", str(ACCEPTED_AT_ONCE))

    def worker(self, port: int, number: int) -> Child:
        options = ["--executor", str(number), "--at-once", str(DBOS_AT_ONCE)]
        polling = ["--polling-seconds", str(POLLING_SECONDS)]
        return self._child(f"worker-{number}", port, "work", *options, *polling)

    def accept(self, acceptor: Child, runs: int) -> None:
        acceptor.ask("accept", runs=runs)

    def once(self, acceptor: Child) -> float:
        return float(acceptor.ask("once")["ms"])

    def _child(self, name: str, port: int, role: str, *more: str) -> Child:
        postgres = self.installation.postgres
        url = make_url(postgres.url(postgres.superuser, self.database)).set(
            drivername="postgresql", port=port
        )
        return Child(
            ["-m", "bench.reference.dbos_engine", role, url.render_as_string(hide_password=False), *more],
            environ={"PATH": "/usr/bin:/bin"},
            log_file=self.folder / f"theirs-{name}.log",
            python=self._python,
        )
