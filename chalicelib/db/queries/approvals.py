"""Every statement on approval items."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from chalicelib.db.driver import Deferred, defer
from chalicelib.db.models.approval import ApprovalItem
from chalicelib.db.models.tenant import User
from chalicelib.domain.errors import NotFound
from chalicelib.domain.ids import TenantScope

NEWER: Final = "A newer proposal for the same thing took its place."

_PROPOSING = text("SELECT await_turn_to_propose()")
_OPEN = text("""
    SELECT id, item_type, agent_type, dedupe_key, status, content_hash, version,
           claimed_by IS NOT NULL AND claimed_at > app_now() - interval '30 minutes' AS claimed
    FROM approval_items
    WHERE customer_id = :scope AND dedupe_key = ANY(:keys)
      AND (status = 'pending' OR (status IN ('approved', 'edited', 'rejected') AND applied_at IS NULL))
    ORDER BY id FOR NO KEY UPDATE
""")
_SUPERSEDE = text("""
    UPDATE approval_items SET status = 'superseded', version = version + 1,
        status_reason = :reason
    WHERE customer_id = :scope AND id = ANY(:ids) AND status = 'pending'
""")
_INSERT = text("""
    INSERT INTO approval_items (
        id, customer_id, agent_run_id, agent_config_id, agent_type, item_type, priority, title, description,
        content, context, flags, account_id, contact_id, owner_id, dedupe_key, content_hash, causation,
        expires_at
    )
    SELECT n.id, :scope, :run, :config, :agent_type, n.item_type, n.priority, n.title, n.description,
           n.content, n.context, n.flags, n.account_id, n.contact_id,
           coalesce(
               (SELECT u.id FROM accounts a JOIN users u ON u.customer_id = :scope AND u.id = a.owner_id
                WHERE a.customer_id = :scope AND a.id = n.account_id AND u.status = 'active'),
               (SELECT u.id FROM users u WHERE u.customer_id = :scope AND u.id = :owner AND u.status = 'active'),
               (SELECT u.id FROM users u WHERE u.customer_id = :scope AND u.id = :starter AND u.status = 'active')
           ),
           n.dedupe_key, n.content_hash, CAST(:causation AS jsonb), app_now() + CAST(:expiry AS interval)
    FROM jsonb_to_recordset(CAST(:items AS jsonb)) AS n(
        id text, item_type text, priority text, title text, description text, content jsonb, context jsonb,
        flags jsonb, account_id text, contact_id text, dedupe_key text, content_hash text
    )
""")
_HOLD = text("""
    SELECT FROM approval_items WHERE customer_id = :scope AND id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE
""")
_DECIDE = text("""
    UPDATE approval_items i SET
        status = CASE WHEN d.edited IS NULL THEN :status ELSE 'edited' END,
        edited_content = d.edited,
        approved_hash = CASE WHEN :status = 'approved' THEN coalesce(d.hash, i.content_hash) END,
        version = i.version + 1,
        reviewed_by = :user, decided_by_rule = :rule, reviewed_at = app_now(),
        rejection_reason = :reason, reason_code = :reason_code,
        effective_at = app_now() + make_interval(secs => c.undo_window_seconds),
        apply_error = NULL, apply_failures = 0, claimed_by = NULL, claimed_at = NULL
    FROM jsonb_to_recordset(CAST(:verdicts AS jsonb)) AS d(id text, version int, edited jsonb, hash text), customers c
    WHERE c.id = :scope AND i.customer_id = :scope AND i.id = d.id AND i.version = d.version
      AND i.status = 'pending' AND (i.expires_at IS NULL OR i.expires_at > app_now())
      AND (CAST(:owner AS text) IS NULL OR i.owner_id = :owner)
      AND (NOT :unflagged OR i.flags = '[]')
    RETURNING i.id, i.status, i.version, i.effective_at, c.undo_window_seconds
""")
_EXPLAIN = text("""
    SELECT i.id, i.item_type, i.status, i.version, i.owner_id, i.flags, i.reviewed_by, u.name AS reviewer,
           i.reviewed_at, i.decided_by_rule, i.edited_content, i.rejection_reason, i.effective_at, i.applied_at,
           i.status = 'pending' AND i.expires_at <= app_now() AS expired
    FROM approval_items i LEFT JOIN users u ON u.customer_id = i.customer_id AND u.id = i.reviewed_by
    WHERE i.customer_id = :scope AND i.id = ANY(:ids)
