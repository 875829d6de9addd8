"""Every statement on events that start runs."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from chalicelib.domain.ids import TenantScope

_EVENT = text("""
    SELECT id, event_type, aggregate_id, payload, causation FROM outbox_events
    WHERE customer_id = :scope AND id = :id
""")
_LOCK_QUEUE = text("SELECT FROM tenant_queues WHERE customer_id = :scope FOR UPDATE")
_LISTENERS = text("""
    SELECT id, agent_type FROM agent_configs
    WHERE customer_id = :scope AND enabled AND deleted_at IS NULL
      AND event_types @> jsonb_build_array(CAST(:type AS text))
      AND NOT CAST(:ancestors AS jsonb) @> to_jsonb(CAST(id AS text))
    ORDER BY id
""")
_GATHER = text("""
    INSERT INTO run_trigger_events (customer_id, agent_config_id, event_id)
    VALUES (:scope, :config, :event)
    ON CONFLICT (customer_id, agent_config_id, event_id) DO NOTHING
    RETURNING event_id
""")
_WAITING = text("""
    SELECT id, causation FROM agent_runs
    WHERE customer_id = :scope AND agent_config_id = :config AND status = 'pending' AND trigger = 'event'
      AND started_at IS NULL
    ORDER BY id LIMIT 1
""")
_WIDEN = text("""
    UPDATE agent_runs SET causation = CAST(:causation AS jsonb) WHERE customer_id = :scope AND id = :run
""")
_TAKE = text("""
    WITH taken AS (
        UPDATE run_trigger_events t SET run_id = :run
        WHERE t.customer_id = :scope AND t.agent_config_id = :config AND t.run_id IS NULL
        RETURNING t.event_id
    )
    SELECT e.id, e.event_type, e.aggregate_id, e.payload FROM taken t
    JOIN outbox_events e ON e.customer_id = :scope AND e.id = t.event_id
    ORDER BY e.position
""")
_SET_INPUT = text(
    "UPDATE agent_runs SET input = CAST(:input AS jsonb) WHERE customer_id = :scope AND id = :run"
)


def event(session: Session, scope: TenantScope, event_id: str) -> Row[Any] | None:
    """The event as we emitted it, whatever the message said of it."""
    return session.execute(_EVENT, {"scope": scope, "id": event_id}).one_or_none()


def lock_queue(session: Session, scope: TenantScope) -> None:
    """Before looking for a run that still waits: no worker claims it until this transaction commits."""
    session.execute(_LOCK_QUEUE, {"scope": scope})


def listeners(session: Session, scope: TenantScope, event_type: str, *, ancestors: str) -> Sequence[Row[Any]]:
    """Configurations that react to this type and are not among the event's own ancestors (a JSON list of ids)."""
    return session.execute(_LISTENERS, {"scope": scope, "type": event_type, "ancestors": ancestors}).all()


def gather(session: Session, scope: TenantScope, config_id: str, event_id: str) -> bool:
    """Note the event for this configuration; False where it was noted before."""
    parameters = {"scope": scope, "config": config_id, "event": event_id}
    return session.execute(_GATHER, parameters).one_or_none() is not None


def waiting_run(session: Session, scope: TenantScope, config_id: str) -> Row[Any] | None:
    """The run that will take what has gathered, if one waits already."""
    return session.execute(_WAITING, {"scope": scope, "config": config_id}).one_or_none()


def widen(session: Session, scope: TenantScope, run_id: str, causation: str) -> None:
    session.execute(_WIDEN, {"scope": scope, "run": run_id, "causation": causation})


def take(session: Session, scope: TenantScope, config_id: str, run_id: str) -> Sequence[Row[Any]]:
    """All that has gathered becomes this run's, in the order it was emitted."""
    return session.execute(_TAKE, {"scope": scope, "config": config_id, "run": run_id}).all()


def set_input(session: Session, scope: TenantScope, run_id: str, inputs: str) -> None:
    session.execute(_SET_INPUT, {"scope": scope, "run": run_id, "input": inputs})
