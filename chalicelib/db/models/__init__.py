"""Every table, so that one import knows the whole schema."""

from chalicelib.db.models.agent import (
    AgentConfig,
    AgentRun,
    AgentRunStep,
    RunDay,
    RunTriggerEvent,
    ScheduleFire,
    TenantQueue,
)
from chalicelib.db.models.approval import ApprovalItem
from chalicelib.db.models.base import Base
from chalicelib.db.models.crm import Account, Contact, IntentSignal, OutreachEmail
from chalicelib.db.models.edge import AuditEntry, IdempotencyKey, IntegrationCredential, SignInAttempt
from chalicelib.db.models.event import EventDelivery, EventSequence, OutboxEvent, RelayLease
from chalicelib.db.models.fact import ProviderFact, ProviderFactKey
from chalicelib.db.models.money import (
    Budget,
    BudgetAlert,
    LimitCounter,
    RateBucket,
    UsageDay,
    UsageEntry,
    UsageMonth,
)
from chalicelib.db.models.tenant import Customer, User

__all__ = [
    "Account",
    "AgentConfig",
    "AgentRun",
    "AgentRunStep",
    "ApprovalItem",
    "AuditEntry",
    "Base",
    "Budget",
    "BudgetAlert",
    "Contact",
    "Customer",
    "EventDelivery",
    "EventSequence",
    "IdempotencyKey",
    "IntegrationCredential",
    "IntentSignal",
    "LimitCounter",
    "OutboxEvent",
    "OutreachEmail",
    "ProviderFact",
    "ProviderFactKey",
    "RateBucket",
    "RelayLease",
    "RunDay",
    "RunTriggerEvent",
    "ScheduleFire",
    "SignInAttempt",
    "TenantQueue",
    "UsageDay",
    "UsageEntry",
    "UsageMonth",
    "User",
]
