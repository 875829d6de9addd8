"""What one run costs the database: statements and transactions by its log, commits and syncs by its counters,
flights by a proxy.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.watching import NAME
from local.postgres import Postgres

_TURNS: Final = re.compile(r"(BEGIN|START TRANSACTION|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_LINE: Final = re.compile(r"([^|]*)\|([^|]*)\|LOG:  (?:execute [^:]+|statement): (.*)")
_WAL_SYNCS_FROM_18: Final = "SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'"
_WAL_SYNCS_BEFORE: Final = "SELECT wal_sync FROM pg_stat_wal"
_IO_STATISTICS_CHANGED: Final = 180_000


@dataclass(frozen=True, slots=True)
class Counters:
    """What the server has counted since its start; a session's share is in it once the session has ended."""

    commits: int
    wal_syncs: int

    @classmethod
    def of(cls, postgres: Postgres, database: str) -> "Counters":
        number = int(postgres.execute("SHOW server_version_num")[0][0])
        syncs = _WAL_SYNCS_FROM_18 if number >= _IO_STATISTICS_CHANGED else _WAL_SYNCS_BEFORE
        sql = f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{database}'"  # noqa: S608 - ours
        return cls(commits=postgres.execute(sql)[0][0], wal_syncs=int(postgres.execute(syncs)[0][0]))

    def minus(self, other: "Counters") -> "Counters":
        return Counters(self.commits - other.commits, self.wal_syncs - other.wal_syncs)


class StatementLog:
    """Every statement on one database that is not a benchmark's own question."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres, self._database = postgres, database
        self._from = 0

    def reset(self) -> None:
        """Forget what was logged until now."""
        self._from = self._postgres.log_file.stat().st_size

    def statements(self) -> Counter[str]:
        """How often each was executed; what begins and ends transactions is none."""
        with self._postgres.log_file.open("rb") as log:
            log.seek(self._from)
            lines = log.read().decode(errors="replace").splitlines()
        found: Counter[str] = Counter()
        for match in map(_LINE.match, lines):
            if match and match[1] == self._database and match[2] != NAME and not _TURNS.match(match[3]):
                found[match[3]] += 1
        return found


@contextmanager
def logged(postgres: Postgres, database: str) -> Iterator[StatementLog]:
    """The server writes every statement down, which costs it something: nothing is timed in here."""
    _configure(postgres, "SET log_line_prefix = '%d|%a|'", "SET log_statement = 'all'")
    try:
        yield StatementLog(postgres, database)
    finally:
        _configure(postgres, "RESET log_line_prefix", "RESET log_statement")


def _configure(postgres: Postgres, *changes: str) -> None:
    for change in changes:
        postgres.execute(f"ALTER SYSTEM {change}")
    postgres.execute("SELECT pg_reload_conf()")
