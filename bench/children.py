"""Processes that do something when they are asked: a JSON line in, a JSON line out.

The asked one need not be of this checkout's interpreter: the wire is its standard input and output.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from local.processes import ROOT, dies_with_its_starter

_TAIL: Final = 12


class Child:
    """`python COMMAND`, which answers one line to each line. It ends with us, however we end."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        log_file: Path,
        python: str = sys.executable,
        fds: Sequence[int] = (),
    ) -> None:
        """Start it now; its first line says that it is ready. What it writes otherwise goes to the log."""
        self._log_file = log_file
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [python, *command],
                cwd=ROOT,
                env={**environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                pass_fds=fds,
                start_new_session=True,
                preexec_fn=dies_with_its_starter(signal.SIGKILL),  # noqa: PLW1509  no lock is taken in it
            )
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, do: str, **what: Any) -> Any:
        """Its answer. Raises AssertionError with the end of its log when there is none."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def pause(self) -> None:
        """Not a step further, polling included, until `resume`."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()  # the database rolls back what it was at
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            tail = self._log_file.read_text(errors="replace").splitlines()[-_TAIL:]
            raise AssertionError("A child ended:\n" + "\n".join(f"    {line}" for line in tail))
        return json.loads(line)
