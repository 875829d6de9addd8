"""Accepting a run, stopping one, doing one again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from chalicelib import tracing
from chalicelib.agents import registry
from chalicelib.agents.base import Agent
from chalicelib.db.models.agent import AgentConfig, AgentRun
from chalicelib.db.queries import agents as configs
from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Work
from chalicelib.domain.errors import Conflict, Invalid, NotFound, Unavailable
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import AgentConfigId, RunId, new_run_id
from chalicelib.domain.runs import BACKGROUND_HANDICAP, FINAL, Causation, RunStatus, Trigger

BACKGROUND: Final = frozenset({Trigger.SCHEDULED, Trigger.EVENT})
"""Runs that nobody waits for give way to people and programs."""
LARGEST_INPUT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Slot:
    """The schedule's slot that a run was started for, and how many slots it stands for."""

    at: datetime
    covers: int


def start(
    work: Work,
    *,
    agent_type: str | None,
    config_id: AgentConfigId | None,
    inputs: Mapping[str, Any],
    trigger: Trigger = Trigger.API,
    slot: Slot | None = None,
) -> AgentRun:
    """Accept a run: it is stored, and a worker is rung for after the commit.

    Raises Invalid for an unknown type, a config or an input that does not fit; NotFound for a config that is
    not this tenant's; Conflict where the agent is disabled; Unavailable where agents are switched off.
    """
    settings = work.settings
    saved = configs.get(work.session, work.actor.scope, config_id) if config_id else None
    if saved is None and agent_type is None:
        raise Invalid(
            "Say which agent: agentType, or the id of a saved one as configId.", pointer="/agentType"
        )
    if saved is not None and agent_type not in (None, saved.agent_type):
        raise Invalid(f"This agent is a {saved.agent_type}, not a {agent_type}.", pointer="/agentType")
    agent = registry.find(saved.agent_type if saved else agent_type or "")
    if saved is not None and not saved.enabled:
        raise _disabled()
    if not settings.agents_enabled:
        raise Unavailable("Agents are switched off on this installation.", code="agents_switched_off")
    config = check_config(agent, saved.config if saved else {})
    given = check_input(agent, inputs)
    run = _accepted(work, agent, saved, config=config, inputs=given, trigger=trigger)
    if slot is not None:
        run.slot_at, run.slots_covered = slot.at, slot.covers
    queries.add(work.connection, run)
    _announce(work, run)
    return run


def start_for_events(work: Work, *, config_id: AgentConfigId, causation: Causation) -> AgentRun:
    """A run whose input is built from the events that have gathered by the time it is claimed.

    Raises Conflict for a disabled configuration, Invalid for one that no longer fits.
    """
    saved = configs.get(work.session, work.actor.scope, config_id)
    agent = registry.find(saved.agent_type)
    config = check_config(agent, saved.config)
    run = _accepted(work, agent, saved, config=config, inputs={}, trigger=Trigger.EVENT)
    run.causation = causation.as_json()
    queries.add(work.connection, run)
    _announce(work, run)
    return run


def check_config(agent: Agent, config: Mapping[str, Any], *, pointer: str = "/config") -> dict[str, Any]:
    """A config as it is stored, or Invalid with the first thing wrong and all of them in the details."""
    return _checked(agent.config, config, f"Invalid config: {agent.name}", pointer)


def check_input(agent: Agent, inputs: Mapping[str, Any], *, pointer: str = "/input") -> dict[str, Any]:
    """An input as it is stored, or Invalid."""
    return _checked(agent.input, inputs, f"Invalid input: {agent.name}", pointer)


def cancel(work: Work, run_id: RunId) -> RunStatus:
    """Stop a run: at once when pending, before its next paid call when running. Returns its status now.

    Raises Conflict when it is already over.
    """
    row = queries.cancel(
        work.session,
        run_id,
        work.actor.user_id,
        limit=work.settings.agents_max_concurrent_runs,
        sinks=work.settings.event_sinks,
    )
    if row is None:
        raise NotFound("There is no such run.")
    if RunStatus(row.was) in FINAL:
        raise Conflict(f"This run is over: it is {row.was}.", code="run_over", details={"status": row.was})
    work.emitted = row.now_is == RunStatus.CANCELLED
    work.audit("run.cancel_requested", run_id)
    return RunStatus(row.now_is)


