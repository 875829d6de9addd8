"""Every statement on runs, their steps and the tenant's queue."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, TextClause, case, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.orm import defer as defer_column

from chalicelib.db.driver import Deferred, Target, defer, execute_and_commit, sqlstate
from chalicelib.db.models.agent import AgentConfig, AgentRun, AgentRunStep
from chalicelib.db.models.money import UsageEntry
from chalicelib.db.pages import AnyOf, Key, Slice, page, page_across
from chalicelib.domain.errors import LeaseLost, NotFound
from chalicelib.domain.ids import RunId, TenantScope
from chalicelib.domain.money import Gate, Refusal
from chalicelib.domain.runs import FAILURES_IN_A_ROW, LEASE, OLDEST, RunStatus, Trigger

LOST: Final = "BV001"
"""The SQLSTATE with which the fence refuses."""

LONGEST_REASON: Final = 200

_CLAIMED: Final = """
    SELECT (c.run).id, (c.run).agent_type, (c.run).agent_config_id, (c.run).input, (c.run).config,
           (c.run).agent_version, (c.run).attempt, (c.run).failures, (c.run).requested_by, (c.run).trigger,
           (c.run).causation, (c.run).owner_id, (c.run).approval_required, (c.run).approval_expiry_hours,
           (c.run).due_at,
           c.rings, c.told
"""
_CLAIM = text(f"{_CLAIMED} FROM claim_run(:token, :lease, :limit, :enabled, :failures, :oldest, :sinks) c")
_FENCE = text("SELECT * FROM fence(:run, :token, :lease, :queue)")
_CHECKPOINT = text("""
    SELECT * FROM checkpoint(
        :run, :token, :lease, CAST(:steps AS jsonb), CAST(:settled AS jsonb), CAST(:news AS jsonb),
        CAST(:calls AS jsonb), CAST(:quote AS jsonb), :step, :total
    )
""")
_YIELD = text("SELECT * FROM yield_run(:run, :token, :lease, :due, :reason, :failures, :limit, :sinks)")
_FINISH = text(f"""
    {_CLAIMED} FROM finish_and_claim(
        :run, :token, :lease, CAST(:steps AS jsonb), CAST(:settled AS jsonb), CAST(:news AS jsonb), :total,
        :status, CAST(:output AS jsonb), :code, :error, :limit, :sinks, :next_token, :enabled, :oldest
    ) c
""")
_CANCEL = text("SELECT * FROM cancel_run(:run, :user, :limit, :sinks)")
_LIMITS_CHANGED = text("SELECT limits_changed(:config)")
_CANCEL_PENDING_OF = text("SELECT cancel_pending_of(:config, :user, :most, :sinks)")
_COPY_STEPS = text("""
    INSERT INTO agent_run_steps
        (customer_id, run_id, key, status, input_hash, output, error, error_code, item, duration_ms, remembered_at)
    SELECT customer_id, :target, key, status, input_hash, output, error, error_code, item, 0, remembered_at
    FROM agent_run_steps
    WHERE customer_id = :scope AND run_id = :source AND status = 'succeeded' AND proposal IS NULL
      AND NOT EXISTS (
        SELECT FROM agent_run_steps gone
        WHERE gone.customer_id = :scope AND gone.run_id = :source AND gone.output_removed_at IS NOT NULL
      )
""")


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's hold on a run."""

    run_id: RunId
    token: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a worker has to record of a run, besides what it proposes."""

    steps: Sequence[Mapping[str, Any]] = ()
    settled: Sequence[Mapping[str, Any]] = ()
    news: Sequence[Mapping[str, Any]] = ()
    total: int | None = None

    def as_parameters(self) -> dict[str, Any]:
        return {
            "steps": json.dumps(self.steps),
            "settled": json.dumps(self.settled),
            "news": json.dumps(self.news),
            "total": self.total,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What a checkpoint found while it held the run."""

    cancel_requested: bool
    agents_enabled: bool
    refusal: Refusal | None  # of the calls that were to be booked


def claim(target: Target, *, token: str, limit: int, enabled: bool, sinks: Sequence[str]) -> Row[Any]:
    """Take the tenant's best due run and commit, in one flight. `id` is None when there is none or no slot.

    `attempt` counts this claim. `rings` says whether a message is owed, `told` whether events were emitted.
    """
    return execute_and_commit(
        target,
        _CLAIM,
        {
            "token": token,
            "lease": LEASE,
            "limit": limit,
            "enabled": enabled,
            "failures": FAILURES_IN_A_ROW,
            "oldest": OLDEST,
            "sinks": list(sinks),
        },
    ).one()


