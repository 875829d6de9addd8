"""The approval queue: look, decide, undo."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from chalicelib.api.http import Context, Out, Page, route
from chalicelib.api.listing import page_of
from chalicelib.api.pages import Keyset, Listing
from chalicelib.api.parsing import In, Instant, Version
from chalicelib.db.models.approval import ApprovalItem
from chalicelib.db.pages import Key, page
from chalicelib.db.queries import approvals as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.approvals import BULK_MOST, Decision, ItemStatus, ItemType, Priority
from chalicelib.domain.errors import Conflict, Invalid, NotFound, NotPermitted
from chalicelib.domain.ids import ApprovalItemId, CustomerId
from chalicelib.services.approvals.decide import Ruling, Verdict, decide, decide_one, revert
from chalicelib.services.approvals.effects import apply_due
from chalicelib.services.approvals.read import approved_today, stats


class PersonOut(Out):
    id: str
    name: str | None


class ItemOut(Out):
    """What an agent wants changed, and what became of it."""

    id: str
    item_type: ItemType
    agent_type: str
    agent_run_id: str | None
    agent_config_id: str | None
    priority: Priority
    title: str
    description: str | None
    status: ItemStatus
    version: int
    content: dict[str, Any] = Field(description="The agent's own.")
    edited_content: dict[str, Any] | None = Field(description="The reviewer's version.")
    context: dict[str, Any] | None = Field(description="The evidence.")
    flags: list[dict[str, Any]] = Field(description="What a reviewer must see: code and message.")
    account_id: str | None
    contact_id: str | None
    owner: PersonOut | None
    reviewed_by: PersonOut | None
    reviewed_at: datetime | None
    decided_by_rule: str | None
    rejection_reason: str | None
    status_reason: str | None
    effective_at: datetime | None = Field(description="Until then the decision can be undone.")
    applied_at: datetime | None
    apply_error: str | None
    expires_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: tuple[ApprovalItem, str | None, str | None]) -> "ItemOut":
        item, owner, reviewer = row
        return cls(
            id=item.id,
            item_type=ItemType(item.item_type),
            agent_type=item.agent_type,
            agent_run_id=item.agent_run_id,
            agent_config_id=item.agent_config_id,
            priority=Priority(item.priority),
            title=item.title,
            description=item.description,
            status=ItemStatus(item.status),
            version=item.version,
            content=item.content,
            edited_content=item.edited_content,
            context=item.context,
            flags=item.flags,
            account_id=item.account_id,
            contact_id=item.contact_id,
            owner=PersonOut(id=item.owner_id, name=owner) if item.owner_id else None,
            reviewed_by=PersonOut(id=item.reviewed_by, name=reviewer) if item.reviewed_by else None,
            reviewed_at=item.reviewed_at,
            decided_by_rule=item.decided_by_rule,
            rejection_reason=item.rejection_reason,
            status_reason=item.status_reason,
            effective_at=item.effective_at,
            applied_at=item.applied_at,
            apply_error=item.apply_error,
            expires_at=item.expires_at,
            created_at=item.created_at,
        )


class DecisionOut(Out):
    """A decision that holds. It takes effect at `effectiveAt` unless it is undone before."""

    id: str
    status: ItemStatus
    version: int
    effective_at: datetime

    @classmethod
    def of(cls, ruling: Ruling) -> "DecisionOut":
        assert ruling.status is not None
        assert ruling.version is not None
        assert ruling.effective_at is not None
        return cls(
            id=ruling.item_id, status=ruling.status, version=ruling.version, effective_at=ruling.effective_at
        )


class BulkResultOut(Out):
    """One item's outcome in a bulk decision."""

    id: str
    ok: bool
    status: ItemStatus | None
    version: int | None
    effective_at: datetime | None
    code: str | None
    message: str | None


