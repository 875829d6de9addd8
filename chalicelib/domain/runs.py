"""The life of a run: its states, what starts one, and the rules of retry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final


class RunStatus(StrEnum):
    PENDING = "pending"  # the row exists; a ring or a due time will wake it
    RUNNING = "running"  # a worker holds the lease
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = RunStatus
NEXT: Mapping[RunStatus, frozenset[RunStatus]] = MappingProxyType(
    {
        S.PENDING: frozenset({S.RUNNING, S.CANCELLED, S.FAILED}),
        S.RUNNING: frozenset({S.PENDING, S.COMPLETED, S.FAILED, S.CANCELLED}),
        S.COMPLETED: frozenset(),
        S.FAILED: frozenset(),
        S.CANCELLED: frozenset(),
    }
)
FINAL: Final = frozenset(status for status, following in NEXT.items() if not following)


class Trigger(StrEnum):
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    EVENT = "event"
    API = "api"


class StepStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # this item only; the run goes on


LEASE: Final = timedelta(seconds=120)
"""How long a worker may be silent before another takes its run over."""
LONGEST_CALL: Final = timedelta(seconds=90)
"""No provider call takes longer, so a lease outlives the calls it covers."""
IN_FLIGHT: Final = 8
"""Provider calls in flight or unrecorded at most; also what a crash may repeat."""
FAILURES_IN_A_ROW: Final = 5
TRIES: Final = 10
"""Of one call whose provider is in trouble, with growing waits: half an hour together."""
TROUBLE: Final = frozenset({"unreachable", "provider_timeout", "provider_trouble"})
"""Errors of a provider that did not serve a call. A full rate window is none: waiting for it counts nothing."""
OLDEST: Final = timedelta(hours=72)
"""A run older than this is ended, whatever it waits for."""
BACKGROUND_HANDICAP: Final = timedelta(minutes=10)
"""What schedules and events give way to people and the API by."""


DEEPEST: Final = 3
"""Runs that may follow from one another by events."""


def backoff(failures: int) -> timedelta:
    """How long a run waits after this many failures in a row: 5 s, 10 s, 20 s … at most 10 minutes."""
    doubled: int = 2 ** max(failures - 1, 0)
    return min(timedelta(seconds=5) * doubled, timedelta(minutes=10))


@dataclass(frozen=True, slots=True)
class Causation:
    """How a run came to be: through how many others, of which configs, and in which trace. Cuts loops."""

    depth: int = 0
    config_ids: tuple[str, ...] = ()
    trace: str | None = None  # `Root=…;Parent=…;Sampled=…`

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Causation":
        return cls(int(stored.get("depth", 0)), tuple(stored.get("configIds", ())), stored.get("trace"))

    def child(self, config_id: str) -> "Causation":
        """Of a run of this configuration that an event with this causation starts."""
        return Causation(self.depth + 1, tuple(sorted({*self.config_ids, config_id})), self.trace)

    def joined(self, other: "Causation") -> "Causation":
        """Of a run that reacts to both; it stays in the first one's trace."""
        return Causation(
            max(self.depth, other.depth),
            tuple(sorted({*self.config_ids, *other.config_ids})),
            self.trace or other.trace,
        )

    def as_json(self) -> dict[str, object]:
        told: dict[str, object] = {"depth": self.depth, "configIds": list(self.config_ids)}
        return told if self.trace is None else {**told, "trace": self.trace}
