"""Agent types and their saved configurations."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import Field
from pydantic.alias_generators import to_camel

from chalicelib.agents import registry
from chalicelib.agents.base import Agent
from chalicelib.api.http import Out, Page, route
from chalicelib.api.listing import page_of
from chalicelib.api.pages import Keyset, Listing
from chalicelib.api.parsing import In, Instant, Line, Version
from chalicelib.db.models.agent import AgentConfig, ScheduleFire
from chalicelib.db.pages import Key, page
from chalicelib.db.queries import agents as queries
from chalicelib.db.queries import schedules
from chalicelib.db.queries.agent_stats import TIMED
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Conflict, Invalid, NotFound
from chalicelib.domain.ids import AgentConfigId
from chalicelib.domain.runs import RunStatus
from chalicelib.domain.schedules import Outcome, following
from chalicelib.services import agents
from chalicelib.services.agent_stats import Figures, LastRun, stats

Name = Annotated[Line, Field(min_length=1, max_length=100)]
Schedule = Annotated[str, Field(max_length=100, examples=["0 8 * * MON-FRI"])]
Zone = Annotated[str, Field(max_length=50, examples=["Europe/Berlin"])]
EventTypes = Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=20)]
Most = Annotated[int, Field(ge=1, le=1_000_000)]
ExpiryHours = Annotated[int, Field(ge=1, le=24 * 90)]


class Limits(In):
    """Items that the agent's runs may take together, by the clock and calendar of timeZone."""

    hourly: Most | None = Field(None, description="Runs wait for the next hour.")
    daily: Most | None = Field(None, description="A run that reaches it is complete and leaves the rest.")


class AgentTypeOut(Out):
    """A kind of agent, with the JSON Schemas from which forms are drawn."""

    type: str
    name: str
    description: str
    icon: str
    category: str
    version: str
    requires_approval: bool
    reacts_to: list[str] = Field(description="Event types that may start it.")
    config_schema: dict[str, Any]
    input_schema: dict[str, Any]

    @classmethod
    def of(cls, agent: Agent) -> "AgentTypeOut":
        return cls(
            type=agent.type,
            name=agent.name,
            description=agent.description,
            icon=agent.icon,
            category=agent.category.value,
            version=agent.version,
            requires_approval=agent.requires_approval,
            reacts_to=sorted(agent.reacts_to),
            config_schema=agent.config.model_json_schema(by_alias=True),
            input_schema=agent.input.model_json_schema(by_alias=True),
        )


class AgentOut(Out):
    """A saved configuration of an agent."""

    id: str
    agent_type: str
    name: str
    enabled: bool
    config: dict[str, Any]
    schedule: str | None = Field(description="Five-field cron in timeZone.")
    time_zone: str
    event_types: list[str] = Field(description="Events that start it.")
    next_runs: list[datetime] = Field(description="The schedule's next five slots; none while disabled.")
    limits: Limits | None
    approval_required: bool
    approval_expiry_hours: int | None
    owner_id: str | None
    created_by: str | None
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, saved: AgentConfig) -> "AgentOut":
        return cls(
            id=saved.id,
            agent_type=saved.agent_type,
            name=saved.name,
            enabled=saved.enabled,
            config=saved.config,
            schedule=saved.schedule,
            time_zone=saved.time_zone,
            event_types=saved.event_types,
            next_runs=_next_runs(saved),
            limits=Limits.model_validate(saved.limits) if saved.limits else None,
            approval_required=saved.approval_required,
            approval_expiry_hours=saved.approval_expiry_hours,
            owner_id=saved.owner_id,
            created_by=saved.created_by,
            version=saved.version,
            created_at=saved.created_at,
            updated_at=saved.updated_at,
        )


def _next_runs(saved: AgentConfig) -> list[datetime]:
    if saved.schedule is None or saved.next_due_at is None:
        return []
    later = following(saved.schedule, saved.time_zone, after=saved.next_due_at, count=4)
    return [saved.next_due_at, *later]


class ScheduleFireOut(Out):
    """What became of one slot of a schedule."""

    slot_at: datetime = Field(description="When it was due.")
    outcome: Outcome = Field(
        description="coalesced: a later slot's run stands for it; skipped: there was no run, `reason` says why."
    )
    covers: int = Field(description="How many slots the run stands for, this one included.")
    run_id: str | None
    reason: str | None

    @classmethod
    def of(cls, fire: ScheduleFire) -> "ScheduleFireOut":
        return cls(
            slot_at=fire.slot_at,
            outcome=Outcome(fire.outcome),
            covers=fire.covers,
            run_id=fire.run_id,
            reason=fire.reason,
        )


