"""Approved things come to pass, once: the effect, its event and `appliedAt` in one transaction."""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from chalicelib.db.driver import came_too_late
from chalicelib.db.queries import approvals as queries
from chalicelib.db.queries import crm
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import engine_for
from chalicelib.domain.approvals import APPLY_FAILURES, UNDO_RESTORES, ItemType
from chalicelib.domain.errors import AppError
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import CustomerId
from chalicelib.faults import Point, reach

logger = logging.getLogger(__name__)

BATCH = 100
EXPIRE_BATCH = 1000

Effect = Callable[[Work, Sequence[Any]], Mapping[str, str]]
"""Gives items of one type their effect. Answers with those that are stale, and why."""
Prepare = Callable[[Session], None]


def _as_it_is(_session: Session) -> None:
    pass


def apply_due(database: Database, customer_id: CustomerId) -> int:
    """Give every due decision of a tenant its effect. Safe to run twice at once. Returns how many."""
    applied = 0
    while True:
        taken = apply_some(database, customer_id)
        applied += taken
        if taken < BATCH:
            return applied


def apply_some(database: Database, customer_id: CustomerId, *, prepare: Prepare = _as_it_is) -> int:
    """One transaction of it, which `prepare` may hurry. Returns how many; BATCH of them: there may be more."""
    with database.enter(engine_for(customer_id)) as work:
        prepare(work.session)
        rows = queries.due(work.session, work.actor.scope, most=BATCH)
        if not rows:
            return 0
        reach(Point.BEFORE_APPLY)
        applied = _apply(work, rows)
    reach(Point.AFTER_APPLY)
    return applied


def expire_due(database: Database, customer_id: CustomerId, *, prepare: Prepare = _as_it_is) -> int:
    """Close what nobody decided in time, EXPIRE_BATCH at most. Returns how many."""
    with database.enter(engine_for(customer_id)) as work:
        prepare(work.session)
        rows = queries.expire(work.session, work.actor.scope, most=EXPIRE_BATCH)
        for row in rows:
            payload = {"itemId": row.id, "itemType": row.item_type, "agentType": row.agent_type}
            work.emit(Event(EventType.ITEM_EXPIRED, "approval", row.id, payload, row.causation))
    return len(rows)


def _apply(work: Work, rows: Sequence[Any]) -> int:
    """All at once; where that fails, one by one, so that a bad item keeps nobody else's waiting."""
    try:
        _apply_together(work, rows)
    except Exception:  # noqa: BLE001 - each is tried alone, which logs what was wrong
        logger.info("effects go one by one", extra={"items": len(rows)})
        for place, row in enumerate(rows):
            if not _apply_alone(work, row):
                return place
    return len(rows)


def _apply_alone(work: Work, row: Any) -> bool:
    """False where somebody holds what it changes: that is nobody's failure, and the rest can wait, too."""
    try:
        _apply_together(work, [row])
    except Exception as wrong:
        if isinstance(wrong, DBAPIError) and came_too_late(wrong):
            logger.info("an effect waits for somebody's lock", extra={"item_id": row.id})
            return False
        said = (
            wrong.message
            if isinstance(wrong, AppError)
            else "Something unexpected went wrong while applying this."
        )
        logger.warning("an effect failed", extra={"item_id": row.id}, exc_info=wrong)
        if row.apply_failures + 1 >= APPLY_FAILURES:
            queries.back_to_a_person(work.session, work.actor.scope, row.id, said, at_least=UNDO_RESTORES)
            work.audit("approval.effect_failed", row.id)
        else:
            queries.mark_failed(work.session, work.actor.scope, row.id, said)
    return True


