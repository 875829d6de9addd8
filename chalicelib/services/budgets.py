"""What a tenant allows its agents to spend a month."""

from decimal import Decimal

from chalicelib.db.models import Budget
from chalicelib.db.queries import budgets as queries
from chalicelib.db.work import Work
from chalicelib.domain.errors import Conflict


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
    work.audit("budget.changed", work.actor.customer_id, version=saved.version)
    return saved
