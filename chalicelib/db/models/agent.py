"""Agent configurations, their runs, the steps of a run, and the tenant's queue."""

from datetime import date
from decimal import Decimal

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    String,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import tenant  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import (
    Base,
    Born,
    Count,
    Id,
    Instant,
    Json,
    JsonList,
    Short,
    Total,
    Version,
    Words,
    one_of,
)
from chalicelib.domain.runs import RunStatus, StepStatus, Trigger
from chalicelib.domain.schedules import Outcome


class AgentConfig(Base):
    """An agent's configuration for one tenant."""

    __tablename__ = "agent_configs"

    id: Mapped[Id]
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    agent_type: Mapped[Short]
    name: Mapped[str] = mapped_column(String(100))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    config: Mapped[Json]
    schedule: Mapped[str | None] = mapped_column(String(100))
    time_zone: Mapped[Short] = mapped_column(server_default="UTC")
    next_due_at: Mapped[Instant | None]
    event_types: Mapped[JsonList]
    limits: Mapped[Json | None]
    approval_required: Mapped[bool] = mapped_column(server_default=text("true"))
    approval_expiry_hours: Mapped[int | None]
    owner_id: Mapped[Id | None]
    created_by: Mapped[Id | None]
    version: Mapped[Version]
    deleted_at: Mapped[Instant | None]
    created_at: Mapped[Born]
    updated_at: Mapped[Born]

    __table_args__ = (
        PrimaryKeyConstraint("customer_id", "id", name="agent_configs_customer_idx"),
        ForeignKeyConstraint(["customer_id", "owner_id"], ["users.customer_id", "users.id"]),
        ForeignKeyConstraint(["customer_id", "created_by"], ["users.customer_id", "users.id"]),
        Index("agent_configs_type_idx", "customer_id", "agent_type"),
        Index(
            "agent_configs_due_idx",
            "next_due_at",
            postgresql_where=text("next_due_at IS NOT NULL AND enabled AND deleted_at IS NULL"),
        ),
        Index(
            "agent_configs_put_away_idx",
            "customer_id",
            "updated_at",
            postgresql_where=text("NOT enabled OR deleted_at IS NOT NULL"),
        ),
    )


