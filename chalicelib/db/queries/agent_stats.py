"""Every statement that counts what agents have done.

None of them counts runs: what has ended and what was spent are kept by the day, what has not ended is little, and the
newest and the latest are sought in an index. They travel in one flight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from chalicelib.db.driver import defer
from chalicelib.domain.ids import TenantScope
from chalicelib.domain.runs import RunStatus, Trigger

TIMED: Final = 200
"""So many of the last completed runs say how long a run takes."""

_ENDED = text("""
    SELECT agent_config_id, agent_type, sum(completed) AS completed, sum(failed) AS failed,
           sum(cancelled) AS cancelled, sum(items_processed) AS items_processed,
           sum(items_succeeded) AS items_succeeded, sum(items_failed) AS items_failed
    FROM run_days
    WHERE customer_id = :scope AND day >= :since
    GROUP BY agent_config_id, agent_type
""")
_SPENT = text("""
    SELECT agent_config_id, agent_type, sum(credits) AS credits, sum(dollars) AS dollars,
           sum(unpriced_calls) AS unpriced_calls
    FROM usage_days
    WHERE customer_id = :scope AND day >= :since
    GROUP BY agent_config_id, agent_type
""")
_ACTIVE = text("""
    SELECT coalesce(agent_config_id, '') AS agent_config_id, agent_type,
           count(*) FILTER (WHERE status = 'running') AS running,
           count(*) FILTER (WHERE status = 'pending') AS waiting
    FROM agent_runs
    WHERE customer_id = :scope AND status IN ('pending', 'running')
    GROUP BY 1, 2
""")
_PENDING = text("""
    SELECT coalesce(agent_config_id, '') AS agent_config_id, agent_type, count(*) AS pending_approvals
    FROM approval_items
    WHERE customer_id = :scope AND status = 'pending'
    GROUP BY 1, 2
""")
_NEWEST = """
    LEFT JOIN LATERAL (
        SELECT found.id
        FROM unnest(CAST(:statuses AS text[])) AS every_status, unnest(CAST(:triggers AS text[])) AS every_trigger,
        LATERAL (
            SELECT a.id, a.created_at FROM agent_runs a
            WHERE a.customer_id = :scope AND a.{column} = g.{key}
              AND a.status = every_status AND a.trigger = every_trigger
            ORDER BY a.created_at DESC, a.id DESC LIMIT 1
        ) found
        ORDER BY found.created_at DESC, found.id DESC LIMIT 1
    ) newest ON true
    LEFT JOIN agent_runs r ON r.customer_id = :scope AND r.id = newest.id
    CROSS JOIN LATERAL (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM took)) AS seconds
        FROM (
            SELECT a.completed_at - a.started_at AS took FROM agent_runs a
            WHERE a.customer_id = :scope AND a.{column} = g.{key} AND a.status = 'completed'
            ORDER BY a.completed_at DESC LIMIT :timed
        ) latest
    ) median
"""
_LAST = "r.id AS run_id, r.status, r.created_at, r.started_at, r.completed_at, median.seconds"
_OF_CONFIGS = text(f"""
    SELECT g.id AS agent_config_id, g.agent_type, g.next_due_at, {_LAST}
    FROM agent_configs g {_NEWEST.format(column="agent_config_id", key="id")}
    WHERE g.customer_id = :scope AND g.deleted_at IS NULL
    ORDER BY g.id
""")  # noqa: S608 - constants
_OF_TYPES = text(f"""
    SELECT g.agent_type, {_LAST}
    FROM (
        SELECT unnest(CAST(:types AS text[])) AS agent_type
        UNION SELECT agent_type FROM agent_configs WHERE customer_id = :scope
    ) g {_NEWEST.format(column="agent_type", key="agent_type")}
    ORDER BY g.agent_type
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of figures by config ('' for none) and type, and what is known of each config and each type."""

    figures: Sequence[Row[Any]]
    configs: Sequence[Row[Any]]
    types: Sequence[Row[Any]]


def count(session: Session, scope: TenantScope, *, since: date, types: Sequence[str]) -> Counted:
    """What has ended and was spent since that UTC day, what is active now, and the newest run of each config and type.

    Types are these and those of the tenant's configs.
    """
    seeks: Mapping[str, Any] = {
        "scope": scope,
        "statuses": list(RunStatus),
        "triggers": list(Trigger),
        "timed": TIMED,
    }
    ended = defer(session, _ENDED, {"scope": scope, "since": since})
    spent = defer(session, _SPENT, {"scope": scope, "since": since})
    active = defer(session, _ACTIVE, {"scope": scope})
    pending = defer(session, _PENDING, {"scope": scope})
    of_types = defer(session, _OF_TYPES, {**seeks, "types": list(types)})
    configs = session.execute(_OF_CONFIGS, seeks).all()
    return Counted([*ended.rows, *spent.rows, *active.rows, *pending.rows], configs, of_types.rows)