class BulkOut(Out):
    succeeded: int
    failed: int
    results: list[BulkResultOut]

    @classmethod
    def of(cls, rulings: Sequence[Ruling]) -> "BulkOut":
        results = [
            BulkResultOut(
                id=ruling.item_id,
                ok=ruling.refused is None,
                status=ruling.status,
                version=ruling.version,
                effective_at=ruling.effective_at,
                code=ruling.refused.code if ruling.refused else None,
                message=ruling.refused.message if ruling.refused else None,
            )
            for ruling in rulings
        ]
        good = sum(result.ok for result in results)
        return cls(succeeded=good, failed=len(results) - good, results=results)


class ByAgentOut(Out):
    agent_type: str
    pending: int
    approved: int = Field(description="Approved or edited.")
    rejected: int


class StatsOut(Out):
    total: int
    by_status: dict[str, int]
    by_agent: list[ByAgentOut]
    approved_today: int = Field(description="Approved or edited since midnight in the tenant's zone.")


class Approve(In):
    """`version` is the one that was seen; with `editedContent` the reviewer's version takes effect."""

    version: Version
    edited_content: dict[str, Any] | None = None


class Reject(In):
    version: Version
    reason: Annotated[str, Field(max_length=2000)] | None = None
    reason_code: Annotated[str, Field(max_length=50, pattern=r"^[a-z_]+$")] | None = None


class Revert(In):
    version: Version


class SeenItem(In):
    id: Annotated[str, Field(max_length=36)]
    version: Version


class BulkApprove(In):
    items: Annotated[list[SeenItem], Field(min_length=1, max_length=BULK_MOST)]


class BulkReject(In):
    items: Annotated[list[SeenItem], Field(min_length=1, max_length=BULK_MOST)]
    reason: Annotated[str, Field(max_length=2000)] | None = None
    reason_code: Annotated[str, Field(max_length=50, pattern=r"^[a-z_]+$")] | None = None


class ItemListing(Listing):
    status: ItemStatus = ItemStatus.PENDING
    agent_type: Annotated[str, Field(max_length=50)] | None = None
    item_type: ItemType | None = None
    priority: Priority | None = None
    owner_id: Annotated[str, Field(max_length=36)] | None = None
    run_id: Annotated[str, Field(max_length=36)] | None = None


URGENT_FIRST = Keyset("approvals", tuple[int, Instant, str])
RANK = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2, Priority.URGENT: 3}


@route(
    "GET",
    "/v1/approvals",
    needs=Permission.APPROVALS_READ,
    summary="Items of one status (pending unless said), urgent first, then the oldest.",
)
def list_approvals(work: Work, query: ItemListing) -> Page[ItemOut]:
    wanted = queries.with_names().where(
        ApprovalItem.customer_id == work.actor.scope, ApprovalItem.status == query.status.value
    )
    if query.agent_type:
        wanted = wanted.where(ApprovalItem.agent_type == query.agent_type)
    if query.item_type:
        wanted = wanted.where(ApprovalItem.item_type == query.item_type.value)
    if query.priority:
        wanted = wanted.where(ApprovalItem.priority_rank == RANK[query.priority])
    if query.owner_id:
        wanted = wanted.where(ApprovalItem.owner_id == query.owner_id)
    if query.run_id:
        wanted = wanted.where(ApprovalItem.agent_run_id == query.run_id)
    order = [
        Key(ApprovalItem.priority_rank, descending=True),
        Key(ApprovalItem.created_at),
        Key(ApprovalItem.id),
    ]
    found = page(work.session, wanted, order=order, after=URGENT_FIRST.read(query.cursor), limit=query.limit)
    return page_of(URGENT_FIRST, found, limit=query.limit, item=ItemOut.of)


@route(
    "GET", "/v1/approvals/stats", needs=Permission.APPROVALS_READ, summary="How many items there are of what."
)
def approval_stats(work: Work) -> StatsOut:
    counted = stats(work)
    return StatsOut(
        total=counted.total,
        by_status=counted.by_status,
        by_agent=[
            ByAgentOut(agent_type=agent_type, pending=pending, approved=approved, rejected=rejected)
            for agent_type, pending, approved, rejected in counted.by_agent
        ],
        approved_today=approved_today(work),
    )


