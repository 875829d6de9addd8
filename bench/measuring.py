"""Samples in turns, their medians, and the line a benchmark prints."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Sample = Callable[[], float]
"""Does it once; says how many milliseconds it took, or how many a second it did."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure of the line is to stay under."""

    name: str  # `ratio`, or one of the extras
    most: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found, from samples taken in turns."""

    bench: str
    ours: Sequence[float]
    theirs: Sequence[float]
    unit: str
    reference: str
    extras: Mapping[str, Any] = field(default_factory=dict)
    better: Literal["lower", "higher"] = "lower"
    limit: Limit | None = None

    @property
    def ratio(self) -> float:
        """Ours over theirs, the median of the pairs'. Of times, below 1 ours is quicker; of rates, above 1.

        When the load changes midway, the two medians may come from different times; a pair never does.
        """
        return statistics.median(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))

    def line(self) -> str:
        said = {
            "bench": self.bench,
            "ratio": round(self.ratio, 3),
            "better": self.better,
            "ours": round(statistics.median(self.ours), 3),
            "theirs": round(statistics.median(self.theirs), 3),
            "unit": self.unit,
            "reference": self.reference,
            "runs": len(self.ours),
            **self.extras,
        }
        if self.limit is not None:
            said["limit"] = {**asdict(self.limit), "holds": said[self.limit.name] <= self.limit.most}
        return json.dumps(said)


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
