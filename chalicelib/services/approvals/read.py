"""Figures of the queue."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select

from chalicelib.db.models.tenant import Customer
from chalicelib.db.queries import approvals as queries
from chalicelib.db.work import Work


@dataclass(frozen=True, slots=True)
class Stats:
    total: int
    by_status: dict[str, int]
    by_agent: list[tuple[str, int, int, int]]  # type, pending, approved or edited, rejected


def stats(work: Work) -> Stats:
    by_status: dict[str, int] = {}
    by_agent: dict[str, list[int]] = {}
    place = {"pending": 0, "approved": 1, "edited": 1, "rejected": 2}
    for row in queries.stats(work.session, work.actor.scope):
        by_status[row.status] = by_status.get(row.status, 0) + row.items
        figures = by_agent.setdefault(row.agent_type, [0, 0, 0])
        if row.status in place:
            figures[place[row.status]] += row.items
    return Stats(
        total=sum(by_status.values()),
        by_status=by_status,
        by_agent=[(agent_type, *figures) for agent_type, figures in sorted(by_agent.items())],  # type: ignore[misc]
    )


def approved_today(work: Work) -> int:
    """Approved or edited since midnight in the tenant's zone."""
    zone = work.session.scalar(select(Customer.time_zone).where(Customer.id == work.actor.scope)) or "UTC"
    return queries.approved_since(work.session, work.actor.scope, midnight(work.now, zone))


def midnight(now: datetime, zone: str) -> datetime:
    """The day's beginning in this zone."""
    return now.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
