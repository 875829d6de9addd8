"""Every statement on budgets and the months they are held against."""

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from chalicelib.db.models import Budget, UsageMonth
from chalicelib.domain.ids import TenantScope

_THIS_MONTH = func.date_trunc("month", func.timezone("UTC", func.app_now()))


def get(session: Session, scope: TenantScope) -> Budget | None:
    return session.scalar(select(Budget).where(Budget.customer_id == scope))


def month(session: Session, scope: TenantScope) -> UsageMonth | None:
    """What is booked this month, UTC; None before the first paid call."""
    return session.scalar(
        select(UsageMonth).where(UsageMonth.customer_id == scope, UsageMonth.month == _THIS_MONTH)
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
