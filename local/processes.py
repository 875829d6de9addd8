"""Programs of ours that run beside the stack. They end with it, however it ends, and log to a file."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 30.0
_STOP_SECONDS = 2.0


class StackError(RuntimeError):
    """The stack cannot start, or cannot go on; the message says what to do next."""


class Program:
    """A child process that prints one JSON object on one line once it is ready."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        log_file: Path,
        dies_by: signal.Signals = signal.SIGKILL,
        stop_seconds: float = _STOP_SECONDS,
    ) -> None:
        """Start it now; `wait` returns what it says. Call from the main thread, which it dies with.

        Args:
            name: as it stands in messages.
            command: what follows the interpreter.
            environ: its whole environment.
            log_file: gets what it writes, at the end of what is there.
            dies_by: the signal it gets when we are killed.
            stop_seconds: how long `stop` lets it end by itself.
        """
        self.name = name
        self.log_file = log_file
        self._stop_seconds = stop_seconds
        self._told = log_file.stat().st_size if log_file.exists() else 0
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for us, and we stop it in order
                preexec_fn=dies_with_its_starter(dies_by),  # noqa: PLW1509  no lock is taken in it
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self, seconds: float = _START_SECONDS) -> dict[str, Any]:
        """The object it prints when it is ready.

        Raises:
            StackError: it ended, or said nothing in time; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.ended  # looked at before its words, so that its last ones count
            for line in self._said().splitlines():
                if line.startswith("{") and isinstance(said := _parsed(line), dict):
                    return said
            if ended:
                break
            time.sleep(0.01)
        code = self._process.poll()
        what = f"was not ready in {seconds:.0f} s" if code is None else f"ended with code {code}"
        raise StackError(f"The {self.name} {what}.{self.log_tail()}")

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        for request in (signal.SIGTERM, signal.SIGKILL):
            if self.ended:
                return
            self._process.send_signal(request)
            try:
                self._process.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                continue

    def log_tail(self) -> str:
        """The last lines it wrote, set in for a message."""
        lines = self._said().splitlines()[-12:]
        return f" The end of {self.log_file}:\n" + "\n".join(f"    {line}" for line in lines)

    def _said(self) -> str:
        with self.log_file.open("rb") as log:
            log.seek(self._told)
            return log.read().decode(errors="replace")


def dies_with_its_starter(request: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before its program: Linux sends it `request` when the thread that started it ends.

    So only the main thread asks for it.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    starter = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(request))
        if os.getppid() != starter:
            os._exit(1)

    return ask


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
