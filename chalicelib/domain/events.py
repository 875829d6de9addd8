"""What is told to the outside: event types and the value that carries one."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class EventType(StrEnum):
    RUN_REQUESTED = "agent.run.requested"
    RUN_STARTED = "agent.run.started"
    RUN_COMPLETED = "agent.run.completed"
    RUN_FAILED = "agent.run.failed"
    RUN_CANCELLED = "agent.run.cancelled"
    CONFIG_CREATED = "agent.config.created"
    CONFIG_UPDATED = "agent.config.updated"
    CONFIG_DELETED = "agent.config.deleted"
    ITEM_CREATED = "approval.item.created"
    ITEM_APPROVED = "approval.item.approved"
    ITEM_REJECTED = "approval.item.rejected"
    ITEM_EXPIRED = "approval.item.expired"
    ITEM_SUPERSEDED = "approval.item.superseded"
    ACCOUNT_CREATED = "crm.account.created"
    ACCOUNT_UPDATED = "crm.account.updated"
    CONTACT_CREATED = "crm.contact.created"
    CONTACT_UPDATED = "crm.contact.updated"
    EMAIL_READY = "outreach.email.ready"
    BUDGET_THRESHOLD_REACHED = "budget.threshold.reached"  # emitted by the database, see 0010_usage.sql
    CREDENTIAL_SAVED = "integration.credential.saved"
    CREDENTIAL_VERIFIED = "integration.credential.verified"
    CREDENTIAL_FAILED = "integration.credential.failed"
    CREDENTIAL_DELETED = "integration.credential.deleted"


LARGEST: Final = 64 * 1024
"""Bytes an event's JSON may take."""


@dataclass(frozen=True, slots=True)
class Event:
    """One fact about one aggregate. `payload` carries ids and figures; personal data only by reference."""

    type: EventType
    aggregate_type: str  # "agent", "approval", "account", …
    aggregate_id: str
    payload: dict[str, Any]
    causation: dict[str, Any] = field(default_factory=dict)
