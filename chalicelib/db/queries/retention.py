"""Every statement that clears what is kept for a time only, as bevyly_system.

Each takes the oldest `most` that are due and that nobody holds, and says how many that were. The policies in
migrations/sql/0006_retention.sql show it nothing that is younger than a day or not yet delivered.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from chalicelib.db.driver import execute_and_commit
from chalicelib.domain.access import SIGN_IN_WINDOW

IDEMPOTENCY: Final = timedelta(hours=24)
"""What the API promises; `begin_idempotent` counts the same."""

_STEP_OUTPUTS = text("""
    WITH old AS (
        SELECT s.customer_id, s.run_id, s.key
        FROM agent_run_steps s JOIN agent_runs r ON r.customer_id = s.customer_id AND r.id = s.run_id
        WHERE s.output_removed_at IS NULL AND s.recorded_at <= app_now() - CAST(:keep AS interval)
          AND r.completed_at <= app_now() - CAST(:keep AS interval)
        ORDER BY s.recorded_at LIMIT :most FOR NO KEY UPDATE OF s SKIP LOCKED
    )
    UPDATE agent_run_steps s SET output = NULL, output_removed_at = app_now() FROM old
    WHERE s.customer_id = old.customer_id AND s.run_id = old.run_id AND s.key = old.key
""")
_OUTBOX = text("""
    WITH old AS (
        SELECT e.customer_id, e.id FROM outbox_events e
        WHERE e.created_at <= app_now() - CAST(:keep AS interval)
          AND NOT EXISTS (
            SELECT FROM event_deliveries d
            WHERE d.customer_id = e.customer_id AND d.event_id = e.id
              AND (d.status <> 'delivered' OR d.delivered_at > app_now() - CAST(:keep AS interval))
          )
          AND NOT EXISTS (
            SELECT FROM run_trigger_events t
            WHERE t.customer_id = e.customer_id AND t.event_id = e.id AND t.run_id IS NULL
          )
        ORDER BY e.created_at LIMIT :most FOR UPDATE OF e SKIP LOCKED
    ), deliveries AS (
        DELETE FROM event_deliveries d USING old WHERE d.customer_id = old.customer_id AND d.event_id = old.id
    )
    DELETE FROM outbox_events e USING old WHERE e.customer_id = old.customer_id AND e.id = old.id
""")
_IDEMPOTENCY_KEYS = text("""
    WITH old AS (
        SELECT k.customer_id, k.user_id, k.route, k.key FROM idempotency_keys k
        WHERE k.created_at <= app_now() - CAST(:keep AS interval)
        ORDER BY k.created_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM idempotency_keys k USING old
    WHERE k.customer_id = old.customer_id AND k.user_id = old.user_id AND k.route = old.route AND k.key = old.key
""")
_SIGN_IN_ATTEMPTS = text("""
    WITH old AS (
        SELECT a.key_hash FROM sign_in_attempts a
        WHERE a.window_start <= app_now() - CAST(:keep AS interval)
        ORDER BY a.window_start LIMIT :most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sign_in_attempts a USING old WHERE a.key_hash = old.key_hash
""")
# While the event is there it may be told again, and this row is why that starts no second run.
_TRIGGER_EVENTS = text("""
    WITH old AS (
        SELECT t.customer_id, t.agent_config_id, t.event_id FROM run_trigger_events t
        WHERE t.created_at <= app_now() - CAST(:keep AS interval)
          AND (
            t.run_id IS NOT NULL
            OR EXISTS (
                SELECT FROM agent_configs g
                WHERE g.customer_id = t.customer_id AND g.id = t.agent_config_id AND g.deleted_at IS NOT NULL
            )
          )
          AND (
            t.run_id IS NULL
            OR NOT EXISTS (SELECT FROM outbox_events e WHERE e.customer_id = t.customer_id AND e.id = t.event_id)
          )
        ORDER BY t.created_at LIMIT :most FOR UPDATE OF t SKIP LOCKED
    )
    DELETE FROM run_trigger_events t USING old
    WHERE t.customer_id = old.customer_id AND t.agent_config_id = old.agent_config_id AND t.event_id = old.event_id
""")
_SCHEDULE_FIRES = text("""
    WITH old AS (
        SELECT f.customer_id, f.agent_config_id, f.slot_at FROM schedule_fires f
        WHERE f.created_at <= app_now() - CAST(:keep AS interval)
        ORDER BY f.created_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM schedule_fires f USING old
    WHERE f.customer_id = old.customer_id AND f.agent_config_id = old.agent_config_id AND f.slot_at = old.slot_at
""")

_PROVIDER_FACTS = text("""
    WITH old AS (
        SELECT f.customer_id, f.id FROM provider_facts f
        WHERE f.fetched_at <= app_now() - CAST(:keep AS interval)
        ORDER BY f.fetched_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM provider_facts f USING old WHERE f.customer_id = old.customer_id AND f.id = old.id
""")


def step_outputs(session: Session, *, keep: timedelta, most: int) -> int:
    """Outputs of steps whose run ended `keep` ago; key, status, duration and error stay."""
    return _clear(session, _STEP_OUTPUTS, keep, most)


def outbox(session: Session, *, keep: timedelta, most: int) -> int:
    """Events delivered at every sink `keep` ago, with their deliveries. Sequences go on from where they are."""
    return _clear(session, _OUTBOX, keep, most)


def trigger_events(session: Session, *, keep: timedelta, most: int) -> int:
    """Notes of events that a run has taken, or that wait for an agent that is deleted."""
    return _clear(session, _TRIGGER_EVENTS, keep, most)


def schedule_fires(session: Session, *, keep: timedelta, most: int) -> int:
    """What became of slots."""
    return _clear(session, _SCHEDULE_FIRES, keep, most)


def provider_facts(session: Session, *, keep: timedelta, most: int) -> int:
    """What providers said `keep` ago, with the keys it was found under."""
    return _clear(session, _PROVIDER_FACTS, keep, most)


def idempotency_keys(session: Session, *, most: int) -> int:
    """Answers that are not repeated any more."""
    return _clear(session, _IDEMPOTENCY_KEYS, IDEMPOTENCY, most)


def sign_in_attempts(session: Session, *, most: int) -> int:
    """Counts whose window is over."""
    return _clear(session, _SIGN_IN_ATTEMPTS, SIGN_IN_WINDOW, most)


def _clear(session: Session, statement: TextClause, keep: timedelta, most: int) -> int:
    done: Any = execute_and_commit(session, statement, {"keep": keep, "most": most})
    return int(done.rowcount)
