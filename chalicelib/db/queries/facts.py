"""Every statement on what providers told a tenant."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from chalicelib.db.driver import Deferred, defer
from chalicelib.domain.facts import PERSONAL
from chalicelib.domain.ids import RunId, TenantScope

_FIND = text("""
    SELECT DISTINCT ON (k.key, f.provider, f.kind) k.key, f.provider, f.kind, f.known, f.value, f.fetched_at
    FROM provider_fact_keys k JOIN provider_facts f ON f.customer_id = k.customer_id AND f.id = k.fact_id
    WHERE k.customer_id = :scope AND k.key = ANY (:keys) AND f.kind = ANY (:kinds)
    ORDER BY k.key, f.provider, f.kind, f.fetched_at DESC, f.id DESC
""")
_KEEP = text("""
    WITH told AS (
        SELECT t.* FROM jsonb_to_recordset(CAST(:facts AS jsonb)) AS t(
            id text, provider text, kind text, known boolean, value jsonb, keys jsonb
        )
    ), kept AS (
        INSERT INTO provider_facts (customer_id, id, provider, kind, known, value, run_id)
        SELECT current_customer(), t.id, t.provider, t.kind, t.known, t.value, :run FROM told t
    )
    INSERT INTO provider_fact_keys (customer_id, key, fact_id)
    SELECT current_customer(), k.key, t.id FROM told t, jsonb_array_elements_text(t.keys) AS k(key)
""")
_MARK = text("""
    UPDATE agent_run_steps s SET remembered_at = coalesce(m."fetchedAt", app_now())
    FROM jsonb_to_recordset(CAST(:marks AS jsonb)) AS m(key text, "fetchedAt" timestamptz)
    WHERE s.customer_id = current_customer() AND s.run_id = :run AND s.key = m.key
""")
_MARKED = text("""
    SELECT key, remembered_at FROM agent_run_steps
    WHERE customer_id = :scope AND run_id = :run AND remembered_at IS NOT NULL
""")
_ERASE = text("""
    DELETE FROM provider_facts f
    WHERE f.customer_id = :scope AND f.kind = ANY (:kinds) AND f.id IN (
        SELECT k.fact_id FROM provider_fact_keys k WHERE k.customer_id = :scope AND k.key = ANY (:keys)
    )
""")


def find(session: Session, scope: TenantScope, keys: Sequence[str], kinds: Iterable[str]) -> Deferred:
    """The latest answer of each kind and provider under each key, with the next flight, however old it is."""
    return defer(session, _FIND, {"scope": scope, "keys": list(keys), "kinds": list(kinds)})


def keep(session: Session, run_id: RunId, facts: Sequence[Mapping[str, Any]]) -> None:
    """Keep answers with the next flight. The caller's transaction is fenced and records their steps."""
    defer(session, _KEEP, {"run": run_id, "facts": json.dumps(facts)})


def mark(session: Session, run_id: RunId, marks: Sequence[Mapping[str, Any]]) -> None:
    """Say of steps, with the flight that records them, that they were remembered, and from when."""
    defer(session, _MARK, {"run": run_id, "marks": json.dumps(marks, default=str)})


def marked(session: Session, scope: TenantScope, run_id: RunId) -> dict[str, Any]:
    """From when a run's remembered steps are, by key."""
    return {row.key: row.remembered_at for row in session.execute(_MARKED, {"scope": scope, "run": run_id})}


def erase(session: Session, scope: TenantScope, keys: Sequence[str]) -> int:
    """Forget everything that providers told of a person, found by addresses and providers' ids (`by_email`, `by_id`).

    Searches that show the person among others go whole. Returns how many answers went.
    """
    done: Any = session.execute(
        _ERASE, {"scope": scope, "keys": list(keys), "kinds": [kind.value for kind in PERSONAL]}
    )
    return int(done.rowcount)
