"""What a tenant allows its agents to spend a month."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from chalicelib.db.models.money import Budget, BudgetAlert, UsageMonth
from chalicelib.db.queries import budgets as queries
from chalicelib.db.work import Work
from chalicelib.domain.errors import Conflict

A_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ThisMonth:
    """The budget and what is booked against it."""

    budget: Budget | None
    booked: UsageMonth | None  # None before the first paid call
    unpriced_calls: int
    alerts: Sequence[BudgetAlert]
    share: Decimal | None  # of the month that is over; None in its first day, which says too little

    def projected(self, spent: Decimal) -> Decimal | None:
        """What the month comes to if it goes on as it has so far."""
        return None if self.share is None else spent / self.share


def this_month(work: Work) -> ThisMonth:
    """By UTC, as of now."""
    scope = work.actor.scope
    return ThisMonth(
        budget=queries.get(work.session, scope),
        booked=queries.month(work.session, scope),
        unpriced_calls=queries.unpriced_calls(work.session, scope),
        alerts=queries.alerts(work.session, scope),
        share=share_of_month(work.now),
    )


def share_of_month(now: datetime) -> Decimal | None:
    """How much of its UTC month is over, between 0 and 1; None in its first day."""
    here = now.astimezone(UTC)
    begin = here.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    if here - begin < A_DAY:
        return None
    return Decimal((here - begin) // timedelta(seconds=1)) / Decimal((end - begin) // timedelta(seconds=1))


def change(
    work: Work, *, version: int, monthly_credits: int | None, monthly_dollars: Decimal | None
) -> Budget:
    """Set both caps; None takes one away. A call that is booked after the commit obeys them.

    `version` is 0 where there was no budget yet. Raises Conflict when somebody else changed it first.
    """
    queries.hold_month(work.session, work.actor.scope)
    saved = queries.get(work.session, work.actor.scope)
    seen = saved.version if saved else 0
    if seen != version:
        raise Conflict(
            "The budget was changed since you saw it. Load it again and repeat your change.",
            code="stale_version",
            details={"version": seen},
        )
    if saved is None:
        saved = Budget(customer_id=work.actor.customer_id)
        work.session.add(saved)
    saved.monthly_credits, saved.monthly_dollars = monthly_credits, monthly_dollars
    saved.version, saved.updated_at = seen + 1, work.now
    work.session.flush()
    work.emitted = True  # a cap that is lowered may have reached a threshold: the database tells
    work.audit("budget.changed", work.actor.customer_id, version=saved.version)
    return saved
