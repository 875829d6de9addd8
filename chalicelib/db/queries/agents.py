"""Every statement on agent configurations."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, func, select, text, update
from sqlalchemy.orm import Session

from chalicelib.db.models import AgentConfig
from chalicelib.domain.errors import NotFound
from chalicelib.domain.ids import TenantScope

_STATS = text("""
    SELECT c.id, c.agent_type,
           coalesce(r.runs, 0) AS runs, coalesce(r.completed, 0) AS completed, coalesce(r.failed, 0) AS failed,
           coalesce(r.running, 0) AS running, r.last_run_at, coalesce(p.pending, 0) AS pending
    FROM agent_configs c
    LEFT JOIN LATERAL (
        SELECT count(*) AS runs, count(*) FILTER (WHERE status = 'completed') AS completed,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               count(*) FILTER (WHERE status = 'running') AS running, max(created_at) AS last_run_at
        FROM agent_runs a WHERE a.customer_id = :scope AND a.agent_config_id = c.id
    ) r ON true
    LEFT JOIN (
        SELECT agent_config_id, count(*) AS pending FROM approval_items i
        WHERE i.customer_id = :scope AND i.status = 'pending' GROUP BY agent_config_id
    ) p ON p.agent_config_id = c.id
    WHERE c.customer_id = :scope AND c.deleted_at IS NULL
    ORDER BY c.id
""")


def get(session: Session, scope: TenantScope, config_id: str) -> AgentConfig:
    """The configuration, or NotFound (also for another tenant's, and a deleted one)."""
    config: AgentConfig | None = session.scalar(all_of(scope).where(AgentConfig.id == config_id))
    if config is None:
        raise NotFound(f"Agent config not found: {config_id}")
    return config


def all_of(scope: TenantScope) -> Select[Any]:
    return select(AgentConfig).where(AgentConfig.customer_id == scope, AgentConfig.deleted_at.is_(None))


def change(
    session: Session, scope: TenantScope, config_id: str, *, version: int, values: dict[str, Any]
) -> AgentConfig | None:
    """Write if nobody else did since `version`; None otherwise."""
    return session.scalar(
        update(AgentConfig)
        .where(
            AgentConfig.customer_id == scope,
            AgentConfig.id == config_id,
            AgentConfig.version == version,
            AgentConfig.deleted_at.is_(None),
        )
        .values(**values, version=AgentConfig.version + 1, updated_at=func.app_now())
        .returning(AgentConfig)
        .execution_options(populate_existing=True)
    )


def stats(session: Session, scope: TenantScope) -> Sequence[Row[Any]]:
    """Each configuration's runs and pending items."""
    return session.execute(_STATS, {"scope": scope}).all()