def fence(target: Target, lease: Lease, *, queue: bool = False) -> Deferred:
    """Hold the run until commit, or have the transaction's next flight raise; see `lost`."""
    return defer(target, _FENCE, {"run": lease.run_id, "token": lease.token, "lease": LEASE, "queue": queue})


def checkpoint(
    target: Target,
    lease: Lease,
    written: Written,
    *,
    calls: list[dict[str, Any]],
    quote: dict[str, Any] | None,
    current_step: str | None,
) -> Deferred:
    """Fence, record results, and book calls at one quote, all or none, with the next flight; see `answer`."""
    return defer(
        target,
        _CHECKPOINT,
        {
            "run": lease.run_id,
            "token": lease.token,
            "lease": LEASE,
            **written.as_parameters(),
            "calls": json.dumps(calls),
            "quote": json.dumps(quote),
            "step": current_step,
        },
    )


def answer(answered: Deferred) -> Answer:
    """What the checkpoint said, once its flight is back."""
    row = answered.one()
    refusal = row.gate and Refusal(Gate(row.gate), row.most, row.fits, row.retry_in)
    return Answer(row.cancel_requested, row.agents_enabled, refusal)


def tries(session: Session, scope: TenantScope, run_id: str, codes: Collection[str]) -> dict[str, int]:
    """How often each step's call met one of these errors."""
    found = session.execute(
        select(UsageEntry.step_key, func.count().label("tries"))
        .where(UsageEntry.customer_id == scope, UsageEntry.run_id == run_id, UsageEntry.error_code.in_(codes))
        .group_by(UsageEntry.step_key)
    )
    return {row.step_key: row.tries for row in found}


def limits_changed(session: Session, config_id: str) -> int:
    """Have the agent's runs that wait look again, and no item be booked by its old limits once this commits.

    Returns how many runs were woken. The caller has to ring if there are any.
    """
    return int(session.execute(_LIMITS_CHANGED, {"config": config_id}).scalar_one())


def give_back(
    target: Target,
    lease: Lease,
    *,
    due: timedelta,
    reason: str | None,
    failures: int,
    limit: int,
    sinks: Sequence[str],
) -> Row[Any]:
    """Back to pending, due later, at the latest when the run is too old; or ended, if that was asked for.

    `rings` says whether a message is owed, `ended` whether the run is over.
    """
    return execute_and_commit(
        target,
        _YIELD,
        {
            "run": lease.run_id,
            "token": lease.token,
            "lease": LEASE,
            "due": min(due, OLDEST),
            "reason": reason and reason[:LONGEST_REASON],
            "failures": failures,
            "limit": limit,
            "sinks": list(sinks),
        },
    ).one()


def finish(
    target: Target,
    lease: Lease,
    written: Written,
    *,
    status: str,
    output: dict[str, Any] | None,
    code: str | None,
    error: str | None,
    next_token: str | None,
    limit: int,
    enabled: bool,
    sinks: Sequence[str],
) -> Row[Any]:
    """Fence, write what is left and end the run for good, in one flight with the commit.

    With a `next_token` the tenant's best due run is taken in its place. Answers what `claim` does.
    """
    return execute_and_commit(
        target,
        _FINISH,
        {
            "run": lease.run_id,
            "token": lease.token,
            "lease": LEASE,
            **written.as_parameters(),
            "status": status,
            "output": None if output is None else json.dumps(output),
            "code": code,
            "error": error,
            "limit": limit,
            "sinks": list(sinks),
            "next_token": next_token,
            "enabled": enabled,
            "oldest": OLDEST,
        },
    ).one()


def lost(error: DBAPIError) -> bool:
    """Whether the fence refused."""
    return sqlstate(error) == LOST


def raise_if_lost(error: DBAPIError) -> None:
    if lost(error):
        raise LeaseLost from None


def cancel(
    session: Session, run_id: RunId, user_id: str | None, *, limit: int, sinks: Sequence[str]
) -> Row[Any] | None:
    return session.execute(
        _CANCEL, {"run": run_id, "user": user_id, "limit": limit, "sinks": list(sinks)}
    ).one_or_none()


def cancel_pending_of(
    session: Session, config_id: str, user_id: str | None, *, most: int, sinks: Sequence[str]
) -> int:
    """End what waits for this configuration; how many runs that were, `most` at most."""
    parameters = {"config": config_id, "user": user_id, "most": most, "sinks": list(sinks)}
    return int(session.execute(_CANCEL_PENDING_OF, parameters).scalar_one())


def add(target: Target, run: AgentRun) -> None:
    """Store a new run with the next flight, which may be the one that commits."""
    stored = {name: getattr(run, name) for name in _COLUMNS if name in run.__dict__}
    written = {name: json.dumps(value) if name in _JSON else value for name, value in stored.items()}
    defer(target, _insert(tuple(stored)), written)


