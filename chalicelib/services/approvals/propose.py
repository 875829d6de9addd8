"""How an approval item is born: in the checkpoint of the step that proposed it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chalicelib.agents.base import Proposal
from chalicelib.db.queries import approvals as queries
from chalicelib.db.work import Work
from chalicelib.domain.approvals import Decision, ItemType, content_hash
from chalicelib.domain.content import SHAPES, Content, dump
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import ApprovalItemId, RunId, new_approval_item_id
from chalicelib.services.approvals.decide import Verdict, decide

_TYPE_OF: Mapping[type[Content], ItemType] = {shape: item_type for item_type, shape in SHAPES.items()}


@dataclass(frozen=True, slots=True)
class Origin:
    """The run whose items these are."""

    run_id: RunId
    agent_type: str
    config_id: str | None
    owner_id: str | None
    starter_id: str | None
    expiry: timedelta
    approval_required: bool
    causation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Birth:
    """What became of a proposal: an item, or the reason why there is none."""

    item_id: ApprovalItemId | None
    skipped: str | None = None

    def as_json(self) -> dict[str, str]:
        return {"itemId": self.item_id} if self.item_id else {"skipped": self.skipped or ""}


def propose(work: Work, origin: Origin, proposals: Sequence[Proposal]) -> list[Birth]:
    """An item for each proposal, except where the same thing already waits or is being decided.

    Answers in the order given. The caller's transaction is fenced.
    """
    if not proposals:
        return []
    scope = work.actor.scope
    queries.one_proposer(work.session)
    taken = queries.open_items(work.session, scope, [proposal.dedupe_key for proposal in proposals])
    births: list[Birth] = []
    items: list[dict[str, Any]] = []
    superseded: list[Any] = []
    for proposal in proposals:
        item = _item(proposal)
        older = taken.get(proposal.dedupe_key)
        if any(item["dedupe_key"] == other["dedupe_key"] for other in items):
            births.append(Birth(None, "The same run proposed it already."))
        elif older is not None and (why := _in_the_way(older, item["content_hash"])):
            births.append(Birth(None, why))
        else:
            if older is not None:
                superseded.append(older)
            items.append(item)
            births.append(Birth(ApprovalItemId(item["id"])))
    if superseded:
        _supersede(work, superseded, origin)
    if items:
        _bear(work, origin, items)
    return births


def _in_the_way(older: Any, new_hash: str) -> str | None:
    if older.status != "pending":
        return f"It was {older.status} a moment ago ({older.id})."
    if older.claimed:
        return f"Somebody is reviewing it right now ({older.id})."
    if older.content_hash == new_hash:
        return f"The same proposal already waits for a decision ({older.id})."
    return None


def _item(proposal: Proposal) -> dict[str, Any]:
    content = dump(proposal.content)
    return {
        "id": new_approval_item_id(),
        "item_type": _TYPE_OF[type(proposal.content)].value,
        "priority": proposal.priority.value,
        "title": proposal.title,
        "description": proposal.description,
        "content": content,
        "context": dict(proposal.evidence),
        "flags": [dict(flag) for flag in proposal.flags],
        "account_id": proposal.account_id,
        "contact_id": proposal.contact_id,
        "dedupe_key": proposal.dedupe_key,
        "content_hash": content_hash(content),
    }


def _supersede(work: Work, older: Sequence[Any], origin: Origin) -> None:
    queries.supersede(work.session, work.actor.scope, [item.id for item in older])
    for item in older:
        payload = {
            "itemId": item.id,
            "itemType": item.item_type,
            "agentType": item.agent_type,
            "reason": queries.NEWER,
        }
        work.emit(Event(EventType.ITEM_SUPERSEDED, "approval", item.id, payload, origin.causation))


def _bear(work: Work, origin: Origin, items: list[dict[str, Any]]) -> None:
    queries.insert(
        work.session,
        work.actor.scope,
        items,
        expiry=origin.expiry,
        origin={
            "run": origin.run_id,
            "config": origin.config_id,
            "agent_type": origin.agent_type,
            "owner": origin.owner_id,
            "starter": origin.starter_id,
            "causation": json.dumps(origin.causation),
        },
    )
    for item in items:
        payload = {
            "itemId": item["id"],
            "itemType": item["item_type"],
            "agentType": origin.agent_type,
            "runId": origin.run_id,
            "priority": item["priority"],
        }
        work.emit(Event(EventType.ITEM_CREATED, "approval", item["id"], payload, origin.causation))
    if not origin.approval_required:
        verdicts = [Verdict(ApprovalItemId(item["id"]), 1) for item in items if not item["flags"]]
        decide(work, verdicts, Decision.APPROVE, rule=origin.config_id or origin.run_id)
