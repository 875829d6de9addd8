"""What agents may spend a month, and what they have spent."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from chalicelib.api.http import Out, route
from chalicelib.api.parsing import In
from chalicelib.db.queries import budgets as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Conflict
from chalicelib.domain.money import dollars_of
from chalicelib.services import budgets

Credits = Annotated[int, Field(ge=0, le=1_000_000_000)]
Dollars = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]


class BudgetOut(Out):
    """The caps, and this month (UTC) beside them. Reserved: calls under way, at their worst."""

    monthly_credits: int | None = Field(description="Apollo credits; null: no cap.")
    monthly_dollars: float | None = Field(description="US dollars for models; null: no cap.")
    version: int = Field(description="0 before the first budget.")
    updated_at: datetime | None
    credits_spent: int
    credits_reserved: int
    dollars_spent: float
    dollars_reserved: float

    @classmethod
    def now(cls, work: Work) -> "BudgetOut":
        scope = work.actor.scope
        saved, month = queries.get(work.session, scope), queries.month(work.session, scope)
        return cls(
            monthly_credits=saved.monthly_credits if saved else None,
            monthly_dollars=None
            if saved is None or saved.monthly_dollars is None
            else float(saved.monthly_dollars),
            version=saved.version if saved else 0,
            updated_at=saved.updated_at if saved else None,
            credits_spent=month.credits_spent if month else 0,
            credits_reserved=month.credits_reserved if month else 0,
            dollars_spent=float(month.dollars_spent) if month else 0,
            dollars_reserved=float(month.dollars_reserved) if month else 0,
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