class LastRunOut(Out):
    """The newest run, whatever its state."""

    id: str
    status: RunStatus
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @classmethod
    def of(cls, run: LastRun) -> "LastRunOut":
        return cls(
            id=run.id,
            status=run.status,
            created_at=run.created_at,
            started_at=run.started_at,
            completed_at=run.completed_at,
        )


class FiguresOut(Out):
    """What an agent, or all of a type, has done in these days, and what it is doing now."""

    runs: int = Field(description="Those that ended in these days, and those that wait or run now.")
    completed: int
    failed: int
    cancelled: int
    running: int = Field(description="Now.")
    waiting: int = Field(description="Now, for a worker or for a time.")
    pending_approvals: int = Field(description="Items that wait for a decision now, whenever they were born.")
    success_rate: float | None = Field(
        description="Completed of completed and failed; null where there are none."
    )
    items_processed: int = Field(description="By the runs that ended in these days.")
    items_succeeded: int
    items_failed: int
    credits: int = Field(description="Of providers, booked in these days, by runs that go on too.")
    dollars: float = Field(description="US dollars for models, likewise, where the price is known.")
    unpriced_calls: int = Field(description="Calls of models whose price is not known.")
    median_duration_ms: int | None = Field(
        description=f"From start to end, waits included, of the last {TIMED} completed runs, whenever they ran."
    )
    last_run: LastRunOut | None = Field(description="The newest, whenever it was.")
    next_run_at: datetime | None = Field(description="By the schedule.")

    @classmethod
    def of(cls, figures: Figures) -> "FiguresOut":
        return cls(**_figures(figures))


class SavedAgentStatsOut(FiguresOut):
    agent_config_id: str
    agent_type: str


class AgentStatsOut(Out):
    """The whole team's agents. Counts of what ended are of `days` UTC days, today the last of them."""

    days: int
    since: date = Field(description="The first of the days.")
    pending_approvals: int
    running: int
    waiting: int
    by_agent: dict[str, FiguresOut] = Field(
        description="By agent type; runs of agents that were put away, and of none, are counted here too."
    )
    agents: list[SavedAgentStatsOut] = Field(description="The saved agents, in the order of their birth.")


def _figures(figures: Figures) -> dict[str, Any]:
    seconds = figures.median_seconds
    return {
        **{name: figures.counts[name] for name in _COUNTS},
        "runs": figures.runs,
        "dollars": float(figures.dollars),
        "success_rate": figures.success_rate,
        "median_duration_ms": None if seconds is None else round(seconds * 1000),
        "last_run": LastRunOut.of(figures.last_run) if figures.last_run else None,
        "next_run_at": figures.next_run_at,
    }


_COUNTS = (
    "completed",
    "failed",
    "cancelled",
    "running",
    "waiting",
    "pending_approvals",
    "items_processed",
    "items_succeeded",
    "items_failed",
    "credits",
    "unpriced_calls",
)


class NewAgent(In):
    agent_type: Annotated[str, Field(max_length=50, examples=["lead_source"])]
    name: Name
    config: dict[str, Any] = Field(description="Fits the agent type's configSchema.")
    enabled: bool = True
    schedule: Schedule | None = None
    time_zone: Zone | None = Field(None, description="The tenant's own unless said.")
    event_types: EventTypes = Field(default_factory=list, description="Of the agent type's reactsTo.")
    limits: Limits | None = None
    approval_required: bool = True
    approval_expiry_hours: ExpiryHours | None = None
    owner_id: str | None = Field(None, description="Whose the items become; the creator's unless said.")


class AgentChange(In):
    """The fields to change, and the version that was seen."""

    version: Version
    name: Name | None = None
    config: dict[str, Any] | None = None
    enabled: bool | None = Field(None, description="False pauses the schedule; true counts it from now.")
    schedule: Schedule | None = None
    time_zone: Zone | None = None
    event_types: EventTypes | None = None
    limits: Limits | None = None
    approval_required: bool | None = None
    approval_expiry_hours: ExpiryHours | None = None
    owner_id: str | None = None


class SeenVersion(In):
    version: Version


class AgentListing(Listing):
    agent_type: Annotated[str, Field(max_length=50)] | None = None


class StatsQuery(In):
    days: Annotated[int, Field(ge=1, le=365, description="How many UTC days back, today included.")] = 30


NEWEST = Keyset("agents", tuple[str])
LATEST = Keyset("schedule-fires", tuple[Instant])
_NULLABLE = {"approval_expiry_hours", "limits", "owner_id", "schedule"}


