"""The relay: publishes what committed, at least once, in order within each aggregate.

One relay a sink holds a lease. A batch holds at most one event an aggregate, so that a failed one keeps back
its own successors only. An event that fails too often is parked, and no longer keeps anybody back.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from chalicelib.db.queries import outbox as queries
from chalicelib.db.work import Database, Work
from chalicelib.domain.errors import Conflict, NotFound, Unavailable
from chalicelib.domain.ids import EventId, new_id
from chalicelib.domain.ports import EventSink, OutgoingEvent
from chalicelib.faults import Point, reach
from chalicelib.observability import measure

logger = logging.getLogger(__name__)

BATCH: Final = 10
LEASE: Final = timedelta(seconds=60)
METRICS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "agent.run.completed": "RunsCompleted",
        "agent.run.failed": "RunsFailed",
        "agent.run.cancelled": "RunsCancelled",
        "budget.threshold.reached": "BudgetReached",
        "integration.credential.failed": "KeyRejected",
    }
)
"""Events that are counted when they are published: whoever caused them, they all come by here."""
ATTEMPTS: Final = 8
"""Tries before an event is parked: ten minutes at the least."""


@dataclass(frozen=True, slots=True)
class Relay:
    database: Database
    sinks: Sequence[EventSink]

    def drain(self, time_left: Callable[[], timedelta]) -> int:
        """Publish what is due at each sink, until nothing is or time is short. Returns how many."""
        return sum(self._drain_sink(sink, time_left) for sink in self.sinks)

    def _drain_sink(self, sink: EventSink, time_left: Callable[[], timedelta]) -> int:
        published = 0
        token = new_id("EventId")
        while time_left() > timedelta(seconds=10):
            with self.database.system() as session:
                if not queries.take_lease(session, sink.name, token, lease=LEASE):
                    return published
            try:
                published += self._publish_all(sink, token, time_left)
            except Unavailable as out:
                logger.warning("a sink is out", extra={"sink": sink.name, "reason": out.message})
                return published
            finally:
                with self.database.system() as session:
                    queries.let_go(session, sink.name, token)
            # Who came while the lease was held went away again; what they came for may be there only now.
            with self.database.system() as session:
                if not queries.heads(session, sink.name, most=1):
                    return published
        return published

    def _measure(self, rows: Sequence[Any], answers: Sequence[str | None]) -> None:
        """Count what was published, by what it tells of."""
        told = Counter(
            (METRICS[row.event_type], str(row.payload.get("agentType") or "") or None)
            for row, reason in zip(rows, answers, strict=True)
            if reason is None and row.event_type in METRICS
        )
        for (name, agent_type), times in told.items():
            measure(name, times, agent_type=agent_type)

    def _publish_all(self, sink: EventSink, token: str, time_left: Callable[[], timedelta]) -> int:
        published = 0
        marks: list[dict[str, Any]] = []
        while True:
            with self.database.system() as session:
                if marks:
                    queries.mark(session, sink.name, marks)
                    reach(Point.AFTER_PUBLISH)
                held = queries.take_lease(session, sink.name, token, lease=LEASE)
                rows = queries.heads(session, sink.name, most=BATCH) if held else []
            if not rows or time_left() < timedelta(seconds=10):
                return published
            reach(Point.BEFORE_PUBLISH)
            answers = sink.publish([self._outgoing(row) for row in rows])
            marks = [_mark(row, reason) for row, reason in zip(rows, answers, strict=True)]
            published += sum(reason is None for reason in answers)
            if sink is self.sinks[0]:
                self._measure(rows, answers)

    def _outgoing(self, row: Any) -> OutgoingEvent:
        return OutgoingEvent(row.id, row.customer_id, cloud_event(row, self.database.settings.event_source))


def cloud_event(row: Any, source: str) -> dict[str, Any]:
    """An outbox row as CloudEvents 1.0, JSON format."""
    return {
        "specversion": "1.0",
        "id": row.id,
        "source": source,
        "type": row.event_type,
        "subject": row.aggregate_id,
        "time": row.created_at.isoformat(),
        "datacontenttype": "application/json",
        "aggregatetype": row.aggregate_type,
        "customerid": row.customer_id,
        "sequence": str(row.sequence),
        "data": row.payload,
    }


def send_again(work: Work, event_id: EventId) -> list[str]:
    """Put a parked event back in line at the sinks where it is parked; returns those."""
    sinks = queries.send_again(work.session, work.actor.scope, event_id)
    if not sinks:
        known = queries.deliveries(work.session, work.actor.scope, [event_id])
        if not known:
            raise NotFound("There is no such event.")
        raise Conflict("This event is not parked: it was delivered, or is on its way.", code="not_parked")
    work.audit("event.redelivered", event_id, sinks=sinks)
    work.emitted = True
    return sinks


def _mark(row: Any, reason: str | None) -> dict[str, Any]:
    attempts = row.attempts + 1
    parked = reason is not None and attempts >= ATTEMPTS
    if parked:
        logger.error("an event is parked", extra={"event_id": row.id, "reason": reason})
    return {
        "id": row.id,
        "customer": row.customer_id,
        "status": "delivered" if reason is None else "parked" if parked else "pending",
        "error": reason,
        "delay": 0 if reason is None else 5 * 2 ** (attempts - 1),
    }
