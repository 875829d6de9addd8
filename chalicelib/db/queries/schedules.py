"""Every statement on schedules and what became of their slots."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, text
from sqlalchemy.orm import Session

from chalicelib.db.driver import defer
from chalicelib.db.models.agent import AgentConfig, ScheduleFire
from chalicelib.domain.ids import TenantScope

_DUE = text("""
    SELECT customer_id, id FROM agent_configs
    WHERE next_due_at <= app_now() AND enabled AND deleted_at IS NULL
    ORDER BY next_due_at LIMIT :most
""")
_HOLD = text("""
    SELECT * FROM agent_configs
    WHERE customer_id = :scope AND id = :id AND next_due_at <= app_now() AND enabled AND deleted_at IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
""")
_ADVANCE = text("""
    UPDATE agent_configs SET next_due_at = :next
    WHERE customer_id = :scope AND id = :id AND next_due_at = :seen
    RETURNING id
""")
_ACTIVE = text("""
    SELECT id FROM agent_runs
    WHERE customer_id = :scope AND agent_config_id = :id AND status IN ('pending', 'running')
    ORDER BY id LIMIT 1
""")
_SLOTS = text("""
    INSERT INTO schedule_fires (customer_id, agent_config_id, slot_at, outcome, covers, run_id, reason)
    SELECT :scope, :id, n.slot_at, n.outcome, n.covers, n.run_id, n.reason
    FROM jsonb_to_recordset(CAST(:fires AS jsonb)) AS n(
        slot_at timestamptz, outcome text, covers int, run_id text, reason text
    )
""")


def due(session: Session, *, most: int) -> Sequence[Row[Any]]:
    """Configurations whose schedule is due, as bevyly_system."""
    return session.execute(_DUE, {"most": most}).all()


def hold(session: Session, scope: TenantScope, config_id: str) -> AgentConfig | None:
    """A due configuration, held until commit; None where another tick has it, or it is due no more."""
    query = select(AgentConfig).from_statement(_HOLD)
    held: AgentConfig | None = session.scalar(query, {"scope": scope, "id": config_id})
    return held


def advance(
    session: Session, scope: TenantScope, config_id: str, *, seen: datetime, to: datetime | None
) -> bool:
    """Compare-and-set of the next due instant."""
    parameters = {"scope": scope, "id": config_id, "seen": seen, "next": to}
    return session.execute(_ADVANCE, parameters).one_or_none() is not None


def active_run(session: Session, scope: TenantScope, config_id: str) -> str | None:
    """A run of this configuration that is not over."""
    found: str | None = session.execute(_ACTIVE, {"scope": scope, "id": config_id}).scalar_one_or_none()
    return found


def record(session: Session, scope: TenantScope, config_id: str, fires: Sequence[Mapping[str, Any]]) -> None:
    defer(session, _SLOTS, {"scope": scope, "id": config_id, "fires": json.dumps(fires)})


def fires_of(scope: TenantScope, config_id: str) -> Select[Any]:
    """What became of each slot."""
    return select(ScheduleFire).where(
        ScheduleFire.customer_id == scope, ScheduleFire.agent_config_id == config_id
    )