@route("GET", "/v1/agent-types", needs=Permission.AGENTS_READ, summary="The kinds of agents there are.")
def list_agent_types(work: Work) -> list[AgentTypeOut]:  # noqa: ARG001 - the permission is what it needs
    return [AgentTypeOut.of(agent) for agent in registry.AGENTS.values()]


@route("GET", "/v1/agents", needs=Permission.AGENTS_READ, summary="Saved agents, the newest first.")
def list_agents(work: Work, query: AgentListing) -> Page[AgentOut]:
    wanted = queries.all_of(work.actor.scope)
    if query.agent_type:
        wanted = wanted.where(AgentConfig.agent_type == query.agent_type)
    order = [Key(AgentConfig.id, descending=True)]
    found = page(work.session, wanted, order=order, after=NEWEST.read(query.cursor), limit=query.limit)
    return page_of(NEWEST, found, limit=query.limit, item=AgentOut.of)


@route(
    "POST",
    "/v1/agents",
    needs=Permission.AGENTS_WRITE,
    summary="Save a new agent.",
    status=201,
    idempotent=True,
    raises=(Invalid,),
)
def create_agent(work: Work, body: NewAgent) -> AgentOut:
    saved = agents.create(
        work,
        agent_type=body.agent_type,
        name=body.name,
        config=body.config,
        enabled=body.enabled,
        approval_required=body.approval_required,
        approval_expiry_hours=body.approval_expiry_hours,
        owner_id=body.owner_id,
        schedule=body.schedule,
        time_zone=body.time_zone,
        event_types=body.event_types,
        limits=body.limits.model_dump() if body.limits else None,
    )
    return AgentOut.of(saved)


@route(
    "GET",
    "/v1/agents/stats",
    needs=Permission.AGENTS_READ,
    summary="What the agents have done lately, by type and one by one.",
)
def agent_stats(work: Work, query: StatsQuery) -> AgentStatsOut:
    counted = stats(work, days=query.days)
    return AgentStatsOut(
        days=query.days,
        since=counted.since,
        pending_approvals=counted.total["pending_approvals"],
        running=counted.total["running"],
        waiting=counted.total["waiting"],
        by_agent={name: FiguresOut.of(figures) for name, figures in counted.by_type.items()},
        agents=[
            SavedAgentStatsOut(
                agent_config_id=saved.config_id, agent_type=saved.agent_type, **_figures(saved.figures)
            )
            for saved in counted.agents
        ],
    )


@route(
    "GET",
    "/v1/agents/{config_id}",
    needs=Permission.AGENTS_READ,
    summary="One saved agent.",
    raises=(NotFound,),
)
def get_agent(work: Work, config_id: AgentConfigId) -> AgentOut:
    return AgentOut.of(queries.get(work.session, work.actor.scope, config_id))


@route(
    "GET",
    "/v1/agents/{config_id}/schedule-fires",
    needs=Permission.AGENTS_READ,
    summary="What became of each slot of an agent's schedule, the latest first.",
    raises=(NotFound,),
)
def list_schedule_fires(work: Work, config_id: AgentConfigId, query: Listing) -> Page[ScheduleFireOut]:
    after = LATEST.read(query.cursor)
    saved = queries.get(work.session, work.actor.scope, config_id)
    wanted = schedules.fires_of(work.actor.scope, saved.id)
    order = [Key(ScheduleFire.slot_at, descending=True)]
    found = page(work.session, wanted, order=order, after=after, limit=query.limit)
    return page_of(LATEST, found, limit=query.limit, item=ScheduleFireOut.of)


@route(
    "PATCH",
    "/v1/agents/{config_id}",
    needs=Permission.AGENTS_WRITE,
    summary="Change a saved agent. Disabling it cancels the runs that wait.",
    raises=(NotFound, Conflict),
)
def change_agent(work: Work, config_id: AgentConfigId, body: AgentChange) -> AgentOut:
    said = body.model_dump(exclude_unset=True, exclude={"version"})
    for name, value in said.items():
        if value is None and name not in _NULLABLE:
            raise Invalid("This cannot be empty.", pointer=f"/{to_camel(name)}")
    return AgentOut.of(agents.change(work, config_id, version=body.version, changes=said))


@route(
    "DELETE",
    "/v1/agents/{config_id}",
    needs=Permission.AGENTS_DELETE,
    summary="Put a saved agent away. Its runs keep their history.",
    status=204,
    raises=(NotFound, Conflict),
)
def delete_agent(work: Work, config_id: AgentConfigId, body: SeenVersion) -> None:
    agents.delete(work, config_id, version=body.version)
