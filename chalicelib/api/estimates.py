"""What a run would cost, before it runs."""

from typing import Any

from pydantic import Field

from chalicelib.api.http import Out, route
from chalicelib.api.parsing import In
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Invalid, NotFound
from chalicelib.domain.ids import AgentConfigId
from chalicelib.domain.money import Payer
from chalicelib.services import estimates
from chalicelib.services.estimates import Basis, Chance, Estimate, Figures, Operation, Stop


class EstimateIn(In):
    input: dict[str, Any] = Field(
        {}, description="Fits the agent type's inputSchema, as POST /v1/runs takes it."
    )


class EstimatedOut(Out):
    """Likely, and at most unless a call has to be repeated because it failed."""

    likely_calls: int
    calls_at_most: int
    likely_credits: int
    credits_at_most: int
    likely_dollars: float | None = Field(
        description="US dollars for models; null: `dollarsUnknown` says why."
    )
    dollars_at_most: float | None

    @classmethod
    def between(cls, likely: Figures, at_most: Figures) -> "EstimatedOut":
        return cls(**_between(likely, at_most))


class EstimatedOperationOut(EstimatedOut):
    """One kind of call."""

    provider: str
    operation: str
    model: str | None
    payer: Payer = Field(description="Whose key: the tenant's own, or the installation's.")

    @classmethod
    def of(cls, operation: Operation) -> "EstimatedOperationOut":
        return cls(
            **_between(operation.likely, operation.at_most),
            provider=operation.provider,
            operation=operation.operation,
            model=operation.terms.model,
            payer=operation.terms.payer,
        )


class StopOut(Out):
    """What would keep the run from starting, have it wait, or end it early."""

    code: str = Field(description="As a run's errorCode where it would fail with one.")
    chance: Chance = Field(
        description="certain; likely: with the likely figures; possible: with the highest ones."
    )
    message: str

    @classmethod
    def of(cls, stop: Stop) -> "StopOut":
        return cls(code=stop.code, chance=stop.chance, message=stop.message)


class EstimateOut(EstimatedOut):
    """What a run of this agent would cost if it began now. Nothing was called and nothing is booked."""

    based_on: Basis = Field(
        description="What the likely figures rest on: this agent's last runs, those of its type, or its config alone."
    )
    runs: int = Field(description="So many past runs.")
    items: int = Field(description="That the run likely works on, as limits count them.")
    dollars_unknown: str | None = Field(description="Why dollars are null.")
    likely_seconds: float | None = Field(
        description="From start to end, waits included; null where no run was like it."
    )
    operations: list[EstimatedOperationOut]
    stops: list[StopOut]

    @classmethod
    def of(cls, told: Estimate) -> "EstimateOut":
        return cls(
            **_between(told.likely, told.at_most),
            based_on=told.basis,
            runs=told.runs,
            items=told.items,
            dollars_unknown=f"Nobody knows what {', '.join(told.unpriced)} costs." if told.unpriced else None,
            likely_seconds=None if told.seconds is None else round(told.seconds, 1),
            operations=[EstimatedOperationOut.of(operation) for operation in told.operations],
            stops=[StopOut.of(stop) for stop in told.stops],
        )


@route(
    "POST",
    "/v1/agents/{config_id}/estimate",
    needs=Permission.AGENTS_READ,
    summary="What a run of a saved agent would cost, before it runs, and what would stop it.",
    raises=(NotFound, Invalid),
)
def estimate_run(work: Work, config_id: AgentConfigId, body: EstimateIn | None) -> EstimateOut:
    return EstimateOut.of(estimates.estimate(work, config_id, body.input if body else {}))


def _between(likely: Figures, at_most: Figures) -> dict[str, Any]:
    return {
        "likely_calls": likely.calls,
        "calls_at_most": at_most.calls,
        "likely_credits": likely.credits,
        "credits_at_most": at_most.credits,
        "likely_dollars": None if likely.dollars is None else float(likely.dollars),
        "dollars_at_most": None if at_most.dollars is None else float(at_most.dollars),
    }
