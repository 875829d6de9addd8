"""Every statement on budgets and the months they are held against."""

from collections.abc import Sequence

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from chalicelib.db.models.money import Budget, BudgetAlert, UsageDay, UsageMonth
from chalicelib.domain.ids import TenantScope

_THIS_MONTH = func.date_trunc("month", func.timezone("UTC", func.app_now()))


def get(session: Session, scope: TenantScope) -> Budget | None:
    return session.scalar(select(Budget).where(Budget.customer_id == scope))


def month(session: Session, scope: TenantScope) -> UsageMonth | None:
    """What is booked this month, UTC; None before the first paid call."""
    return session.scalar(
        select(UsageMonth).where(UsageMonth.customer_id == scope, UsageMonth.month == _THIS_MONTH)
    )


def alerts(session: Session, scope: TenantScope) -> Sequence[BudgetAlert]:
    """The thresholds that were told of this month, UTC, in the order in which they were reached."""
    return session.scalars(
        select(BudgetAlert)
        .where(BudgetAlert.customer_id == scope, BudgetAlert.month == _THIS_MONTH)
        .order_by(BudgetAlert.reached_at, BudgetAlert.unit, BudgetAlert.cap, BudgetAlert.threshold)
    ).all()


def unpriced_calls(session: Session, scope: TenantScope) -> int:
    """Calls of this month, UTC, of a model whose price nobody knows."""
    return int(
        session.scalar(
            select(func.coalesce(func.sum(UsageDay.unpriced_calls), 0)).where(
                UsageDay.customer_id == scope, UsageDay.day >= _THIS_MONTH
            )
        )
        or 0
    )


def hold_month(session: Session, scope: TenantScope) -> None:
    """Let nobody book a call until the commit: who books holds the same row."""
    session.execute(insert(UsageMonth).values(customer_id=scope, month=_THIS_MONTH).on_conflict_do_nothing())
    session.execute(
        select(text("1"))
        .select_from(UsageMonth)
        .where(UsageMonth.customer_id == scope, UsageMonth.month == _THIS_MONTH)
        .with_for_update()
    )
