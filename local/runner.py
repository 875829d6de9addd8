"""The whole product in this process and three beside it: starts in order, watches, stops in reverse."""

import fcntl
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Self

from chalicelib.settings import Queues
from local import databases, seed
from local.aws import Aws, Cloud, QueueNames
from local.clock import Clock
from local.databases import Addresses
from local.front import Front, Site, landing_page
from local.people import PEOPLE
from local.poller import Mapped, Poller
from local.postgres import Postgres, PostgresError
from local.processes import ROOT, Program, StackError
from local.settings import APOLLO_KEY, BUS, OPENAI_KEY, RealProviders, clean, for_the_app

logger = logging.getLogger(__name__)

FAVOURITE_PORT = 8000
CONCURRENCY: Mapping[str, int] = {"execute_run": 4}
OTHERS_CONCURRENCY = 2
GRACE_SECONDS = 1.2
LARGEST_LOG = 20_000_000

Say = Callable[[str], None]


class Runner:
    """`start` once, `watch` until told, `stop` once. From the main thread: children die with the thread."""

    def __init__(self, directory: Path, environ: Mapping[str, str], *, port: int | None, say: Say) -> None:
        """`port` None: 8000 if it is free, else any."""
        self.directory = directory.absolute()
        self.info_file = self.directory / "stack.json"
        self.info: dict[str, Any] = {}
        self._environ = environ
        self._port = port
        self._say = say
        self._stopping = threading.Event()
        self._undo = ExitStack()
        self._programs: list[Program] = []
        self._postgres: Postgres | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Everything up, or StackError, with nothing left behind."""
        try:
            self._start()
        except PostgresError as error:
            self.stop()
            raise StackError(str(error)) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it all, in reverse order. Runs at work yield first, if they can in a second."""
        self._stopping.set()
        self._undo.close()

    def check(self) -> None:
        """Raise StackError when a part has ended that we did not stop."""
        for program in self._programs:
            if program.ended:
                raise StackError(f"The {program.name} ended by itself.{program.log_tail()}")

    def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock()
        self.info_file.unlink(missing_ok=True)
        real = RealProviders.of(self._environ)
        given = databases.in_environment(self._environ)
        front = self._take_port()
        log = self._open_log()
        # They need the longest, so they start first and are waited for below.
        aws = self._spawn("AWS stand-in", "aws", ["-m", "local.aws"])
        sandbox = None if real.all else self._spawn("sandbox", "sandbox", ["-m", "sandbox", "--port", "0"])

        database = self._database(given)
        with self._step("AWS stand-in") as done:
            queues = Queues.from_environ(self._environ)
            names = QueueNames(queues.runs, queues.runs_dead, queues.relay, queues.effects, queues.events)
            cloud = Aws(aws.wait()["url"]).prepare(names, BUS, PEOPLE)
            done(f"queues, bus, key, people on {cloud.endpoint}")
        with self._step("Demo data") as done:
            done(self._seed(database, cloud))
        with self._step("Providers") as done:
            page = sandbox.wait()["url"] if sandbox else None
            done(_providers_in_words(real, page))
        url = f"http://127.0.0.1:{front.port}"
        with self._step("App") as done:
            settings = for_the_app(
                self._environ,
                origin=url,
                database=database,
                cloud=cloud,
                sandbox=page,
                directory=self.directory,
            )
            app = self._load_app(settings, log)
            people = [(p.tenant.name, p.role.value, p.email, p.password) for p in PEOPLE]
            site = Site(ROOT / "frontend" / "dist", landing_page(sandbox=page, people=people))
            self._connect(app, cloud)
            front.start(app, site)
            done(url)
        self._write_info(url, database, cloud, page)

    def _lock(self) -> None:
        lock = self._undo.enter_context((self.directory / "stack.lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            where = f" at {said['url']}" if (said := read_info(self.directory)) else ""
            raise StackError(
                f"The stack of {self.directory} runs already{where}. Stop that one first (Ctrl-C), "
                "or give this one a directory of its own: python -m local --directory PATH"
            ) from None

    def _take_port(self) -> Front:
        wanted = FAVOURITE_PORT if self._port is None else self._port
        try:
            front = Front(wanted)
        except OSError as error:
            if self._port is not None:
                raise StackError(f"Port {wanted} cannot be used: {error}. Choose another, or 0.") from error
            front = Front(0)
        self._undo.callback(front.stop)
        return front

    def _open_log(self) -> IO[str]:
        """The app's log. What the app prints goes there, too: the terminal is for people."""
        for old in self.directory.glob("*.log"):
            if old.stat().st_size > LARGEST_LOG:
                old.unlink()
        log = self._undo.enter_context((self.directory / "app.log").open("a", buffering=1))
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.getLogger().addHandler(handler)
        self._undo.callback(logging.getLogger().removeHandler, handler)
        logging.getLogger("local").setLevel(logging.INFO)
        self._undo.enter_context(redirect_stdout(log))
        self._undo.enter_context(redirect_stderr(log))
        return log

    def _spawn(self, name: str, short: str, command: list[str]) -> Program:
        program = Program(
            name, command, environ=clean(self._environ), log_file=self.directory / f"{short}.log"
        )
        self._programs.append(program)
        self._undo.callback(program.stop)
        return program

    def _database(self, given: Addresses | None) -> Addresses:
        with self._step("PostgreSQL") as done:
            if given is None:
                self._postgres = server = Postgres(self.directory / "postgres")
                self._undo.callback(server.stop)
                server.start()
                found = databases.of(server)
                done(f"127.0.0.1:{server.port}, data in {server.data_dir}")
            else:
                databases.refuse_foreign(given)
                found = given
                done("the database that DATABASE_URL names")
        with self._step("Schema"):
            databases.migrate(found)
        return found

    def _seed(self, database: Addresses, cloud: Cloud) -> str:
        app, system = databases.engines(database)
        try:
            fresh = seed.seed(app, system, issuer=cloud.issuer, subjects=cloud.subjects)
        finally:
            app.dispose()
            system.dispose()
        return "made" if fresh else "there already"

    def _load_app(self, settings: Mapping[str, str], log: IO[str]) -> Any:
        os.environ.clear()  # noqa: TID251 - the app reads its settings there
        os.environ.update(settings)  # noqa: TID251 - the same
        if "app" in sys.modules:
            raise StackError("One process runs one stack: use local.stack.Stack, which starts its own.")
        app = import_module("app").app
        parts = import_module("chalicelib.bootstrap").context()
        for name, part in vars(type(parts)).items():
            if isinstance(part, cached_property) and not name.startswith("_"):
                getattr(parts, name)  # made once, before there are threads
        self._undo.callback(parts.database.app.dispose)
        self._undo.callback(parts.database.across.dispose)
        log.flush()
        return app

    def _connect(self, app: Any, cloud: Cloud) -> None:
        """Poll every queue and keep every schedule that app.py names."""
        mappings, schedules = [], []
        for source in app.event_sources:
            handler = app.handler_map[source.name]
            if hasattr(source, "queue"):
                concurrency = CONCURRENCY.get(source.name, OTHERS_CONCURRENCY)
                mappings.append(Mapped(source.queue, source.name, handler, source.batch_size, concurrency))
            elif hasattr(source, "schedule_expression"):
                schedules.append((source.name, handler))
        poller = Poller(Aws(cloud.endpoint).client("sqs"), mappings, self._stopping)
        clock = Clock(schedules, self._stopping)
        self._undo.callback(clock.stop, GRACE_SECONDS / 2)
        self._undo.callback(poller.stop, GRACE_SECONDS)
        self._undo.callback(self._stopping.set)
        poller.start()
        clock.start()

    def _write_info(self, url: str, database: Addresses, cloud: Cloud, sandbox: str | None) -> None:
        self.info = {
            "url": url,
            "api": f"{url}/api/v1",
            "sandbox": sandbox,
            "sandbox_keys": {"apollo": APOLLO_KEY, "openai": OPENAI_KEY},
            "aws_endpoint": cloud.endpoint,
            "database_url": database.app,
            "database_system_url": database.system,
            "database_owner_url": database.owner,
            "database_ca_file": database.ca_file,
            "people": [
                {
                    "email": person.email,
                    "password": person.password,
                    "role": person.role.value,
                    "name": person.name,
                    "customer": person.tenant.name,
                    "customer_id": person.tenant.id,
                }
                for person in PEOPLE
            ],
            "subscriber_queue_url": cloud.subscriber_queue_url,
            "pid": os.getpid(),
            "pids": {program.name: program.pid for program in self._programs},
        }
        if self._postgres is not None:
            self.info["pids"]["PostgreSQL"] = self._postgres.pid
        unfinished = self.info_file.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(self.info, indent=2))
        unfinished.rename(self.info_file)
        self._undo.callback(self.info_file.unlink, missing_ok=True)

    @contextmanager
    def _step(self, name: str) -> Iterator[Callable[[str], None]]:
        begun = time.monotonic()
        words: list[str] = []
        yield words.append
        self._say(f"  {name:<13} {time.monotonic() - begun:4.1f} s  {' '.join(words)}".rstrip())


def read_info(directory: Path) -> dict[str, Any] | None:
    """What a running stack says of itself in stack.json."""
    try:
        return dict(json.loads((directory / "stack.json").read_text()))
    except (OSError, ValueError):
        return None


def _providers_in_words(real: RealProviders, sandbox: str | None) -> str:
    real_ones = [name for name, yes in (("OpenAI", real.openai), ("Apollo.io", real.apollo)) if yes]
    if not real_ones:
        return f"sandbox for OpenAI and Apollo.io on {sandbox}"
    said = f"the REAL {' and '.join(real_ones)}, with the key in your environment: calls cost money"
    return f"{said}; sandbox for the other on {sandbox}" if sandbox else said
