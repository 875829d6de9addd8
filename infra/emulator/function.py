"""One execution environment of one function, from a package that is unpacked and read-only."""

import importlib.metadata
import json
import queue
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any, Final, Self

from infra.emulator.runtime_api import Invocation, RuntimeApi, Told
from infra.package.target import PYTHON, RUNTIME
from local.processes import dies_with_its_starter

REGION: Final = "eu-central-1"
ACCOUNT: Final = "123456789012"

_BOOTSTRAP: Final = Path(__file__).with_name("bootstrap.py")
_RUNTIME_CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")
_INIT: Final = timedelta(seconds=60)
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class EmulatorError(RuntimeError):
    """The emulator cannot do what it is asked to; the function is not to blame."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a function's owner says about it."""

    handler: str  # e.g. "app.execute_run"
    name: str = "function"
    timeout: timedelta = timedelta(seconds=29)
    memory_mb: int = 1024
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an event: what the handler returned, or why it did not."""

    payload: Any
    error_type: str | None  # "Runtime.ImportModuleError", "Sandbox.Timedout", "ValueError", …
    error: str | None
    since_start: timedelta  # from the process's start to this answer
    took: timedelta  # from the event's arrival at the emulator, with the start where there was one

    @property
    def ok(self) -> bool:
        return self.error_type is None


class Function:
    """Takes one event after the other, as an execution environment does. Use it in a `with` block.

    A process that dies or takes too long fails its event, and the next event starts another.
    """

    def __init__(
        self,
        package: Path,
        configuration: Configuration,
        *,
        log_file: Path,
        site: Path | None = None,
        init: timedelta = _INIT,
    ) -> None:
        """Nothing is started before the first event.

        Args:
            package: the unpacked zip.
            configuration: the function's.
            log_file: gets what it prints, at the end of what is there.
            site: what the runtime brings by itself, searched after the package.
            init: how long a start may take. Lambda begins again after ten seconds, within the function's timeout.
        """
        self._package = package
        self._given = configuration
        self._log_file = log_file
        self._site = site
        self._init = init
        self._api = RuntimeApi()
        self._runtime = tempfile.TemporaryDirectory(prefix="lambda-runtime-")
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def __enter__(self) -> Self:
        _link_runtime_client(Path(self._runtime.name))
        self._api.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._api.__exit__()
        self._runtime.cleanup()

    def invoke(self, event: Any) -> Answer:
        """The answer to an event, whatever it is."""
        began = time.perf_counter()
        if self._process is None or self._process.poll() is not None:
            self._start()
        invocation = Invocation(json.dumps(event).encode(), self._given.arn, self._given.timeout)
        self._api.offer(invocation)
        told = self._wait(invocation.request_id)
        if told.kind != "answered":
            self.stop()
        elapsed = timedelta(seconds=told.at - began)
        return _answer(told, timedelta(seconds=told.at - self._started), elapsed)

    def stop(self) -> None:
        """Kill the process, as Lambda does with an environment it no longer needs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._forget_what_was_told()

    def log(self) -> str:
        """All it has printed so far."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def _start(self) -> None:
        self._forget_what_was_told()
        with self._log_file.open("ab") as log:
            self._started = time.perf_counter()
            process = subprocess.Popen(
                [interpreter(), "-S", "-s", "-P", str(_BOOTSTRAP)],
                cwd=self._package,
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_its_starter(signal.SIGKILL),  # noqa: PLW1509  no lock is taken in it
            )
        self._process = process
        Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if self._process is process:
            self._api.told.put(Told("ended", body=str(code).encode()))

    def _wait(self, request_id: str) -> Told:
        deadline = time.perf_counter() + self._init.total_seconds()
        while True:
            try:
                told = self._api.told.get(timeout=max(0.0, deadline - time.perf_counter()))
            except queue.Empty:
                return Told("failed", request_id, error_type="Sandbox.Timedout", body=self._too_slow())
            if told.kind == "handed" and told.request_id == request_id:
                deadline = told.at + self._given.timeout.total_seconds()
            elif told.kind in {"not_started", "ended"} or told.request_id == request_id:
                return told

    def _too_slow(self) -> bytes:
        seconds = self._given.timeout.total_seconds()
        return json.dumps({"errorMessage": f"Task timed out after {seconds:.2f} seconds"}).encode()

    def _forget_what_was_told(self) -> None:
        while not self._api.told.empty():
            self._api.told.get()

    def _environ(self) -> dict[str, str]:
        """What Lambda sets, and what the owner sets; nothing of this process's."""
        given = self._given
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_SESSION_TOKEN": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{RUNTIME}",
            "AWS_LAMBDA_FUNCTION_NAME": given.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(given.memory_mb),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{given.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "emulator",
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "EMULATOR_SITE": str(self._site or ""),
            "LAMBDA_RUNTIME_DIR": self._runtime.name,
            "LAMBDA_TASK_ROOT": str(self._package),
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",  # the package is read-only, but not for root
            "TZ": ":UTC",
            "_HANDLER": given.handler,
            **given.environ,
        }


def interpreter() -> str:
    """The bare interpreter of the deployed version, without this environment's libraries."""
    version = ".".join(map(str, PYTHON))
    if sys.version_info[:2] != PYTHON:
        raise EmulatorError(f"The functions run on {RUNTIME}; start this with Python {version}.")
    return str(Path(sys.base_prefix) / "bin" / f"python{version}")


def unpack(package: Path, folder: Path) -> Path:
    """Unpack a zip as Lambda does, so that nothing in it can be written. Returns the folder."""
    with zipfile.ZipFile(package) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, folder))
            path.chmod((entry.external_attr >> 16) & 0o555 or 0o444)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
    return folder


def _link_runtime_client(folder: Path) -> None:
    """AWS's runtime client and what it needs, without its neighbours in this environment."""
    for name in _RUNTIME_CLIENT:
        distribution = importlib.metadata.distribution(name)
        tops = {
            file.parts[0] for file in distribution.files or () if file.parts[0] not in {"..", "__pycache__"}
        }
        for top in tops:
            (folder / top).symlink_to(str(distribution.locate_file(top)))


def _answer(told: Told, since_start: timedelta, took: timedelta) -> Answer:
    if told.kind == "answered":
        return Answer(json.loads(told.body) if told.body else None, None, None, since_start, took)
    if told.kind == "ended":
        ended = f"The process ended with code {told.body.decode()}."
        return Answer(None, "Runtime.ExitError", ended, since_start, took)
    try:
        said = json.loads(told.body)
    except ValueError:
        said = {}
    error_type = said.get("errorType") or told.error_type or "Unhandled"
    return Answer(None, error_type, str(said.get("errorMessage", "")), since_start, took)
