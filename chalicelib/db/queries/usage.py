"""Every statement that tells what was spent: sums by the day, what is still open, and the ledger's own lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, select, text
from sqlalchemy.orm import Session

from chalicelib.db.models.agent import AgentConfig
from chalicelib.db.models.money import UsageDay, UsageEntry
from chalicelib.db.pages import AnyOf, Key, Slice, page, page_across
from chalicelib.domain.ids import TenantScope
from chalicelib.domain.money import EntryStatus, Grouping

COLUMNS: Final[Mapping[Grouping, Sequence[Any]]] = {
    Grouping.DAY: (UsageDay.day,),
    Grouping.AGENT: (UsageDay.agent_config_id, UsageDay.agent_type),
    Grouping.AGENT_TYPE: (UsageDay.agent_type,),
    Grouping.PROVIDER: (UsageDay.provider,),
    Grouping.MODEL: (UsageDay.model,),
    Grouping.PAYER: (UsageDay.payer,),
}
FIGURES: Final = (
    "calls",
    "unpriced_calls",
    "credits",
    "dollars",
    "tokens_in",
    "tokens_cached",
    "tokens_out",
    "tokens_reasoning",
)

# A tenant's providers, each found by a seek past the one before: they are few, their entries are not.
_PROVIDERS: Final = """
    WITH RECURSIVE known AS (
        (SELECT provider FROM usage_entries WHERE customer_id = :scope ORDER BY provider LIMIT 1)
        UNION ALL
        SELECT (
            SELECT u.provider FROM usage_entries u
            WHERE u.customer_id = :scope AND u.provider > known.provider ORDER BY u.provider LIMIT 1
        ) FROM known WHERE known.provider IS NOT NULL
    )
"""
_KNOWN = text(f"{_PROVIDERS} SELECT provider FROM known WHERE provider IS NOT NULL ORDER BY 1")  # noqa: S608 - constants
_OPEN = text(f"""
    {_PROVIDERS}
    SELECT s.status, coalesce(sum(o.calls), 0) AS calls, coalesce(sum(o.unpriced_calls), 0) AS unpriced_calls,
           coalesce(sum(o.credits), 0) AS credits, coalesce(sum(o.dollars), 0) AS dollars
    FROM unnest(CAST(:statuses AS text[])) AS s(status) LEFT JOIN known ON known.provider IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT count(*) AS calls, count(*) - count(u.dollars) AS unpriced_calls, sum(u.credits) AS credits,
               sum(u.dollars) AS dollars
        FROM usage_entries u
        WHERE u.customer_id = :scope AND u.provider = known.provider AND u.status = s.status
          AND u.created_at >= :begins AND u.created_at < :ends
          AND (CAST(:provider AS text) IS NULL OR u.provider = :provider)
          AND (CAST(:agent_type AS text) IS NULL OR u.agent_type = :agent_type)
          AND (CAST(:config_id AS text) IS NULL OR u.agent_config_id = :config_id)
          AND (CAST(:model AS text) IS NULL OR u.model = :model)
          AND (CAST(:payer AS text) IS NULL OR u.payer = :payer)
    ) o ON true
    GROUP BY s.status
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls are told: all that is said holds."""

    since: date  # UTC days, both inclusive
    until: date
    provider: str | None = None
    agent_type: str | None = None
    config_id: str | None = None
    model: str | None = None
    payer: str | None = None


def spent(
    session: Session, scope: TenantScope, wanted: Wanted, *, group_by: Sequence[Grouping], most: int
) -> Sequence[Row[Any]]:
    """What was spent, in one seek of the days' sums: settled calls, and those that nobody heard of again."""
    columns = list(dict.fromkeys(column for group in group_by for column in COLUMNS[group]))
    calls = func.sum(UsageDay.calls)
    asked = (
        select(*columns, *(func.sum(getattr(UsageDay, name)).label(name) for name in FIGURES))
        .where(UsageDay.customer_id == scope, UsageDay.day >= wanted.since, UsageDay.day <= wanted.until)
        .having(calls != 0)
        .group_by(*columns)
        .order_by(*columns)
        .limit(most)
    )
    for column, value in (
        (UsageDay.provider, wanted.provider),
        (UsageDay.agent_type, wanted.agent_type),
        (UsageDay.agent_config_id, wanted.config_id),
        (UsageDay.model, wanted.model),
        (UsageDay.payer, wanted.payer),
    ):
        if value is not None:
            asked = asked.where(column == value)
    return session.execute(asked).all()


def still_open(session: Session, scope: TenantScope, wanted: Wanted) -> Mapping[EntryStatus, Row[Any]]:
    """Of the calls begun in these days, those that are under way and those that nobody heard of again."""
    parameters = {
        "scope": scope,
        "statuses": [EntryStatus.RESERVED.value, EntryStatus.UNKNOWN.value],
        "begins": _begin_of(wanted.since),
        "ends": _begin_of(wanted.until + timedelta(days=1)),
        "provider": wanted.provider,
        "agent_type": wanted.agent_type,
        "config_id": wanted.config_id,
        "model": wanted.model,
        "payer": wanted.payer,
    }
    return {EntryStatus(row.status): row for row in session.execute(_OPEN, parameters).all()}


def agents_called(session: Session, scope: TenantScope, ids: Sequence[str]) -> Mapping[str, Any]:
    """Names of these agents by id, of those put away, too."""
    found = session.execute(
        select(AgentConfig.id, AgentConfig.name, AgentConfig.deleted_at).where(
            AgentConfig.customer_id == scope, AgentConfig.id.in_(ids)
        )
    )
    return {row.id: row for row in found}


@dataclass(frozen=True, slots=True)
class Lines:
    """Which lines of the ledger a list shows."""

    run_id: str | None = None
    provider: str | None = None
    statuses: Sequence[EntryStatus] = ()
    day: date | None = None  # UTC


def entries(
    session: Session, scope: TenantScope, lines: Lines, *, after: Sequence[Any] | None, limit: int
) -> Slice:
    """A page of the ledger, the newest call first.

    A run's lines are few; otherwise each provider and status is sought.
    """
    query = select(UsageEntry).where(UsageEntry.customer_id == scope)
    order = [Key(UsageEntry.created_at, descending=True), Key(UsageEntry.id, descending=True)]
    where: list[ColumnElement[bool]] = []
    if lines.day is not None:
        where = [
            UsageEntry.created_at >= _begin_of(lines.day),
            UsageEntry.created_at < _begin_of(lines.day + timedelta(days=1)),
        ]
    statuses = sorted(set(lines.statuses or EntryStatus))
    if lines.run_id is not None:
        query = query.where(UsageEntry.run_id == lines.run_id, UsageEntry.status.in_(statuses), *where)
        if lines.provider is not None:
            query = query.where(UsageEntry.provider == lines.provider)
        return page(session, query, order=order, after=after, limit=limit)
    providers = [lines.provider] if lines.provider is not None else _providers(session, scope)
    across = [AnyOf(UsageEntry.provider, providers), AnyOf(UsageEntry.status, statuses)]
    return page_across(session, query, where=where, across=across, order=order, after=after, limit=limit)


def _begin_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _providers(session: Session, scope: TenantScope) -> list[str]:
    return list(session.execute(_KNOWN, {"scope": scope}).scalars())
