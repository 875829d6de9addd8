"""Every statement of the sweep that is not another noun's: whom to visit, and the visits."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from chalicelib.db.driver import execute_and_commit
from chalicelib.domain.runs import FAILURES_IN_A_ROW, OLDEST

_TENANTS = text("""
    SELECT q.customer_id
    FROM tenant_queues q JOIN customers c ON c.id = q.customer_id
    WHERE EXISTS (
            SELECT FROM agent_runs r
            WHERE r.customer_id = q.customer_id AND r.status = 'running' AND r.lease_expires_at <= app_now()
        )
        OR EXISTS (
            SELECT FROM agent_runs r
            WHERE r.customer_id = q.customer_id AND r.status = 'pending'
              AND r.created_at <= app_now() - CAST(:oldest AS interval)
        )
        OR EXISTS (
            SELECT FROM agent_configs g JOIN agent_runs r ON r.customer_id = g.customer_id AND r.agent_config_id = g.id
            WHERE g.customer_id = q.customer_id AND (NOT g.enabled OR g.deleted_at IS NOT NULL)
              AND g.updated_at >= app_now() - CAST(:oldest AS interval) - interval '1 hour' AND r.status = 'pending'
        )
        OR c.agents_enabled AND :enabled
        AND (q.rung_at IS NULL OR q.rung_at <= app_now() - CAST(:patience AS interval))
        AND EXISTS (
            SELECT FROM agent_runs r
            WHERE r.customer_id = q.customer_id AND r.status = 'pending' AND r.due_at <= app_now()
        )
        AND (SELECT count(*) FROM agent_runs r WHERE r.customer_id = q.customer_id AND r.status = 'running')
            < coalesce(c.max_concurrent_runs, :limit)
    ORDER BY q.rung_at NULLS FIRST, q.customer_id
    LIMIT 500
""")
_RUNS = text("SELECT * FROM sweep_runs(:limit, :enabled, :patience, :failures, :oldest, :most, :sinks)")
_STANDING = text("""
    SELECT
        coalesce((
            SELECT extract(epoch FROM app_now() - min(e.created_at))
            FROM unnest(CAST(:sinks AS text[])) s(sink) CROSS JOIN LATERAL (
                SELECT d.customer_id, d.event_id FROM event_deliveries d
                WHERE d.sink = s.sink AND d.status = 'pending' ORDER BY d.position LIMIT 1
            ) oldest JOIN outbox_events e ON e.customer_id = oldest.customer_id AND e.id = oldest.event_id
        ), 0)::float8 AS outbox_lag_seconds,
        (SELECT count(*) FROM event_deliveries WHERE status = 'parked') AS events_parked,
        coalesce((
            SELECT extract(epoch FROM app_now() - min(oldest.due_at))
            FROM tenant_queues q JOIN customers c ON c.id = q.customer_id
            CROSS JOIN LATERAL (
                SELECT r.due_at FROM agent_runs r
                WHERE r.customer_id = q.customer_id AND r.status = 'pending' AND r.due_at <= app_now()
                ORDER BY r.due_at LIMIT 1
            ) oldest
            WHERE c.agents_enabled AND :enabled AND (
                SELECT count(*) FROM agent_runs r WHERE r.customer_id = q.customer_id AND r.status = 'running'
            ) < coalesce(c.max_concurrent_runs, :limit)
        ), 0)::float8 AS oldest_due_run_seconds
""")
_TENANTS_WITH_RESERVATIONS = text("""
    SELECT q.customer_id FROM tenant_queues q
    WHERE EXISTS (
        SELECT FROM usage_entries u
        WHERE u.customer_id = q.customer_id AND u.status = 'reserved'
          AND u.created_at <= app_now() - CAST(:age AS interval)
    )
    ORDER BY q.customer_id
    LIMIT 500
""")
_RESERVATIONS = text("SELECT forget_reservations(:age, :most)")


def tenants_to_visit(session: Session, *, patience: timedelta, limit: int, enabled: bool) -> list[str]:
    """Those for whom a visit would do something, the longest unheard first; as bevyly_system."""
    parameters = {"patience": patience, "limit": limit, "enabled": enabled, "oldest": OLDEST}
    return list(session.execute(_TENANTS, parameters).scalars())


def visit(
    session: Session, *, patience: timedelta, limit: int, enabled: bool, most: int, sinks: Sequence[str]
) -> Row[Any]:
    """Look after the tenant's runs without claiming any, and commit, in one flight.

    `rings` says whether a message is owed, `told` whether events were emitted; the others are counts.
    """
    return execute_and_commit(
        session,
        _RUNS,
        {
            "limit": limit,
            "enabled": enabled,
            "patience": patience,
            "failures": FAILURES_IN_A_ROW,
            "oldest": OLDEST,
            "most": most,
            "sinks": list(sinks),
        },
    ).one()


def standing(session: Session, *, limit: int, enabled: bool, sinks: Sequence[str]) -> Row[Any]:
    """How the system stands: how long the oldest event waits to be published, how many are parked, and how long the
    oldest run waits that nothing keeps from being worked on. As bevyly_system.
    """
    return session.execute(_STANDING, {"limit": limit, "enabled": enabled, "sinks": list(sinks)}).one()


def tenants_with_old_reservations(session: Session, *, age: timedelta) -> list[str]:
    """Those with a booked call older than `age`, which may still be somebody's; as bevyly_system."""
    return list(session.execute(_TENANTS_WITH_RESERVATIONS, {"age": age}).scalars())


def forget_reservations(session: Session, *, age: timedelta, most: int) -> int:
    """Calls booked longer ago than `age` that no worker holds a lease for become `unknown`. How many."""
    return int(execute_and_commit(session, _RESERVATIONS, {"age": age, "most": most}).scalar_one())