def replay(work: Work, run_id: RunId, *, from_checkpoints: bool) -> AgentRun:
    """A new run with an old one's config and input; optionally it starts from what that one had recorded.

    What it proposes needs approval if that was or is now the agent's rule. Raises Conflict for a run that is not
    over and for a disabled agent, NotFound for a run or an agent that is gone.
    """
    old = queries.get(work.session, work.actor.scope, run_id)
    if RunStatus(old.status) not in FINAL:
        raise Conflict("This run is not over yet. Wait for it, or cancel it first.", code="run_not_over")
    config_id = old.agent_config_id
    saved = configs.get(work.session, work.actor.scope, config_id) if config_id else None
    if saved is not None and not saved.enabled:
        raise _disabled()
    if not work.settings.agents_enabled:
        raise Unavailable("Agents are switched off on this installation.", code="agents_switched_off")
    agent = registry.find(old.agent_type)
    run = _run(
        work,
        agent,
        config=check_config(agent, old.config),
        inputs=check_input(agent, old.input),
        trigger=Trigger.MANUAL,
        agent_config_id=old.agent_config_id,
        config_version=old.config_version,
        approval_required=old.approval_required or (saved is not None and saved.approval_required),
        approval_expiry_hours=old.approval_expiry_hours,
        owner_id=old.owner_id,
        causation={**old.causation, "trace": _trace()},
        replay_of=old.id,
    )
    if from_checkpoints and old.agent_version == agent.version:
        run.attempt = 1  # so that the first worker reads the record
    queries.add(work.connection, run)
    if run.attempt:
        queries.copy_steps(work.session, work.actor.scope, source=old.id, target=run.id)
    _announce(work, run)
    return run


def _trace() -> str:
    """The request's, so that the run is part of it; a schedule's runs have one each."""
    return tracing.header() or tracing.Place.new().as_header()


def _disabled() -> Conflict:
    return Conflict("Agent is disabled. Enable it first.", code="agent_disabled")


def _announce(work: Work, run: AgentRun) -> None:
    payload = {
        "runId": run.id,
        "agentType": run.agent_type,
        "agentConfigId": run.agent_config_id,
        "trigger": run.trigger,
        "requestedBy": run.requested_by,
    }
    work.emit(Event(EventType.RUN_REQUESTED, "agent", run.id, payload, run.causation))
    work.audit("run.requested", run.id, trigger=run.trigger)
    work.ring()


def _accepted(
    work: Work,
    agent: Agent,
    saved: AgentConfig | None,
    *,
    config: dict[str, Any],
    inputs: dict[str, Any],
    trigger: Trigger,
) -> AgentRun:
    causation = Causation(0, (saved.id,) if saved else (), _trace())
    return _run(
        work,
        agent,
        config=config,
        inputs=inputs,
        trigger=trigger,
        agent_config_id=saved.id if saved else None,
        config_version=saved.version if saved else None,
        approval_required=saved.approval_required if saved else agent.requires_approval,
        approval_expiry_hours=(saved.approval_expiry_hours if saved else None)
        or work.settings.agents_default_approval_expiry_hours,
        owner_id=(saved.owner_id or saved.created_by) if saved else None,
        causation=causation.as_json(),
        replay_of=None,
    )


def _run(work: Work, agent: Agent, *, inputs: dict[str, Any], trigger: Trigger, **columns: Any) -> AgentRun:
    return AgentRun(
        id=new_run_id(),
        customer_id=work.actor.customer_id,
        agent_type=agent.type,
        agent_version=agent.version,
        status=RunStatus.PENDING.value,
        trigger=trigger.value,
        input=inputs,
        requested_by=work.actor.user_id,
        items_processed=0,
        items_succeeded=0,
        items_failed=0,
        attempt=0,
        failures=0,
        queue_at=work.now + (BACKGROUND_HANDICAP if trigger in BACKGROUND else timedelta()),
        due_at=work.now,
        created_at=work.now,
        **columns,
    )


def _checked(model: type[BaseModel], given: Mapping[str, Any], what: str, pointer: str) -> dict[str, Any]:
    if len(json.dumps(given)) > LARGEST_INPUT:
        raise Invalid(f"{what}: more than {LARGEST_INPUT // 1024} KB.", pointer=pointer)
    try:
        return model.model_validate(dict(given)).model_dump(mode="json", by_alias=True)
    except ValidationError as wrong:
        problems = [
            {
                "pointer": pointer + "".join(f"/{part}" for part in problem["loc"]),
                "message": problem["msg"].removeprefix("Value error, "),
            }
            for problem in wrong.errors(include_url=False, include_context=False, include_input=False)
        ]
        first = problems[0]
        raise Invalid(
            f"{what}: {first['message']} ({first['pointer']})",
            pointer=first["pointer"],
            details={"problems": problems},
        ) from None
