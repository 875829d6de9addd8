"""Every statement on the outbox, as bevyly_system unless it says otherwise."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from chalicelib.db.driver import defer
from chalicelib.domain.ids import TenantScope

_TAKE = text("""
    INSERT INTO relay_leases AS l (sink, token, expires_at) VALUES (:sink, :token, app_now() + CAST(:lease AS interval))
    ON CONFLICT (sink) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at
    WHERE l.token IS NULL OR l.token = excluded.token OR l.expires_at <= app_now()
    RETURNING sink
""")
_LET_GO = text(
    "UPDATE relay_leases SET token = NULL, expires_at = NULL WHERE sink = :sink AND token = :token"
)
_HEADS = text("""
    SELECT e.id, e.customer_id, e.event_type, e.aggregate_type, e.aggregate_id, e.sequence, e.payload, e.causation,
           e.created_at, d.attempts
    FROM event_deliveries d JOIN outbox_events e ON e.customer_id = d.customer_id AND e.id = d.event_id
    WHERE d.sink = :sink AND d.status = 'pending' AND d.next_attempt_at <= app_now()
      AND d.position = (
        SELECT min(o.position) FROM event_deliveries o
        WHERE o.sink = :sink AND o.status = 'pending' AND o.customer_id = d.customer_id
          AND o.aggregate_id = d.aggregate_id
      )
    ORDER BY d.position
    LIMIT :most
""")
_MARK = text("""
    UPDATE event_deliveries d SET
        status = m.status, attempts = d.attempts + 1, error = m.error,
        delivered_at = CASE WHEN m.status = 'delivered' THEN app_now() END,
        next_attempt_at = app_now() + make_interval(secs => m.delay)
    FROM jsonb_to_recordset(CAST(:marks AS jsonb)) AS m(id text, customer text, status text, error text, delay float)
    WHERE d.customer_id = m.customer AND d.event_id = m.id AND d.sink = :sink AND d.status = 'pending'
""")
_DELIVERIES = text("""
    SELECT event_id, sink, status, attempts, error, delivered_at FROM event_deliveries
    WHERE customer_id = :scope AND event_id = ANY(:ids) ORDER BY event_id, sink
""")
_AGAIN = text("""
    UPDATE event_deliveries SET status = 'pending', attempts = 0, error = NULL, next_attempt_at = app_now()
    WHERE customer_id = :scope AND event_id = :id AND status = 'parked'
    RETURNING sink
""")


def take_lease(session: Session, sink: str, token: str, *, lease: timedelta) -> bool:
    """Become the sink's one relay, or stay it."""
    return session.execute(_TAKE, {"sink": sink, "token": token, "lease": lease}).one_or_none() is not None


def let_go(session: Session, sink: str, token: str) -> None:
    defer(session, _LET_GO, {"sink": sink, "token": token})


def heads(session: Session, sink: str, *, most: int) -> Sequence[Row[Any]]:
    """The oldest undelivered event of each aggregate, where it is due: at most one an aggregate, in order."""
    return session.execute(_HEADS, {"sink": sink, "most": most}).all()


def mark(session: Session, sink: str, marks: Sequence[Mapping[str, Any]]) -> None:
    defer(session, _MARK, {"sink": sink, "marks": json.dumps(marks)})


def deliveries(session: Session, scope: TenantScope, ids: Sequence[str]) -> Sequence[Row[Any]]:
    """A tenant's own view, as bevyly_app."""
    return session.execute(_DELIVERIES, {"scope": scope, "ids": list(ids)}).all()


def send_again(session: Session, scope: TenantScope, event_id: str) -> list[str]:
    """Parked deliveries of an event wait again; the sinks they wait for. As bevyly_app."""
    return list(session.execute(_AGAIN, {"scope": scope, "id": event_id}).scalars())
