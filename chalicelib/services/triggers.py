"""Events start runs: gathered per configuration, taken by one run, never by their own descendants."""

import json
import logging
from dataclasses import dataclass
from typing import Any

from chalicelib.agents import registry
from chalicelib.agents.base import TriggerEvent
from chalicelib.db.queries import triggers as queries
from chalicelib.db.queries.runs import Lease, fence
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor, engine_for
from chalicelib.domain.errors import AppError
from chalicelib.domain.ids import AgentConfigId, CustomerId, EventId
from chalicelib.domain.runs import DEEPEST, Causation
from chalicelib.faults import Point, reach
from chalicelib.services.runs import start

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What a message from the bus says: whose event, and which. All else is read from our own outbox."""

    customer_id: CustomerId
    event_id: EventId


def react(database: Database, told: Told) -> int:
    """Note the event for every configuration that listens, and have a run wait for each. Returns how many.

    Delivered twice, it is noted once. An event that is not in the outbox is nobody's.
    """
    with database.enter(engine_for(told.customer_id)) as work:
        event = queries.event(work.session, work.actor.scope, told.event_id)
        if event is None:
            logger.info("an event nobody here emitted", extra={"event_id": told.event_id})
            return 0
        causation = Causation.of(event.causation)
        if causation.depth >= DEEPEST:
            return 0
        ancestors = json.dumps(causation.config_ids)
        listeners = queries.listeners(work.session, work.actor.scope, event.event_type, ancestors=ancestors)
        if listeners:
            queries.lock_queue(work.session, work.actor.scope)
        return sum(_react(work, listener, event, causation) for listener in listeners)


def _react(work: Work, listener: Any, event: Any, causation: Causation) -> bool:
    scope = work.actor.scope
    if event.event_type not in registry.find(listener.agent_type).reacts_to:
        return False
    if not queries.gather(work.session, scope, listener.id, event.id):
        return False
    waiting = queries.waiting_run(work.session, scope, listener.id)
    reach(Point.BEFORE_EVENT_COUNTS)
    child = causation.child(listener.id)
    if waiting is not None:
        joined = Causation.of(waiting.causation).joined(child)
        queries.widen(work.session, scope, waiting.id, json.dumps(joined.as_json()))
        return True
    try:
        start.start_for_events(work, config_id=AgentConfigId(listener.id), causation=child)
    except AppError as refused:
        logger.info("an event started no run", extra={"agent_config_id": listener.id, "code": refused.code})
    return True


def take_events(
    database: Database, actor: Actor, lease: Lease, *, config_id: str, agent_type: str
) -> dict[str, Any]:
    """The input of an event's run: built from all that has gathered, and kept on the run."""
    agent = registry.find(agent_type)
    with database.enter(actor) as work:
        fence(work.session, lease)
        taken = queries.take(work.session, actor.scope, config_id, lease.run_id)
        inputs = agent.input_of([_event(row) for row in taken])
        queries.set_input(work.session, actor.scope, lease.run_id, json.dumps(inputs))
    return inputs


def _event(row: Any) -> TriggerEvent:
    return TriggerEvent(row.event_type, row.aggregate_id, row.payload)


def told_by(message: str) -> Told:
    """Whom a message from the bus (EventBridge's envelope around our CloudEvent) is about.

    Raises ValueError for one that is not ours to read.
    """
    try:
        detail = json.loads(message)["detail"]
        return Told(CustomerId(str(detail["customerid"])), EventId(str(detail["id"])))
    except (KeyError, TypeError):
        raise ValueError("the message is about no event of ours") from None
