"""What agents have done, by saved agent and by type."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from chalicelib.agents import registry
from chalicelib.db.queries import agent_stats as queries
from chalicelib.db.work import Work
from chalicelib.domain.runs import RunStatus

NOT_COUNTS: Final = frozenset({"agent_config_id", "agent_type", "dollars"})


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run, whatever its state."""

    id: str
    status: RunStatus
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one saved agent, or of all of a type."""

    counts: Counter[str]  # by the names that the queries give
    dollars: Decimal
    last_run: LastRun | None = None
    next_run_at: datetime | None = None
    median_seconds: float | None = None

    @property
    def runs(self) -> int:
        return sum(self.counts[name] for name in ("completed", "failed", "cancelled", "running", "waiting"))

    @property
    def success_rate(self) -> float | None:
        """Of the runs that completed or failed; None where there is none."""
        ended = self.counts["completed"] + self.counts["failed"]
        return self.counts["completed"] / ended if ended else None


@dataclass(frozen=True, slots=True)
class SavedAgent:
    config_id: str
    agent_type: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class AgentStats:
    since: date
    total: Counter[str]
    by_type: Mapping[str, Figures]
    agents: Sequence[SavedAgent]


def stats(work: Work, *, days: int) -> AgentStats:
    """What ended today and in the days before, `days` UTC days in all, and what is going on now."""
    since = work.now.astimezone(UTC).date() - timedelta(days=days - 1)
    counted = queries.count(work.session, work.actor.scope, since=since, types=sorted(registry.AGENTS))
    of_type: defaultdict[str, Tally] = defaultdict(Tally)
    of_config: defaultdict[str, Tally] = defaultdict(Tally)
    total = Tally()
    for row in counted.figures:
        for tally in (of_type[row.agent_type], of_config[row.agent_config_id], total):
            tally.add(row._asdict())
    known = {row.agent_type: row for row in counted.types}
    next_of_type: dict[str, datetime] = {}
    for row in counted.configs:
        if row.next_due_at is not None:
            before = next_of_type.get(row.agent_type, row.next_due_at)
            next_of_type[row.agent_type] = min(before, row.next_due_at)
    return AgentStats(
        since=since,
        total=total.counts,
        by_type={
            agent_type: _figures(of_type[agent_type], known.get(agent_type), next_of_type.get(agent_type))
            for agent_type in sorted(known.keys() | of_type)
        },
        agents=[
            SavedAgent(
                row.agent_config_id,
                row.agent_type,
                _figures(of_config[row.agent_config_id], row, row.next_due_at),
            )
            for row in counted.configs
        ],
    )


@dataclass(slots=True)
class Tally:
    """What the rows of figures come to."""

    counts: Counter[str] = field(default_factory=Counter)
    dollars: Decimal = Decimal()

    def add(self, row: Mapping[str, Any]) -> None:
        self.dollars += row.get("dollars", 0)
        self.counts.update({name: int(value) for name, value in row.items() if name not in NOT_COUNTS})


def _figures(tally: Tally, known: Any, next_run_at: datetime | None) -> Figures:
    if known is None:
        return Figures(tally.counts, tally.dollars, next_run_at=next_run_at)
    last_run = None
    if known.run_id is not None:
        last_run = LastRun(
            known.run_id, RunStatus(known.status), known.created_at, known.started_at, known.completed_at
        )
    return Figures(tally.counts, tally.dollars, last_run, next_run_at, known.seconds)