""")
_REVERT = text("""
    UPDATE approval_items SET
        status = 'pending', version = version + 1, reviewed_by = NULL, reviewed_at = NULL, decided_by_rule = NULL,
        edited_content = NULL, approved_hash = NULL, rejection_reason = NULL, reason_code = NULL,
        effective_at = NULL, apply_error = NULL, apply_failures = 0,
        expires_at = greatest(expires_at, app_now() + CAST(:at_least AS interval))
    WHERE customer_id = :scope AND id = :id AND version = :version
      AND status IN ('approved', 'edited', 'rejected') AND applied_at IS NULL AND effective_at > app_now()
      AND (CAST(:owner AS text) IS NULL OR owner_id = :owner)
    RETURNING id, version
""")
_DUE = text("""
    SELECT id, item_type, agent_type, agent_run_id, agent_config_id, status, version, content, edited_content,
           approved_hash, account_id, contact_id, owner_id, reviewed_by, reviewed_at, decided_by_rule,
           rejection_reason, reason_code, causation, apply_failures
    FROM approval_items
    WHERE customer_id = :scope AND status IN ('approved', 'edited', 'rejected') AND applied_at IS NULL
      AND effective_at <= app_now()
    ORDER BY effective_at, id
    LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
""")
_APPLIED = text("""
    UPDATE approval_items SET applied_at = app_now(), apply_error = NULL
    WHERE customer_id = :scope AND id = ANY(:ids)
""")
_STALE = text("""
    UPDATE approval_items i SET status = 'superseded', version = version + 1, status_reason = s.reason
    FROM jsonb_to_recordset(CAST(:stale AS jsonb)) AS s(id text, reason text)
    WHERE i.customer_id = :scope AND i.id = s.id
""")
_FAILED = text("""
    UPDATE approval_items SET apply_failures = apply_failures + 1, apply_error = :error,
        effective_at = app_now() + interval '30 seconds' * power(2, apply_failures)
    WHERE customer_id = :scope AND id = :id
""")
_BACK_TO_A_PERSON = text("""
    UPDATE approval_items SET
        status = 'pending', version = version + 1, reviewed_by = NULL, reviewed_at = NULL, decided_by_rule = NULL,
        edited_content = NULL, approved_hash = NULL, rejection_reason = NULL, reason_code = NULL,
        effective_at = NULL, apply_failures = 0, apply_error = :error,
        expires_at = greatest(expires_at, app_now() + CAST(:at_least AS interval))
    WHERE customer_id = :scope AND id = :id
""")
_EXPIRE = text("""
    UPDATE approval_items SET status = 'expired', version = version + 1
    WHERE customer_id = :scope AND id IN (
        SELECT id FROM approval_items
        WHERE customer_id = :scope AND status = 'pending' AND expires_at <= app_now()
        ORDER BY expires_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
    )
    RETURNING id, item_type, agent_type, causation
""")
_TENANTS_WITH_WORK = text("""
    SELECT c.id
    FROM customers c CROSS JOIN LATERAL (
        (SELECT FROM approval_items i
         WHERE i.customer_id = c.id AND i.status IN ('approved', 'edited', 'rejected') AND i.applied_at IS NULL
           AND i.effective_at <= app_now() ORDER BY i.effective_at LIMIT 1)
        UNION ALL
        (SELECT FROM approval_items i
         WHERE i.customer_id = c.id AND i.status = 'pending' AND i.expires_at <= app_now()
         ORDER BY i.expires_at LIMIT 1)
        LIMIT 1
    ) due
    LIMIT 500
""")
_STATS = text("""
    SELECT agent_type, status, count(*) AS items FROM approval_items
    WHERE customer_id = :scope GROUP BY agent_type, status
""")


def one_proposer(session: Session) -> None:
    """Transactions of a tenant that propose go one after the other, so that none overlooks another's."""
    defer(session, _PROPOSING)


def open_items(session: Session, scope: TenantScope, dedupe_keys: Sequence[str]) -> dict[str, Row[Any]]:
    """The open items for the same things, by dedupe key, held until commit: nobody decides them meanwhile."""
    rows = session.execute(_OPEN, {"scope": scope, "keys": list(dedupe_keys)})
    return {row.dedupe_key: row for row in rows}


def supersede(session: Session, scope: TenantScope, ids: Sequence[str]) -> None:
    defer(session, _SUPERSEDE, {"scope": scope, "ids": list(ids), "reason": NEWER})


def insert(
    session: Session,
    scope: TenantScope,
    items: Sequence[Mapping[str, Any]],
    *,
    origin: Mapping[str, Any],
    expiry: timedelta,
) -> Deferred:
    return defer(session, _INSERT, {"scope": scope, "items": json.dumps(items), "expiry": expiry, **origin})


