"""Looks at a database from outside until something is so."""

import time
from typing import Any, Final

import pg8000.native
from sqlalchemy import make_url

NAME: Final = "bench-watch"
"""Its application_name, so that what it asks can be told from what is measured."""

_LONGEST_SECONDS: Final = 120.0


class Watch:
    """A connection of its own; each question is one statement and one transaction."""

    def __init__(self, url: str) -> None:
        given = make_url(url)
        self._connection = pg8000.native.Connection(
            given.username or "",
            host=given.host or "",
            port=given.port or 0,
            database=given.database,
            password=given.password,
            ssl_context=False,
            application_name=NAME,
        )
        self.asked = 0

    def value(self, sql: str) -> Any:
        """The answer's first row's first column."""
        self.asked += 1
        return self._connection.run(sql)[0][0]

    def until(self, sql: str, *, every_seconds: float = 0.001) -> None:
        """Return once the statement answers true. Raises AssertionError when it takes too long."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while not self.value(sql):
            if time.monotonic() > deadline:
                raise AssertionError(f"Not so after {_LONGEST_SECONDS:.0f} s: {sql}")
            time.sleep(every_seconds)

    def close(self) -> None:
        self._connection.close()
