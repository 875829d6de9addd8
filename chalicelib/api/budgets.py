"""What agents may spend a month, and what they have spent."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from chalicelib.api.http import Out, route
from chalicelib.api.parsing import In
from chalicelib.db.models.money import BudgetAlert
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Conflict
from chalicelib.domain.money import AlertReason, BudgetUnit, dollars_of
from chalicelib.services import budgets

Credits = Annotated[int, Field(ge=0, le=1_000_000_000)]
Dollars = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]


class ThresholdOut(Out):
    """A threshold that was reached this month, told as the event budget.threshold.reached."""

    unit: BudgetUnit
    threshold: int = Field(description="Percent of the cap: 80 or 100.")
    cap: float = Field(description="As it was then.")
    spent: float = Field(description="When it was reached.")
    reason: AlertReason = Field(
        description="run_ended: the next call might have exceeded the cap, so a run ended a little below it."
    )
    reached_at: datetime

    @classmethod
    def of(cls, alert: BudgetAlert) -> "ThresholdOut":
        return cls(
            unit=BudgetUnit(alert.unit),
            threshold=alert.threshold,
            cap=float(alert.cap),
            spent=float(alert.spent),
            reason=AlertReason(alert.reason),
            reached_at=alert.reached_at,
        )


class BudgetOut(Out):
    """The caps, and this month (UTC) beside them. Reserved: calls under way, at their worst."""

    monthly_credits: int | None = Field(description="Apollo credits; null: no cap.")
    monthly_dollars: float | None = Field(description="US dollars for models; null: no cap.")
    version: int = Field(description="0 before the first budget.")
    updated_at: datetime | None
    credits_spent: int
    credits_reserved: int
    dollars_spent: float = Field(description="As far as prices are known.")
    dollars_reserved: float
    unpriced_calls: int = Field(
        description="Calls of a model whose price nobody knows; they come on top of the dollars."
    )
    credits_projected: int | None = Field(
        description="Spent by the month's end if it goes on as so far; null in the month's first day."
    )
    dollars_projected: float | None = Field(description="Likewise, as far as prices are known.")
    thresholds: list[ThresholdOut] = Field(
        description="Reached this month, each once for each cap there was."
    )

    @classmethod
    def now(cls, work: Work) -> "BudgetOut":
        told = budgets.this_month(work)
        saved, month = told.budget, told.booked
        credits_spent = Decimal(month.credits_spent if month else 0)
        dollars_spent = month.dollars_spent if month else Decimal(0)
        credits_projected = told.projected(credits_spent)
        dollars_projected = told.projected(dollars_spent)
        return cls(
            monthly_credits=saved.monthly_credits if saved else None,
            monthly_dollars=None
            if saved is None or saved.monthly_dollars is None
            else float(saved.monthly_dollars),
            version=saved.version if saved else 0,
            updated_at=saved.updated_at if saved else None,
            credits_spent=int(credits_spent),
            credits_reserved=month.credits_reserved if month else 0,
            dollars_spent=float(dollars_spent),
            dollars_reserved=float(month.dollars_reserved) if month else 0,
            unpriced_calls=told.unpriced_calls,
            credits_projected=None if credits_projected is None else round(credits_projected),
            dollars_projected=None if dollars_projected is None else round(float(dollars_projected), 2),
            thresholds=[ThresholdOut.of(alert) for alert in told.alerts],
        )


class NewBudget(In):
    """Both caps as they shall be, and the version that was seen."""

    monthly_credits: Credits | None
    monthly_dollars: Dollars | None
    version: Annotated[int, Field(ge=0, le=2_000_000_000)]


@route("GET", "/v1/budgets", needs=Permission.USAGE_READ, summary="The month's caps and what is booked.")
def get_budget(work: Work) -> BudgetOut:
    return BudgetOut.now(work)


@route(
    "PUT",
    "/v1/budgets",
    needs=Permission.BUDGETS_WRITE,
    summary="Set the caps a month. A run that would exceed one ends, saying so.",
    raises=(Conflict,),
)
def put_budget(work: Work, body: NewBudget) -> BudgetOut:
    budgets.change(
        work,
        version=body.version,
        monthly_credits=body.monthly_credits,
        monthly_dollars=dollars_of(body.monthly_dollars),
    )
    return BudgetOut.now(work)
