"""What a run knows of providers' answers: its own, and what earlier runs of the tenant were told.

The main thread's alone. Two runs that ask the same at the same moment may still both pay: nobody waits for another
run's call. An answer that is there when a call is booked is taken instead of the call.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from chalicelib.db.driver import Deferred
from chalicelib.db.queries import facts as queries
from chalicelib.db.work import Work
from chalicelib.domain.facts import LARGEST, LONGEST_KEY, UNKNOWN_FRESH, FactKind, Keeps
from chalicelib.domain.ids import new_id
from chalicelib.settings import Settings

logger = logging.getLogger(__name__)

KEYS_A_STATEMENT: Final = 100

Place = tuple[str, FactKind, str]
"""Provider, kind, key."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A provider's answer."""

    value: Any  # JSON, as a step recorded it
    fetched_at: datetime
    ours: bool  # this run's own

    def as_evidence(self, keeps: Keeps[Any]) -> dict[str, str]:
        """Whose word it is, and how old."""
        return {
            "provider": keeps.provider,
            "kind": keeps.kind.value,
            "fetchedAt": self.fetched_at.isoformat(),
        }


def places(keeps: Keeps[Any], more: Iterable[str] = ()) -> list[Place]:
    """Where an answer is found."""
    keys = dict.fromkeys([*keeps.under, *more])
    return [(keeps.provider, keeps.kind, key) for key in keys if len(key) <= LONGEST_KEY]


@dataclass(slots=True)
class Memory:
    settings: Settings
    facts: dict[Place, Fact] = field(default_factory=dict)

    def recall(self, keeps: Keeps[Any]) -> Fact | None:
        """The answer, if it is known here and may serve: where it has to be new, only one of this run's own."""
        found = (self.facts.get(place) for place in places(keeps))
        return next((fact for fact in found if fact and (fact.ours or not keeps.anew)), None)

    def learn(self, keeps: Keeps[Any], answer: Any, fact: Fact) -> list[str]:
        """Take in an answer of this run's own. Returns the keys it is found under."""
        found_under = places(keeps, keeps.also_under(answer))
        for place in found_under:
            self.facts[place] = fact
        return [key for _, _, key in found_under]

    def drop(self, keeps: Keeps[Any]) -> None:
        """Forget what turned out to be of no use."""
        for place in places(keeps):
            self.facts.pop(place, None)

    # The table

    def wanted(self, asked: Iterable[Keeps[Any]]) -> list[Place]:
        """Where earlier runs may have left an answer to what is not known here."""
        return [
            place
            for keeps in asked
            if not keeps.anew and self._freshness(keeps.kind)
            for place in places(keeps)
            if place not in self.facts
        ]

    def look(self, work: Work, wanted: Iterable[Place]) -> list[Deferred]:
        """Look with the next flight for what earlier runs were told; see `take_in`."""
        keys = list(dict.fromkeys(key for _, _, key in wanted))
        kinds = sorted({kind.value for _, kind, _ in wanted})
        return [
            queries.find(work.session, work.actor.scope, keys[first : first + KEYS_A_STATEMENT], kinds)
            for first in range(0, len(keys), KEYS_A_STATEMENT)
        ]

    def take_in(self, found: Iterable[Deferred], now: datetime) -> None:
        """What is still fresh of what was found. The latest answer decides, also where it is that nothing is known."""
        for row in (row for deferred in found for row in deferred.rows):
            kind = FactKind(row.kind)
            fresh = self._freshness(kind) if row.known else min(self._freshness(kind), UNKNOWN_FRESH)
            if row.fetched_at > now - fresh:
                self.facts.setdefault(
                    (row.provider, kind, row.key), Fact(row.value, row.fetched_at, ours=False)
                )

    def as_row(
        self, keeps: Keeps[Any], answer: Any, value: Any, keys: Sequence[str]
    ) -> dict[str, Any] | None:
        """An answer as it is kept for later runs; None for one that is not."""
        if not keys or not self._freshness(keeps.kind):
            return None
        if len(json.dumps(value, ensure_ascii=False).encode()) > LARGEST:
            logger.info("an answer is too large to be kept", extra={"kind": keeps.kind.value})
            return None
        return {
            "id": new_id("FactId"),
            "provider": keeps.provider,
            "kind": keeps.kind.value,
            "known": keeps.is_known(answer),
            "value": value,
            "keys": keys,
        }

    def _freshness(self, kind: FactKind) -> timedelta:
        days = (
            self.settings.provider_searches_fresh_days
            if kind.is_search
            else self.settings.provider_facts_fresh_days
        )
        return timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Asked:
    """What each item of a map asks, by name. Of those that ask the same, the first one asks for all."""

    keeps: Mapping[str, Keeps[Any]] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)  # who ask what this one asks, in order

    @classmethod
    def of(cls, keeps: Mapping[str, Keeps[Any]]) -> "Asked":
        asked_by: dict[Place, str] = {}
        first: dict[str, str] = {}
        others: dict[str, list[str]] = defaultdict(list)
        for name, asked in keeps.items():
            found_at = places(asked)
            first[name] = next((asked_by[place] for place in found_at if place in asked_by), name)
            asked_by.update((place, first[name]) for place in found_at if place not in asked_by)
            if first[name] != name:
                others[first[name]].append(name)
        return cls(keeps, first, others)
