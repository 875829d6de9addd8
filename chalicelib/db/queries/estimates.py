"""Every statement that an estimate asks: what like runs did and cost, and what may still be spent and done."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from chalicelib.domain.ids import TenantScope

LAST: Final = 20
"""So many of the last completed runs say how the next one goes."""
MOST_ITEMS: Final = 5000
"""Together, so that a few long runs do for many; one run counts however long it was."""

LOOKED_AT: Final = 60
"""Among so many of the last completed runs. What else is asked of a run has no index, so it comes after the seek."""

_LIKE_IT: Final = """
    SELECT id, config, input, seconds FROM (
        SELECT r.id, r.config, r.input, extract(epoch FROM r.completed_at - r.started_at) AS seconds,
               sum(r.items_processed) OVER (ORDER BY r.completed_at DESC, r.id) - r.items_processed AS items_before
        FROM (
            SELECT last.*
            FROM (
                SELECT id, config, input, output, agent_version, replay_of, started_at, completed_at, items_processed
                FROM agent_runs
                WHERE customer_id = :scope AND {column} = :value AND status = 'completed'
                ORDER BY completed_at DESC LIMIT :looked_at
            ) last
            WHERE agent_version = :version AND replay_of IS NULL AND output->>'stoppedBy' IS NULL
            ORDER BY completed_at DESC LIMIT :last
        ) r
    ) runs
    WHERE items_before < :items
"""
_RUNS: Final = {column: text(_LIKE_IT.format(column=column)) for column in ("agent_config_id", "agent_type")}
_CALLS = text("""
    SELECT provider, operation, count(*) AS calls, sum(credits) AS credits,
           count(*) FILTER (WHERE tokens_in > 0) AS metered, sum(tokens_in) AS tokens_in,
           sum(tokens_cached) AS tokens_cached, sum(tokens_out) AS tokens_out
    FROM usage_entries
    WHERE customer_id = :scope AND run_id = ANY (:runs) AND status IN ('settled', 'unknown')
    GROUP BY provider, operation
""")
_LEFT = text("""
    SELECT c.agents_enabled, b.monthly_credits, b.monthly_dollars,
           coalesce(m.credits_spent + m.credits_reserved, 0) AS credits,
           coalesce(m.dollars_spent + m.dollars_reserved, 0) AS dollars,
           coalesce(m.platform_credits, 0) AS platform_credits, coalesce(m.platform_dollars, 0) AS platform_dollars,
           CASE WHEN l.hour_at >= date_trunc('hour', app_now(), :zone) THEN l.hour_items ELSE 0 END AS hour_items,
           CASE WHEN l.day_at >= date_trunc('day', app_now(), :zone) THEN l.day_items ELSE 0 END AS day_items
    FROM customers c
    LEFT JOIN budgets b ON b.customer_id = c.id
    LEFT JOIN usage_months m ON m.customer_id = c.id
        AND m.month = date_trunc('month', app_now() AT TIME ZONE 'UTC')::date
    LEFT JOIN limit_counters l ON l.customer_id = c.id AND l.agent_config_id = :config
    WHERE c.id = :scope
""")


def runs_like(
    session: Session,
    scope: TenantScope,
    column: str,  # agent_config_id or agent_type
    value: str,
    *,
    version: str,
) -> Sequence[Row[Any]]:
    """The last completed runs of an agent or a type, by the agent's present version.

    Those that a daily limit cut short, or that went on from another one's record, say nothing of a whole run.
    """
    parameters = {
        "scope": scope,
        "value": value,
        "version": version,
        "looked_at": LOOKED_AT,
        "last": LAST,
        "items": MOST_ITEMS,
    }
    return session.execute(_RUNS[column], parameters).all()


def calls_of(session: Session, scope: TenantScope, run_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """What these runs paid for together, by provider and operation. `metered`: calls whose tokens are known."""
    return session.execute(_CALLS, {"scope": scope, "runs": list(run_ids)}).all()


def left(session: Session, scope: TenantScope, config_id: str, zone: str) -> Row[Any]:
    """The caps and what is booked against them now, and the items that the agent took this hour and day."""
    return session.execute(_LEFT, {"scope": scope, "config": config_id, "zone": zone}).one()