def _apply_together(work: Work, rows: Sequence[Any]) -> None:
    events_before = list(work.events)
    try:
        with work.session.begin_nested():
            stale: dict[str, str] = {}
            for item_type in dict.fromkeys(row.item_type for row in rows if row.status != "rejected"):
                of_type = [row for row in rows if row.item_type == item_type and row.status != "rejected"]
                stale |= EFFECTS[ItemType(item_type)](work, of_type)
            for row in rows:
                work.emit(_superseded(row, stale[row.id]) if row.id in stale else _decided(row))
            done = [row.id for row in rows if row.id not in stale]
            if stale:
                queries.mark_stale(work.session, work.actor.scope, stale)
            if done:
                queries.mark_applied(work.session, work.actor.scope, done)
    except Exception:
        work.events = events_before
        raise


def _content(row: Any) -> dict[str, Any]:
    """The approved version."""
    content: dict[str, Any] = row.content if row.edited_content is None else row.edited_content
    return content


def _decided(row: Any) -> Event:
    common = {
        "itemId": row.id,
        "itemType": row.item_type,
        "agentType": row.agent_type,
        "decidedAt": row.reviewed_at.isoformat(),
        "reviewedBy": row.reviewed_by,
        "decidedByRule": row.decided_by_rule,
    }
    if row.status == "rejected":
        payload = {**common, "reason": row.rejection_reason, "reasonCode": row.reason_code}
        return Event(EventType.ITEM_REJECTED, "approval", row.id, payload, row.causation)
    payload = {
        **common,
        "wasEdited": row.status == "edited",
        "content": _content(row),
        "contentHash": row.approved_hash,
    }
    return Event(EventType.ITEM_APPROVED, "approval", row.id, payload, row.causation)


def _superseded(row: Any, reason: str) -> Event:
    payload = {"itemId": row.id, "itemType": row.item_type, "agentType": row.agent_type, "reason": reason}
    return Event(EventType.ITEM_SUPERSEDED, "approval", row.id, payload, row.causation)


def _import_leads(work: Work, rows: Sequence[Any]) -> Mapping[str, str]:
    leads = [_lead(row) for row in rows]
    accounts = crm.upsert_accounts(work.session, work.actor.scope, leads)
    for row, lead in zip(rows, leads, strict=True):
        account = accounts[lead["domain"]]
        kind = EventType.ACCOUNT_CREATED if account.created else EventType.ACCOUNT_UPDATED
        payload = {"accountId": account.id, "domain": account.domain, "itemId": row.id}
        work.emit(Event(kind, "account", account.id, payload, row.causation))
    return {}


def _lead(row: Any) -> dict[str, Any]:
    content = _content(row)
    return {
        "name": content["name"],
        "domain": content["domain"],
        "industry": content["industry"],
        "employee_count": content["employeeCount"],
        "annual_revenue": content["annualRevenue"],
        "city": content["city"],
        "country": content["country"],
        "description": content["description"],
        "technologies": content["technologies"],
        "linkedin_url": content["linkedinUrl"],
        "source": "apollo",
        "source_ref": None,
        "run_id": row.agent_run_id,
        "item_id": row.id,
        "owner_id": row.owner_id,
    }


def _ready_emails(work: Work, rows: Sequence[Any]) -> Mapping[str, str]:
    emails = [
        {
            "item_id": row.id,
            "contact_id": row.contact_id,
            "subject": _content(row)["subject"],
            "body": _content(row)["body"],
            "content_hash": row.approved_hash,
            "approved_by": row.reviewed_by,
            "approved_at": row.reviewed_at.isoformat(),
        }
        for row in rows
    ]
    made = crm.insert_emails(work.session, work.actor.scope, emails)
    for row in rows:
        if row.id in made:
            email = made[row.id]
            payload = {
                "emailId": email.id,
                "contactId": email.contact_id,
                "accountId": email.account_id,
                "itemId": row.id,
            }
            work.emit(Event(EventType.EMAIL_READY, "email", email.id, payload, row.causation))
    gone = "The contact is gone, or has no e-mail address any more."
    return {row.id: gone for row in rows if row.id not in made}


EFFECTS: Mapping[ItemType, Effect] = MappingProxyType(
    {
        ItemType.LEAD_IMPORT: _import_leads,
        ItemType.EMAIL_DRAFT: _ready_emails,
    }
)
