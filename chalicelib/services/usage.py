"""What was spent, on what, and with whose key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any, Final

from chalicelib.db.queries import usage as queries
from chalicelib.db.work import Work
from chalicelib.domain.errors import Invalid
from chalicelib.domain.money import EntryStatus, Grouping

MOST_DAYS: Final = 366
MOST_ROWS: Final = 5000


@dataclass(frozen=True, slots=True)
class Spent:
    """What some calls came to."""

    calls: int = 0
    unpriced_calls: int = 0  # of a model whose price nobody knows
    credits: int = 0
    known_dollars: Decimal = Decimal(0)
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    tokens_reasoning: int = 0

    @classmethod
    def of(cls, row: Any) -> "Spent":
        figures = row._asdict()
        whole = {name: int(figures.get(name, 0)) for name in queries.FIGURES if name != "dollars"}
        return cls(known_dollars=Decimal(figures["dollars"]), **whole)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.calls + other.calls,
            self.unpriced_calls + other.unpriced_calls,
            self.credits + other.credits,
            self.known_dollars + other.known_dollars,
            self.tokens_in + other.tokens_in,
            self.tokens_cached + other.tokens_cached,
            self.tokens_out + other.tokens_out,
            self.tokens_reasoning + other.tokens_reasoning,
        )

    @property
    def dollars(self) -> Decimal | None:
        """What is known of it; None where nothing is, so that an unknown price never reads as 0."""
        return None if self.unpriced_calls and not self.known_dollars else self.known_dollars


@dataclass(frozen=True, slots=True)
class Named:
    """An agent as it is called, also where it was put away."""

    id: str
    name: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One group: what it has in common, and what it came to."""

    key: Mapping[str, Any]  # by column; '' where a call has none
    agent: Named | None
    spent: Spent


@dataclass(frozen=True, slots=True)
class Report:
    since: date
    until: date
    group_by: Sequence[Grouping]
    rows: Sequence[Row]
    total: Spent
    under_way: Spent  # reserved, at the worst; in no row and not in the total
    unknown: Spent  # nobody heard of them again; in the rows and the total


def report(
    work: Work,
    *,
    since: date | None,
    until: date | None,
    group_by: Sequence[Grouping],
    **filters: str | None,
) -> Report:
    """What the calls begun in these UTC days came to; this month's unless said.

    Raises Invalid for more than MOST_DAYS days, and where there would be more than MOST_ROWS rows.
    """
    until = until or max(work.now.astimezone(UTC).date(), since or date.min)
    since = since or until.replace(day=1)
    if since > until:
        raise Invalid("The first day is after the last one.", pointer="from")
    if until - since >= timedelta(days=MOST_DAYS):
        raise Invalid(f"At most {MOST_DAYS} days at a time.", pointer="from")
    wanted = queries.Wanted(since, until, **filters)
    scope, groups = work.actor.scope, tuple(dict.fromkeys(group_by))
    found = queries.spent(work.session, scope, wanted, group_by=groups, most=MOST_ROWS + 1)
    if len(found) > MOST_ROWS:
        raise Invalid(
            f"That would be more than {MOST_ROWS:,} rows. Take fewer days, or group by less.",
            pointer="groupBy",
        )
    names: dict[str, Named] = {}
    if Grouping.AGENT in groups:
        ids = sorted({row.agent_config_id for row in found if row.agent_config_id})
        called = queries.agents_called(work.session, scope, ids)
        names = {id_: Named(id_, row.name, row.deleted_at is not None) for id_, row in called.items()}
    rows = []
    for row in found:
        key = {name: value for name, value in row._asdict().items() if name not in queries.FIGURES}
        rows.append(Row(key, names.get(key.get("agent_config_id", "")), Spent.of(row)))
    still_open = queries.still_open(work.session, scope, wanted)
    return Report(
        since=since,
        until=until,
        group_by=groups,
        rows=rows,
        total=sum((row.spent for row in rows), Spent()),
        under_way=Spent.of(still_open[EntryStatus.RESERVED]),
        unknown=Spent.of(still_open[EntryStatus.UNKNOWN]),
    )
