"""Agent configurations: create, change, put away."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select

from chalicelib.agents import registry
from chalicelib.agents.base import Agent
from chalicelib.db.models.agent import AgentConfig
from chalicelib.db.models.tenant import Customer, User
from chalicelib.db.queries import agents as queries
from chalicelib.db.queries import runs
from chalicelib.db.work import Work
from chalicelib.domain.errors import Conflict, Invalid
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import AgentConfigId, new_agent_config_id
from chalicelib.domain.schedules import check_zone
from chalicelib.services.runs.start import check_config
from chalicelib.services.schedules import plan

MOST_CANCELLED_AT_ONCE: Final = 500


def create(
    work: Work,
    *,
    agent_type: str,
    name: str,
    config: Mapping[str, Any],
    enabled: bool = True,
    approval_required: bool = True,
    approval_expiry_hours: int | None = None,
    owner_id: str | None = None,
    schedule: str | None = None,
    time_zone: str | None = None,
    event_types: Sequence[str] = (),
    limits: Mapping[str, int | None] | None = None,
) -> AgentConfig:
    """A new configuration. Raises Invalid where it does not fit its agent type or its owner is nobody's."""
    agent = registry.find(agent_type)
    if owner_id is not None:
        _check_owner(work, owner_id)
    zone = time_zone or _zone_of(work)
    check_zone(zone)
    saved = AgentConfig(
        time_zone=zone,
        event_types=_check_events(agent, event_types),
        **plan(work, schedule=schedule, time_zone=zone, enabled=enabled),
        id=new_agent_config_id(),
        customer_id=work.actor.customer_id,
        agent_type=agent.type,
        name=name,
        enabled=enabled,
        config=check_config(agent, config),
        limits=_limits(limits),
        approval_required=approval_required,
        approval_expiry_hours=approval_expiry_hours,
        owner_id=owner_id,
        created_by=work.actor.user_id,
        version=1,
        created_at=work.now,
        updated_at=work.now,
    )
    work.session.add(saved)
    work.session.flush()
    _tell(work, EventType.CONFIG_CREATED, saved)
    return saved


def change(work: Work, config_id: AgentConfigId, *, version: int, changes: Mapping[str, Any]) -> AgentConfig:
    """Change some fields of a configuration as it was at `version`.

    Raises Conflict with the current version when somebody else changed it first.
    """
    values = dict(changes)
    before = queries.get(work.session, work.actor.scope, config_id)
    if "config" in values:
        values["config"] = check_config(registry.find(before.agent_type), values["config"])
    if "event_types" in values:
        values["event_types"] = _check_events(registry.find(before.agent_type), values["event_types"])
    if "limits" in values:
        values["limits"] = _limits(values["limits"])
    if values.get("owner_id") is not None:
        _check_owner(work, values["owner_id"])
    if values.keys() & {"schedule", "time_zone", "enabled"}:
        zone = values.get("time_zone", before.time_zone)
        check_zone(zone)
        schedule, enabled = values.get("schedule", before.schedule), values.get("enabled", before.enabled)
        values |= plan(work, schedule=schedule, time_zone=zone, enabled=enabled)
    saved = queries.change(work.session, work.actor.scope, config_id, version=version, values=values)
    if saved is None:
        raise _stale(before)
    if not saved.enabled:
        _cancel_waiting(work, saved)
    elif values.keys() & {"limits", "time_zone"} and runs.limits_changed(work.session, saved.id):
        work.ring()
    _tell(work, EventType.CONFIG_UPDATED, saved, fields=sorted(values))
    return saved


def delete(work: Work, config_id: AgentConfigId, *, version: int) -> None:
    """Put a configuration away. Its runs keep their history; its waiting runs end."""
    before = queries.get(work.session, work.actor.scope, config_id)
    values = {"deleted_at": work.now, "enabled": False, "next_due_at": None}
    saved = queries.change(work.session, work.actor.scope, config_id, version=version, values=values)
    if saved is None:
        raise _stale(before)
    _cancel_waiting(work, saved)
    _tell(work, EventType.CONFIG_DELETED, saved)


def _cancel_waiting(work: Work, saved: AgentConfig) -> None:
    """End the runs that wait: at once as many as a request has time for, the others as workers come by."""
    most, sinks = MOST_CANCELLED_AT_ONCE, work.settings.event_sinks
    ended = runs.cancel_pending_of(work.session, saved.id, work.actor.user_id, most=most, sinks=sinks)
    work.emitted |= ended > 0
    if ended == most:
        work.ring()


def _stale(before: AgentConfig) -> Conflict:
    return Conflict(
        "This agent was changed since you saw it. Load it again and repeat your change.",
        code="stale_version",
        details={"version": before.version},
    )


def _check_events(agent: Agent, event_types: Sequence[str]) -> list[str]:
    for event_type in event_types:
        if event_type not in agent.reacts_to:
            known = ", ".join(sorted(agent.reacts_to)) or "none"
            raise Invalid(f"{agent.name} reacts to: {known}; not to {event_type}.", pointer="/eventTypes")
    return sorted(set(event_types))


def _limits(given: Mapping[str, int | None] | None) -> dict[str, int] | None:
    """As they are stored: the limits there are, or nothing."""
    return {name: most for name, most in (given or {}).items() if most is not None} or None


def _zone_of(work: Work) -> str:
    """The tenant's own zone."""
    return work.session.scalar(select(Customer.time_zone).where(Customer.id == work.actor.scope)) or "UTC"


def _check_owner(work: Work, owner_id: str) -> None:
    found = work.session.scalar(
        select(User.id).where(
            User.customer_id == work.actor.scope, User.id == owner_id, User.status == "active"
        )
    )
    if found is None:
        raise Invalid("The owner must be an active person of your team.", pointer="/ownerId")


def _tell(work: Work, kind: EventType, saved: AgentConfig, **details: Any) -> None:
    payload = {"agentConfigId": saved.id, "agentType": saved.agent_type, "version": saved.version, **details}
    work.emit(Event(kind, "agent_config", saved.id, payload))
    work.audit(kind.value, saved.id, **details)
