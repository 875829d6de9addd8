"""Every statement on agent configurations."""

from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from chalicelib.db.models.agent import AgentConfig
from chalicelib.domain.errors import NotFound
from chalicelib.domain.ids import TenantScope


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