_COLUMNS: Final = tuple(column.name for column in AgentRun.__table__.columns)
_JSON: Final = frozenset(
    column.name for column in AgentRun.__table__.columns if isinstance(column.type, JSONB)
)


@cache
def _insert(names: tuple[str, ...]) -> TextClause:
    """As plain text, which costs a fraction of a built statement."""
    values = (f"CAST(:{name} AS jsonb)" if name in _JSON else f":{name}" for name in names)
    return text(f"INSERT INTO agent_runs ({', '.join(names)}) VALUES ({', '.join(values)})")  # noqa: S608 - columns' names


def get(session: Session, scope: TenantScope, run_id: str) -> AgentRun:
    """The run, or NotFound (also for another tenant's, so ids cannot be probed)."""
    run = session.scalar(select(AgentRun).where(AgentRun.customer_id == scope, AgentRun.id == run_id))
    if run is None:
        raise NotFound("There is no such run.")
    return run


def steps(
    session: Session, scope: TenantScope, run_id: str, *, limit: int | None = None
) -> Sequence[AgentRunStep]:
    """A run's recorded steps in the order they were recorded."""
    return session.scalars(
        select(AgentRunStep)
        .where(AgentRunStep.customer_id == scope, AgentRunStep.run_id == run_id)
        .order_by(AgentRunStep.recorded_at, AgentRunStep.key)
        .limit(limit)
    ).all()


def usage(session: Session, scope: TenantScope, run_id: str) -> Sequence[Any]:
    """What a run paid for, by provider and status."""
    entry = UsageEntry
    return session.execute(
        select(
            entry.provider,
            entry.status,
            func.count().label("calls"),
            func.sum(entry.credits).label("credits"),
            case((func.count() > func.count(entry.dollars), None), else_=func.sum(entry.dollars)).label(
                "dollars"
            ),
            func.sum(entry.tokens_in).label("tokens_in"),
            func.sum(entry.tokens_out).label("tokens_out"),
        )
        .where(entry.customer_id == scope, entry.run_id == run_id)
        .group_by(entry.provider, entry.status)
        .order_by(entry.provider, entry.status)
    ).all()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs a list shows: all that is said holds; nothing said is every run."""

    statuses: Sequence[RunStatus] = ()
    triggers: Sequence[Trigger] = ()
    agent_type: str | None = None
    config_id: str | None = None
    born_from: datetime | None = None  # this instant too
    born_before: datetime | None = None


def matching(
    session: Session, scope: TenantScope, wanted: Wanted, *, after: Sequence[Any] | None, limit: int
) -> Slice:
    """A page of a list of runs, the newest first, without what a list does not show.

    Each way to filter has an index whose last columns are status, trigger and the order, so every combination of
    filters is a few seeks; those that do not say a status or a trigger seek each of the few there are.
    """
    query = (
        select(AgentRun)
        .where(AgentRun.customer_id == scope)
        .options(
            defer_column(AgentRun.input),
            defer_column(AgentRun.output),
            defer_column(AgentRun.config),
            defer_column(AgentRun.causation),
        )
    )
    order = [Key(AgentRun.created_at, descending=True), Key(AgentRun.id, descending=True)]
    where = _conditions(scope, wanted)
    if not (wanted.statuses or wanted.triggers or wanted.agent_type or wanted.config_id):
        return page(session, query.where(*where), order=order, after=after, limit=limit)
    across = [
        AnyOf(AgentRun.status, sorted(set(wanted.statuses or RunStatus))),
        AnyOf(AgentRun.trigger, sorted(set(wanted.triggers or Trigger))),
    ]
    return page_across(session, query, where=where, across=across, order=order, after=after, limit=limit)


def _conditions(scope: TenantScope, wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.born_from is not None:
        conditions.append(AgentRun.created_at >= wanted.born_from)
    if wanted.born_before is not None:
        conditions.append(AgentRun.created_at < wanted.born_before)
    if wanted.config_id is not None:
        conditions.append(AgentRun.agent_config_id == wanted.config_id)
        if wanted.agent_type is not None:  # a config's runs are all of its type: asked once, not of each run
            of_type = select(AgentConfig.id).where(
                AgentConfig.customer_id == scope,
                AgentConfig.id == wanted.config_id,
                AgentConfig.agent_type == wanted.agent_type,
            )
            conditions.append(of_type.exists())
    elif wanted.agent_type is not None:
        conditions.append(AgentRun.agent_type == wanted.agent_type)
    return conditions


def copy_steps(session: Session, scope: TenantScope, *, source: str, target: str) -> None:
    """Another run's record, for a run that goes on from there. What proposed something is done again."""
    defer(session, _COPY_STEPS, {"scope": scope, "source": source, "target": target})
