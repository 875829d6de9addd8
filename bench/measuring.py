"""Samples in turns, their medians, and the line a benchmark prints."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Sample = Callable[[], float]
"""Does it once; says how many milliseconds it took."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found. The ratio is ours over theirs: below 1, ours is quicker."""

    bench: str
    ours: float
    theirs: float
    unit: str
    reference: str
    runs: int
    extras: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        return json.dumps(
            {
                "bench": self.bench,
                "ratio": round(self.ours / self.theirs, 3),
                "ours": round(self.ours, 3),
                "theirs": round(self.theirs, 3),
                "unit": self.unit,
                "reference": self.reference,
                "runs": self.runs,
                **self.extras,
            }
        )


def in_turns(
    ours: Sample, theirs: Sample, *, runs: int, warm_up: int = 1
) -> tuple[Sequence[float], Sequence[float]]:
    """Both, one after the other and again, so that what else the machine does meets both alike.

    The first `warm_up` pairs do not count.
    """
    pairs = [(ours(), theirs()) for _ in range(warm_up + runs)][warm_up:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def p99(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]