class AgentRun(Base):
    """One execution. Only the worker that holds `lease_token` may write it while it is running."""

    __tablename__ = "agent_runs"

    id: Mapped[Id]
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    agent_config_id: Mapped[Id | None]
    agent_type: Mapped[Short]
    status: Mapped[str] = mapped_column(String(20), server_default="pending")
    trigger: Mapped[Short]
    input: Mapped[Json]
    output: Mapped[Json | None]
    error: Mapped[Words | None]  # the sentence for people
    error_code: Mapped[Short | None]
    items_processed: Mapped[Count]
    items_succeeded: Mapped[Count]
    items_failed: Mapped[Count]
    items_total: Mapped[int | None]  # when known
    current_step: Mapped[str | None] = mapped_column(String(300))
    config: Mapped[Json]  # as it was at the start
    config_version: Mapped[int | None]
    agent_version: Mapped[Short]
    approval_required: Mapped[bool] = mapped_column(server_default=text("true"))
    approval_expiry_hours: Mapped[int]
    owner_id: Mapped[Id | None]  # whose items these become
    requested_by: Mapped[Id | None]
    causation: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    queue_at: Mapped[Born]  # the place in the tenant's queue
    due_at: Mapped[Born]  # not before
    wait_reason: Mapped[str | None] = mapped_column(String(200))
    attempt: Mapped[Count]  # how often it was claimed
    failures: Mapped[Count]  # in a row
    progressed: Mapped[bool] = mapped_column(server_default=text("false"))  # a checkpoint since the claim
    lease_token: Mapped[Id | None]
    lease_expires_at: Mapped[Instant | None]
    cancel_requested_at: Mapped[Instant | None]
    cancel_requested_by: Mapped[Id | None]
    credits: Mapped[int | None]  # what it cost, once it has ended; a trigger sums its entries
    dollars: Mapped[Decimal | None] = mapped_column(Numeric(14, 6))  # empty also where a price is not known
    slot_at: Mapped[Instant | None]  # the schedule's slot
    slots_covered: Mapped[int | None]
    replay_of: Mapped[Id | None]
    started_at: Mapped[Instant | None]
    completed_at: Mapped[Instant | None]
    created_at: Mapped[Born]

    __table_args__ = (
        CheckConstraint(one_of("status", RunStatus), name="status"),
        CheckConstraint(one_of("trigger", Trigger), name="trigger"),
        CheckConstraint("(status = 'running') = (lease_token IS NOT NULL)", name="lease"),
        PrimaryKeyConstraint("customer_id", "id", name="agent_runs_customer_idx"),
        ForeignKeyConstraint(
            ["customer_id", "agent_config_id"], ["agent_configs.customer_id", "agent_configs.id"]
        ),
        ForeignKeyConstraint(["customer_id", "owner_id"], ["users.customer_id", "users.id"]),
        ForeignKeyConstraint(["customer_id", "requested_by"], ["users.customer_id", "users.id"]),
        ForeignKeyConstraint(["customer_id", "replay_of"], ["agent_runs.customer_id", "agent_runs.id"]),
        # A list filters by any of these and is in the order of birth: a seek for each status and trigger wanted.
        Index("agent_runs_created_at_idx", "customer_id", "created_at", "id"),
        Index("agent_runs_status_idx", "customer_id", "status", "trigger", "created_at", "id"),
        Index(
            "agent_runs_config_idx",
            "customer_id",
            "agent_config_id",
            "status",
            "trigger",
            "created_at",
            "id",
        ),
        Index("agent_runs_type_idx", "customer_id", "agent_type", "status", "trigger", "created_at", "id"),
        # How long the last ones took. Written once a run, when it ends.
        Index(
            "agent_runs_took_config_idx",
            "customer_id",
            "agent_config_id",
            "completed_at",
            postgresql_include=["started_at"],
            postgresql_where=text("status = 'completed'"),
        ),
        Index(
            "agent_runs_took_type_idx",
            "customer_id",
            "agent_type",
            "completed_at",
            postgresql_include=["started_at"],
            postgresql_where=text("status = 'completed'"),
        ),
        Index(
            "agent_runs_queue_idx",
            "customer_id",
            "queue_at",
            "id",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("agent_runs_due_idx", "customer_id", "due_at", postgresql_where=text("status = 'pending'")),
        Index("agent_runs_age_idx", "customer_id", "created_at", postgresql_where=text("status = 'pending'")),
        Index(
            "agent_runs_waiting_idx",
            "customer_id",
            "agent_config_id",
            postgresql_where=text("status = 'pending'"),
        ),
        # Not of the lease's end: each checkpoint moves that, and there are few of them.
        Index("agent_runs_running_idx", "customer_id", "id", postgresql_where=text("status = 'running'")),
    )


class RunDay(Base):
    """How many runs ended on a UTC day, and with what. A trigger on `agent_runs` keeps it, nothing else writes it."""

    __tablename__ = "run_days"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    agent_config_id: Mapped[Id] = mapped_column(primary_key=True, server_default="")  # '': of no saved agent
    agent_type: Mapped[Short] = mapped_column(primary_key=True)
    completed: Mapped[Count]
    failed: Mapped[Count]
    cancelled: Mapped[Count]
    items_processed: Mapped[Total]
    items_succeeded: Mapped[Total]
    items_failed: Mapped[Total]


class ScheduleFire(Base):
    """What became of one slot of a schedule."""

    __tablename__ = "schedule_fires"

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    agent_config_id: Mapped[Id] = mapped_column(primary_key=True)
    slot_at: Mapped[Instant] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(String(20))
    covers: Mapped[int] = mapped_column(server_default=text("1"))  # itself and the slots that it stands for
    run_id: Mapped[Id | None]
    reason: Mapped[Words | None]
    created_at: Mapped[Born]

    __table_args__ = (
        CheckConstraint(one_of("outcome", Outcome), name="outcome"),
        CheckConstraint("(outcome = 'skipped') = (run_id IS NULL)", name="run"),
        ForeignKeyConstraint(
            ["customer_id", "agent_config_id"], ["agent_configs.customer_id", "agent_configs.id"]
        ),
        ForeignKeyConstraint(["customer_id", "run_id"], ["agent_runs.customer_id", "agent_runs.id"]),
        Index("schedule_fires_created_at_idx", "created_at"),
    )


class RunTriggerEvent(Base):
    """An event that waits for a configuration's next run, or that one has taken."""

    __tablename__ = "run_trigger_events"

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    agent_config_id: Mapped[Id] = mapped_column(primary_key=True)
    event_id: Mapped[Id] = mapped_column(primary_key=True)
    run_id: Mapped[Id | None]  # empty: gathered, not taken yet
    created_at: Mapped[Born]

    __table_args__ = (
        ForeignKeyConstraint(
            ["customer_id", "agent_config_id"], ["agent_configs.customer_id", "agent_configs.id"]
        ),
        ForeignKeyConstraint(["customer_id", "run_id"], ["agent_runs.customer_id", "agent_runs.id"]),
        Index(
            "run_trigger_events_gathered_idx",
            "customer_id",
            "agent_config_id",
            postgresql_where=text("run_id IS NULL"),
        ),
        Index("run_trigger_events_created_at_idx", "created_at"),
    )


class AgentRunStep(Base):
    """A recorded result. A resumed run reads it and never does the step again."""

    __tablename__ = "agent_run_steps"

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    run_id: Mapped[Id] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(300), primary_key=True)  # room for a domain
    status: Mapped[str] = mapped_column(String(20))
    input_hash: Mapped[str] = mapped_column(String(64))
    output: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    error: Mapped[Words | None]
    error_code: Mapped[Short | None]
    item: Mapped[bool] = mapped_column(server_default=text("false"))  # one of a map's, so it counts
    proposal: Mapped[dict[str, object] | None] = mapped_column(JSONB)  # {"itemId"} or {"skipped": why}
    duration_ms: Mapped[Count]
    recorded_at: Mapped[Born]
    remembered_at: Mapped[Instant | None]  # a provider's answer of that time, not asked for again
    output_removed_at: Mapped[Instant | None]  # kept for a time only; an empty output may be a result, too

    __table_args__ = (
        CheckConstraint(one_of("status", StepStatus), name="status"),
        ForeignKeyConstraint(["customer_id", "run_id"], ["agent_runs.customer_id", "agent_runs.id"]),
        Index(
            "agent_run_steps_recorded_at_idx",
            "recorded_at",
            postgresql_where=text("output_removed_at IS NULL"),
        ),
    )


class TenantQueue(Base):
    """The row a tenant's claims queue up on, and its doorbell."""

    __tablename__ = "tenant_queues"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    rung_at: Mapped[Instant | None]  # somebody sent, or is about to send, a message