def decide(
    session: Session,
    scope: TenantScope,
    verdicts: Sequence[Mapping[str, Any]],
    *,
    status: str,
    user: str | None,
    rule: str | None,
    reason: str | None,
    reason_code: str | None,
    owner: str | None,
    unflagged: bool,
) -> dict[str, Row[Any]]:
    """Those of the verdicts that hold now, by item: tenant, id, version, pending, not expired, allowed.

    The items are locked in one order first, so that two of these on the same items do not wait for each other.
    """
    defer(session, _HOLD, {"scope": scope, "ids": [verdict["id"] for verdict in verdicts]})
    rows = session.execute(
        _DECIDE,
        {
            "scope": scope,
            "verdicts": json.dumps(verdicts),
            "status": status,
            "user": user,
            "rule": rule,
            "reason": reason,
            "reason_code": reason_code,
            "owner": owner,
            "unflagged": unflagged,
        },
    )
    return {row.id: row for row in rows}


def explain(session: Session, scope: TenantScope, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """What became of items that could not be decided."""
    return {row.id: row for row in session.execute(_EXPLAIN, {"scope": scope, "ids": list(ids)})}


def revert(
    session: Session,
    scope: TenantScope,
    item_id: str,
    *,
    version: int,
    owner: str | None,
    at_least: timedelta,
) -> bool:
    """Back to pending, unless its effect was or is due."""
    parameters = {"scope": scope, "id": item_id, "version": version, "owner": owner, "at_least": at_least}
    return session.execute(_REVERT, parameters).one_or_none() is not None


def due(session: Session, scope: TenantScope, *, most: int) -> Sequence[Row[Any]]:
    """Decided items whose effect is due, held until commit; those another applier holds are left out."""
    return session.execute(_DUE, {"scope": scope, "most": most}).all()


def mark_applied(session: Session, scope: TenantScope, ids: Sequence[str]) -> None:
    defer(session, _APPLIED, {"scope": scope, "ids": list(ids)})


def mark_stale(session: Session, scope: TenantScope, reasons: Mapping[str, str]) -> None:
    stale = [{"id": item_id, "reason": reason} for item_id, reason in reasons.items()]
    defer(session, _STALE, {"scope": scope, "stale": json.dumps(stale)})


def mark_failed(session: Session, scope: TenantScope, item_id: str, error: str) -> None:
    session.execute(_FAILED, {"scope": scope, "id": item_id, "error": error})


def back_to_a_person(
    session: Session, scope: TenantScope, item_id: str, error: str, *, at_least: timedelta
) -> None:
    session.execute(_BACK_TO_A_PERSON, {"scope": scope, "id": item_id, "error": error, "at_least": at_least})


def expire(session: Session, scope: TenantScope, *, most: int) -> Sequence[Row[Any]]:
    return session.execute(_EXPIRE, {"scope": scope, "most": most}).all()


def tenants_with_work(session: Session) -> list[str]:
    """Those with a due effect or expiry; for the sweep, as bevyly_system."""
    return list(session.execute(_TENANTS_WITH_WORK).scalars())


def get(session: Session, scope: TenantScope, item_id: str) -> tuple[ApprovalItem, str | None, str | None]:
    """The item with its owner's and its reviewer's names, or NotFound (also for another tenant's)."""
    row = session.execute(
        with_names().where(ApprovalItem.customer_id == scope, ApprovalItem.id == item_id)
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such approval item.")
    return row[0], row[1], row[2]


def with_names() -> Any:
    """Items beside the names of their owner and reviewer."""
    owner, reviewer = _user("owner"), _user("reviewer")
    return (
        select(ApprovalItem, owner.c.name, reviewer.c.name)
        .outerjoin(
            owner, (owner.c.customer_id == ApprovalItem.customer_id) & (owner.c.id == ApprovalItem.owner_id)
        )
        .outerjoin(
            reviewer,
            (reviewer.c.customer_id == ApprovalItem.customer_id)
            & (reviewer.c.id == ApprovalItem.reviewed_by),
        )
    )


def _user(name: str) -> Any:
    return User.__table__.alias(name)


def stats(session: Session, scope: TenantScope) -> Sequence[Row[Any]]:
    return session.execute(_STATS, {"scope": scope}).all()


def item_types(session: Session, scope: TenantScope, ids: Sequence[str]) -> dict[str, str]:
    """Each item's type, which never changes."""
    rows = session.execute(
        select(ApprovalItem.id, ApprovalItem.item_type).where(
            ApprovalItem.customer_id == scope, ApprovalItem.id.in_(list(ids))
        )
    )
    return {row.id: row.item_type for row in rows}


def approved_since(session: Session, scope: TenantScope, moment: Any) -> int:
    return (
        session.scalar(
            select(func.count()).where(
                ApprovalItem.customer_id == scope,
                ApprovalItem.status.in_(["approved", "edited"]),
                ApprovalItem.reviewed_at >= moment,
            )
        )
        or 0
    )
