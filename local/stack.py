"""The stack as a value, for tests and the demo: in a process of its own, so that several may run."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from local.processes import Program, StackError
from local.runner import read_info


class Stack:
    """`with Stack(directory) as stack:` is a running product at `stack.url`; nothing is left afterwards."""

    def __init__(
        self, directory: Path, *, port: int = 0, environ: Mapping[str, str] | None = None, seconds: float = 60
    ) -> None:
        """Nothing starts before the `with`.

        Args:
            directory: data and logs; a second start there finds the first one's data.
            port: of the front; 0 takes a free one.
            environ: the developer's environment; None: this process's.
            seconds: how long starting may take.
        """
        self.directory = directory.absolute()
        self.info: dict[str, Any] = {}
        self._port = port
        self._environ = dict(os.environ) if environ is None else dict(environ)  # noqa: TID251 - passed on
        self._seconds = seconds
        self._program: Program | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Raises StackError with what it said when it does not start."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            "-m",
            "local",
            "--directory",
            str(self.directory),
            "--port",
            str(self._port),
            "--ready-line",
        ]
        self._program = Program(
            "stack",
            command,
            environ=self._environ,
            log_file=self.directory / "runner.log",
            dies_by=signal.SIGTERM,
            stop_seconds=15,
        )
        try:
            self._program.wait(self._seconds)
            self.info = read_info(self.directory) or {}
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int | None:
        """Its exit code: 0 when it stopped in order. None when it was not started."""
        program, self._program = self._program, None
        if program is None:
            return None
        program.stop()
        return program.code

    @property
    def url(self) -> str:
        """The console's address."""
        return str(self._said("url"))

    @property
    def api(self) -> str:
        """The API's address, with its version."""
        return str(self._said("api"))

    @property
    def pid(self) -> int:
        return int(self._said("pid"))

    def person(self, email: str) -> dict[str, str]:
        """A demo person: email, password, role, name, customer, customer_id."""
        return next(dict(person) for person in self._said("people") if person["email"] == email)

    def _said(self, name: str) -> Any:
        if name not in self.info:
            raise StackError("The stack is not running.")
        return self.info[name]
