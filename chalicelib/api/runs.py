"""Runs: start, watch, stop, repeat."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from chalicelib.api.http import Out, Page, route
from chalicelib.api.listing import page_of
from chalicelib.api.pages import Keyset, Listing
from chalicelib.api.parsing import In, Instant
from chalicelib.db.models.agent import AgentRun, AgentRunStep
from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Conflict, Invalid, NotFound, Unavailable
from chalicelib.domain.ids import AgentConfigId, RunId, is_id
from chalicelib.domain.runs import RunStatus, Trigger
from chalicelib.services.runs import start
from chalicelib.tracing import Place


class RunOut(Out):
    """A run, without its steps."""

    id: str
    agent_type: str
    agent_config_id: str | None
    status: RunStatus
    trigger: Trigger
    items_processed: int
    items_succeeded: int
    items_failed: int
    items_total: int | None = Field(description="When known.")
    current_step: str | None
    wait_reason: str | None = Field(description="Why it is not at work just now, in words.")
    error: str | None = Field(description="Why it failed, in words.")
    error_code: str | None
    attempt: int
    requested_by: str | None
    replay_of: str | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None = Field(description="From its start to its end, waits included; null until then.")

    credits: int | None = Field(description="Of providers; null until its end.")
    dollars: float | None = Field(
        description="US dollars for models; null until its end, and where a price is not known."
    )

    @classmethod
    def of(cls, run: AgentRun) -> "RunOut":
        return cls(**_fields(run))


class StepOut(Out):
    """A recorded step."""

    key: str
    status: str
    error: str | None
    error_code: str | None
    item: bool
    proposal: dict[str, Any] | None = Field(description="The item it gave birth to, or why none.")
    remembered_at: datetime | None = Field(
        description="When the provider said so, if it was remembered; null if it was asked for in this step."
    )
    duration_ms: int
    recorded_at: datetime

    @classmethod
    def of(cls, step: AgentRunStep) -> "StepOut":
        return cls(
            key=step.key,
            status=step.status,
            error=step.error,
            error_code=step.error_code,
            item=step.item,
            proposal=step.proposal,
            remembered_at=step.remembered_at,
            duration_ms=step.duration_ms,
            recorded_at=step.recorded_at,
        )


class UsageOut(Out):
    """What a run booked with a provider."""

    provider: str
    status: str = Field(description="reserved, settled, released or unknown")
    calls: int
    credits: int
    dollars: float | None = Field(description="Null: a model was used whose price is not known.")
    tokens_in: int
    tokens_out: int


class RunDetailOut(RunOut):
    """A run with everything it did."""

    input: dict[str, Any]
    config: dict[str, Any]
    config_version: int | None
    output: dict[str, Any] | None
    trace_id: str | None = Field(description="Of the request's trace, for X-Ray and the logs.")
    steps: list[StepOut]
    usage: list[UsageOut]


class NewRun(In):
    """Which agent: a saved one by configId, or a type with its defaults."""

    agent_type: Annotated[str, Field(max_length=50, examples=["lead_source"])] | None = None
    config_id: str | None = None
    input: dict[str, Any] = Field({}, description="Fits the agent type's inputSchema.")
    trigger: Annotated[Trigger, Field(strict=False)] = Trigger.API


class Replay(In):
    from_checkpoints: bool = Field(
        default=False,
        description="Start from what the old run had recorded, while its steps' outputs are kept.",
    )


class RunListing(Listing):
    status: (
        Annotated[tuple[RunStatus, ...], Field(min_length=1, max_length=5, description="Any of these.")]
        | None
    ) = None
    trigger: (
        Annotated[tuple[Trigger, ...], Field(min_length=1, max_length=4, description="Any of these.")] | None
    ) = None
    agent_type: Annotated[str, Field(max_length=50)] | None = None
    config_id: Annotated[str, Field(max_length=36, description="A saved agent, or one put away.")] | None = (
        None
    )
    created_from: Annotated[Instant, Field(description="Accepted at this instant or later.")] | None = None
    created_to: Annotated[Instant, Field(description="Accepted before this instant.")] | None = None


NEWEST = Keyset("runs", tuple[Instant, str])
MOST_STEPS = 500


@route("GET", "/v1/runs", needs=Permission.AGENTS_READ, summary="Runs, the newest first.")
def list_runs(work: Work, query: RunListing) -> Page[RunOut]:
    wanted = queries.Wanted(
        statuses=query.status or (),
        triggers=query.trigger or (),
        agent_type=query.agent_type,
        config_id=query.config_id,
        born_from=query.created_from,
        born_before=query.created_to,
    )
    found = queries.matching(
        work.session, work.actor.scope, wanted, after=NEWEST.read(query.cursor), limit=query.limit
    )
    return page_of(NEWEST, found, limit=query.limit, item=RunOut.of)


@route(
    "POST",
    "/v1/runs",
    needs=Permission.AGENTS_EXECUTE,
    summary="Start a run. It is accepted at once and executed by a worker.",
    status=202,
    idempotent=True,
    raises=(Invalid, NotFound, Conflict, Unavailable),
)
def start_run(work: Work, body: NewRun) -> RunOut:
    if body.trigger not in (Trigger.API, Trigger.MANUAL):
        raise Invalid("A person or a program starts a run as manual or api.", pointer="/trigger")
    if body.config_id is not None and not is_id("AgentConfigId", body.config_id):
        raise NotFound(f"Agent config not found: {body.config_id}")
    run = start.start(
        work,
        agent_type=body.agent_type,
        config_id=AgentConfigId(body.config_id) if body.config_id else None,
        inputs=body.input,
        trigger=body.trigger,
    )
    return RunOut.of(run)


@route(
    "GET",
    "/v1/runs/{run_id}",
    needs=Permission.AGENTS_READ,
    summary="One run: its progress, steps and cost.",
    raises=(NotFound,),
)
def get_run(work: Work, run_id: RunId) -> RunDetailOut:
    scope = work.actor.scope
    run = queries.get(work.session, scope, run_id)
    place = Place.of(run.causation.get("trace"))
    return RunDetailOut(
        **_fields(run),
        input=run.input,
        config=run.config,
        config_version=run.config_version,
        output=run.output,
        trace_id=place.trace_id if place else None,
        steps=[StepOut.of(step) for step in queries.steps(work.session, scope, run_id, limit=MOST_STEPS)],
        usage=[
            UsageOut(
                provider=row.provider,
                status=row.status,
                calls=row.calls,
                credits=row.credits,
                dollars=None if row.dollars is None else float(row.dollars),
                tokens_in=row.tokens_in,
                tokens_out=row.tokens_out,
            )
            for row in queries.usage(work.session, scope, run_id)
        ],
    )


@route(
    "POST",
    "/v1/runs/{run_id}/cancel",
    needs=Permission.AGENTS_EXECUTE,
    summary="Stop a run: at once when it waits, before its next paid call when it works.",
    status=202,
    raises=(NotFound, Conflict),
)
def cancel_run(work: Work, run_id: RunId) -> RunOut:
    start.cancel(work, run_id)
    return RunOut.of(queries.get(work.session, work.actor.scope, run_id))


@route(
    "POST",
    "/v1/runs/{run_id}/replay",
    needs=Permission.AGENTS_EXECUTE,
    summary="Do a finished run again, as a new one.",
    status=202,
    idempotent=True,
    raises=(NotFound, Conflict, Unavailable),
)
def replay_run(work: Work, run_id: RunId, body: Replay | None) -> RunOut:
    again = start.replay(work, run_id, from_checkpoints=body is not None and body.from_checkpoints)
    return RunOut.of(again)


def _fields(run: AgentRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "agent_type": run.agent_type,
        "agent_config_id": run.agent_config_id,
        "status": RunStatus(run.status),
        "trigger": Trigger(run.trigger),
        "items_processed": run.items_processed,
        "items_succeeded": run.items_succeeded,
        "items_failed": run.items_failed,
        "items_total": run.items_total,
        "current_step": run.current_step,
        "wait_reason": run.wait_reason,
        "error": run.error,
        "error_code": run.error_code,
        "attempt": run.attempt,
        "requested_by": run.requested_by,
        "replay_of": run.replay_of,
        "cancel_requested": run.cancel_requested_at is not None,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "duration_ms": _duration(run),
        "credits": run.credits,
        "dollars": None if run.dollars is None else float(run.dollars),
    }


def _duration(run: AgentRun) -> int | None:
    if run.started_at is None or run.completed_at is None:
        return None
    return (run.completed_at - run.started_at) // timedelta(milliseconds=1)
