"""The one decision function: for a single item, in bulk, and by a tenant's rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib.db.queries import approvals as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.approvals import UNDO_RESTORES, Decision, ItemStatus, ItemType, content_hash
from chalicelib.domain.content import dump, parse
from chalicelib.domain.errors import AppError, Conflict, NotFound, NotPermitted
from chalicelib.domain.ids import ApprovalItemId


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision on an item as the reviewer saw it."""

    item_id: ApprovalItemId
    version: int
    edited_content: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What came of a verdict: the item's new state, or the reason why not."""

    item_id: ApprovalItemId
    status: ItemStatus | None = None
    version: int | None = None
    effective_at: datetime | None = None
    refused: AppError | None = None


def decide(
    work: Work,
    verdicts: Sequence[Verdict],
    decision: Decision,
    *,
    reason: str | None = None,
    reason_code: str | None = None,
    rule: str | None = None,
    unflagged_only: bool = False,
) -> list[Ruling]:
    """Decide items, each on its own: those that cannot be decided are answered with the reason.

    A repeated decision of the same person on the same version is answered the same. The effect comes when the
    tenant's undo window is over. Raises Invalid when edited content does not fit its item's type.
    """
    if not verdicts:
        return []
    scope = work.actor.scope
    rows = queries.decide(
        work.session,
        scope,
        [_as_row(verdict, content) for verdict, content in _with_content(work, verdicts)],
        status="approved" if decision is Decision.APPROVE else "rejected",
        user=None if rule else work.actor.user_id,
        rule=rule,
        reason=reason,
        reason_code=reason_code,
        owner=_own(work),
        unflagged=unflagged_only,
    )
    for row in rows.values():
        work.audit(f"approval.{row.status}", row.id, version=row.version, **({"rule": rule} if rule else {}))
        work.effects_in = timedelta(seconds=row.undo_window_seconds)
    missed = [verdict for verdict in verdicts if verdict.item_id not in rows]
    found = queries.explain(work.session, scope, [verdict.item_id for verdict in missed]) if missed else {}
    return [
        _ruling(rows[verdict.item_id])
        if verdict.item_id in rows
        else _why_not(work, verdict, decision, found.get(verdict.item_id), unflagged_only=unflagged_only)
        for verdict in verdicts
    ]


def decide_one(
    work: Work,
    verdict: Verdict,
    decision: Decision,
    *,
    reason: str | None = None,
    reason_code: str | None = None,
) -> Ruling:
    """The same for one item; raises what `decide` would answer."""
    (ruling,) = decide(work, [verdict], decision, reason=reason, reason_code=reason_code)
    if ruling.refused is not None:
        raise ruling.refused
    return ruling


def revert(work: Work, item_id: ApprovalItemId, *, version: int) -> None:
    """Take a decision back before its effect; the item waits again, for an hour at least.

    Raises Conflict when the effect has been, or the decision is no longer the one that was seen.
    """
    scope = work.actor.scope
    if queries.revert(
        work.session, scope, item_id, version=version, owner=_own(work), at_least=UNDO_RESTORES
    ):
        work.audit("approval.reverted", item_id, version=version + 1)
        return
    row = queries.explain(work.session, scope, [item_id]).get(item_id)
    if row is None:
        raise NotFound("There is no such approval item.")
    if _own(work) not in (None, row.owner_id):
        raise _not_yours()
    if row.applied_at is not None:
        raise Conflict(
            "It is too late to undo this: the decision has taken effect.",
            code="already_applied",
            details=_state(row),
        )
    if row.version != version or row.status == "pending":
        raise Conflict(
            f"This item changed since you saw it: it is {row.status} now.",
            code="stale_version",
            details=_state(row),
        )
    raise Conflict(
        "It is too late to undo this: its effect is under way.", code="undo_window_over", details=_state(row)
    )


def _own(work: Work) -> str | None:
    """The owner whose items alone the actor may decide; None for any."""
    return work.actor.user_id if work.actor.only_own(Permission.APPROVALS_WRITE) else None


def _with_content(work: Work, verdicts: Sequence[Verdict]) -> list[tuple[Verdict, dict[str, Any] | None]]:
    edited = [verdict.item_id for verdict in verdicts if verdict.edited_content is not None]
    types = queries.item_types(work.session, work.actor.scope, edited) if edited else {}
    checked: list[tuple[Verdict, dict[str, Any] | None]] = []
    for verdict in verdicts:
        content = None
        if verdict.edited_content is not None and verdict.item_id in types:
            item_type = ItemType(types[verdict.item_id])
            content = dump(parse(item_type, verdict.edited_content, pointer="/editedContent"))
        checked.append((verdict, content))
    return checked


def _as_row(verdict: Verdict, content: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": verdict.item_id,
        "version": verdict.version,
        "edited": content,
        "hash": None if content is None else content_hash(content),
    }


def _ruling(row: Any) -> Ruling:
    return Ruling(ApprovalItemId(row.id), ItemStatus(row.status), row.version, row.effective_at)


def _why_not(
    work: Work, verdict: Verdict, decision: Decision, row: Any | None, *, unflagged_only: bool
) -> Ruling:
    refused: AppError
    if row is None:
        refused = NotFound("There is no such approval item.")
    elif _own(work) not in (None, row.owner_id):
        refused = _not_yours()
    elif row.version == verdict.version + 1 and _same(work, row, verdict, decision):
        return _ruling(row)
    elif row.expired or row.status == "expired":
        refused = Conflict(
            "This item has expired. Run the agent again for a fresh one.", code="expired", details=_state(row)
        )
    elif row.status == "pending" and row.version != verdict.version:
        refused = Conflict(
            "This item changed since you saw it. Look at it again.", code="stale_version", details=_state(row)
        )
    elif row.status == "pending" and unflagged_only and row.flags:
        refused = Conflict(
            "This item has flags and is decided one by one.", code="flagged", details=_state(row)
        )
    else:
        who = row.reviewer or ("a rule of your team" if row.decided_by_rule else "a newer proposal")
        refused = Conflict(
            f"Approval item not found or already processed: {row.status} by {who}.",
            code="already_processed",
            details=_state(row),
        )
    return Ruling(verdict.item_id, refused=refused)


def _same(work: Work, row: Any, verdict: Verdict, decision: Decision) -> bool:
    if row.reviewed_by is None or row.reviewed_by != work.actor.user_id:
        return False
    if decision is Decision.REJECT:
        return bool(row.status == "rejected")
    if verdict.edited_content is None:
        return bool(row.status == "approved")
    meant = dump(parse(ItemType(row.item_type), verdict.edited_content, pointer="/editedContent"))
    return bool(row.status == "edited" and row.edited_content == meant)


def _not_yours() -> NotPermitted:
    return NotPermitted(
        "This item belongs to somebody else. Your role decides your own items only.", code="not_owner"
    )


def _state(row: Any) -> dict[str, Any]:
    """Who decided what and when, for the second reviewer."""
    return {
        "status": row.status,
        "version": row.version,
        "reviewedBy": {"id": row.reviewed_by, "name": row.reviewer} if row.reviewed_by else None,
        "reviewedAt": row.reviewed_at.isoformat() if row.reviewed_at else None,
        "decidedByRule": row.decided_by_rule,
    }
