"""The reviewed list of what is in a wheel and not in the package: `left_out.toml`, a reason beside each glob.

A glob is matched against the path in the package; its `*` crosses slashes. A glob that matches nothing is an
error, so that the list stays true.
"""

import fnmatch
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.package.target import PackageError

EVERY: Final = "every"  # the table of globs for any wheel
KEEP: Final = "keep"  # a wheel's table of globs that stay, although another glob matches
LIST: Final = Path(__file__).with_name("left_out.toml")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the list."""

    table: str
    glob: str
    keeps: bool
    pattern: re.Pattern[str] = field(repr=False, compare=False)


class LeftOut:
    """The list, and which of its lines have matched something so far."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises PackageError for a glob without a reason."""
        self._rules = [
            rule for table, lines in tables.items() for rule in (*_rules(table, lines), *_kept(table, lines))
        ]
        self._matched: set[Rule] = set()

    @classmethod
    def read(cls, path: Path = LIST) -> "LeftOut":
        return cls(tomllib.loads(path.read_text()))

    def stays(self, wheel: str, path: str) -> bool:
        """Whether a wheel's file goes into the package."""
        matching = [rule for rule in self._of(wheel) if rule.pattern.match(path)]
        self._matched.update(matching)
        return not matching or any(rule.keeps for rule in matching)

    def rules_of(self, wheel: str) -> list[str]:
        """What the outcome for a wheel depends on, for a cache's key."""
        return [f"{'keep ' if rule.keeps else ''}{rule.glob}" for rule in self._of(wheel)]

    def check(self, wheels: Iterable[str]) -> None:
        """Raises PackageError for a table that names no wheel, and for a glob that has matched nothing."""
        known = {EVERY, *wheels}
        flaws = [
            f"[{rule.table}] is no wheel of the lock file" for rule in self._rules if rule.table not in known
        ]
        flaws += [
            f'[{rule.table}] "{rule.glob}" matches nothing'
            for rule in self._rules
            if rule.table in known and rule not in self._matched
        ]
        if flaws:
            raise PackageError(f"{LIST.name} is no longer true: {'; '.join(dict.fromkeys(flaws))}.")

    def _of(self, wheel: str) -> list[Rule]:
        return [rule for rule in self._rules if rule.table in {EVERY, wheel}]


def _rules(table: str, lines: Mapping[str, Any], *, keeps: bool = False) -> list[Rule]:
    rules = []
    for glob, reason in lines.items():
        if glob == KEEP and not keeps:
            continue
        if not isinstance(reason, str) or not reason.strip():
            raise PackageError(f'{LIST.name}: [{table}] "{glob}" has no reason beside it.')
        rules.append(Rule(table, glob, keeps, re.compile(fnmatch.translate(glob))))
    return rules


def _kept(table: str, lines: Mapping[str, Any]) -> list[Rule]:
    return _rules(table, lines.get(KEEP, {}), keeps=True)