@route(
    "GET", "/v1/approvals/{item_id}", needs=Permission.APPROVALS_READ, summary="One item.", raises=(NotFound,)
)
def get_approval(work: Work, item_id: ApprovalItemId) -> ItemOut:
    return ItemOut.of(queries.get(work.session, work.actor.scope, item_id))


@route(
    "POST",
    "/v1/approvals/{item_id}/approve",
    needs=Permission.APPROVALS_WRITE,
    summary="Approve an item, or an edited version of it.",
    idempotent=True,
    raises=(NotFound, Conflict, Invalid, NotPermitted),
)
def approve_item(work: Work, context: Context, item_id: ApprovalItemId, body: Approve) -> DecisionOut:
    verdict = Verdict(item_id, body.version, body.edited_content)
    ruling = decide_one(work, verdict, Decision.APPROVE)
    _apply_now_if_due(work, context)
    return DecisionOut.of(ruling)


@route(
    "POST",
    "/v1/approvals/{item_id}/reject",
    needs=Permission.APPROVALS_WRITE,
    summary="Reject an item, with a reason.",
    idempotent=True,
    raises=(NotFound, Conflict, NotPermitted),
)
def reject_item(work: Work, context: Context, item_id: ApprovalItemId, body: Reject) -> DecisionOut:
    verdict = Verdict(item_id, body.version)
    ruling = decide_one(work, verdict, Decision.REJECT, reason=body.reason, reason_code=body.reason_code)
    _apply_now_if_due(work, context)
    return DecisionOut.of(ruling)


@route(
    "POST",
    "/v1/approvals/{item_id}/revert",
    needs=Permission.APPROVALS_WRITE,
    summary="Undo a decision that has not taken effect.",
    raises=(NotFound, Conflict, NotPermitted),
)
def revert_item(work: Work, item_id: ApprovalItemId, body: Revert) -> ItemOut:
    revert(work, item_id, version=body.version)
    return ItemOut.of(queries.get(work.session, work.actor.scope, item_id))


@route(
    "POST",
    "/v1/approvals/bulk/approve",
    needs=Permission.APPROVALS_WRITE,
    summary="Approve up to 100 items as they were seen. Flagged ones are left for a person to look at.",
    idempotent=True,
)
def approve_many(work: Work, context: Context, body: BulkApprove) -> BulkOut:
    rulings = decide(work, _verdicts(body.items), Decision.APPROVE, unflagged_only=True)
    _apply_now_if_due(work, context)
    return BulkOut.of(rulings)


@route(
    "POST",
    "/v1/approvals/bulk/reject",
    needs=Permission.APPROVALS_WRITE,
    summary="Reject up to 100 items as they were seen. Flagged ones are left for a person to look at.",
    idempotent=True,
)
def reject_many(work: Work, context: Context, body: BulkReject) -> BulkOut:
    verdicts = _verdicts(body.items)
    rulings = decide(
        work,
        verdicts,
        Decision.REJECT,
        reason=body.reason,
        reason_code=body.reason_code,
        unflagged_only=True,
    )
    _apply_now_if_due(work, context)
    return BulkOut.of(rulings)


def _verdicts(items: Sequence[SeenItem]) -> list[Verdict]:
    if len({item.id for item in items}) < len(items):
        raise Invalid("An item is listed twice.", pointer="/items")
    return [Verdict(ApprovalItemId(item.id), item.version) for item in items]


def _apply(context: Context, customer_id: CustomerId) -> None:
    apply_due(context.database, customer_id)


def _apply_now_if_due(work: Work, context: Context) -> None:
    """Without an undo window there is nothing to wait for."""
    if work.effects_in is not None and not work.effects_in:
        work.after.append(partial(_apply, context, work.actor.customer_id))
        work.effects_in = None
