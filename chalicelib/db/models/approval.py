"""What waits for a person."""

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import crm  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import (
    Base,
    Born,
    Count,
    Id,
    Instant,
    Json,
    JsonList,
    Name,
    Short,
    Version,
    Words,
    one_of,
)
from chalicelib.domain.approvals import ItemStatus, ItemType, Priority

_OPEN = "status = 'pending' OR (status IN ('approved', 'edited', 'rejected') AND applied_at IS NULL)"
_RANK = "CASE priority WHEN 'urgent' THEN 3 WHEN 'high' THEN 2 WHEN 'normal' THEN 1 ELSE 0 END"


class ApprovalItem(Base):
    __tablename__ = "approval_items"

    id: Mapped[Id]
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    agent_run_id: Mapped[Id | None]
    agent_config_id: Mapped[Id | None]
    agent_type: Mapped[Short]
    item_type: Mapped[Short]
    priority: Mapped[str] = mapped_column(String(20), server_default="normal")
    priority_rank: Mapped[int] = mapped_column(SmallInteger, Computed(_RANK, persisted=True))
    title: Mapped[Name]
    description: Mapped[Words | None]
    content: Mapped[Json]  # the agent's; never changed
    context: Mapped[Json | None]  # the evidence
    flags: Mapped[JsonList]  # what a reviewer must see
    account_id: Mapped[Id | None]
    contact_id: Mapped[Id | None]
    owner_id: Mapped[Id | None]
    dedupe_key: Mapped[str] = mapped_column(String(300))  # unique among the open items of a tenant
    content_hash: Mapped[str] = mapped_column(String(64))  # of the agent's content
    approved_hash: Mapped[str | None] = mapped_column(String(64))  # of the content a person approved
    status_reason: Mapped[Words | None]  # why it was superseded
    status: Mapped[str] = mapped_column(String(20), server_default="pending")
    version: Mapped[Version]
    reviewed_by: Mapped[Id | None]
    reviewed_at: Mapped[Instant | None]
    decided_by_rule: Mapped[Id | None]
    edited_content: Mapped[Json | None]
    rejection_reason: Mapped[Words | None]
    reason_code: Mapped[Short | None]
    claimed_by: Mapped[Id | None]
    claimed_at: Mapped[Instant | None]
    effective_at: Mapped[Instant | None]
    applied_at: Mapped[Instant | None]
    apply_error: Mapped[Words | None]
    apply_failures: Mapped[Count]
    causation: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    expires_at: Mapped[Instant | None]
    created_at: Mapped[Born]

    __table_args__ = (
        CheckConstraint(one_of("status", ItemStatus), name="status"),
        CheckConstraint(one_of("item_type", ItemType), name="item_type"),
        CheckConstraint(one_of("priority", Priority), name="priority"),
        CheckConstraint(
            "status NOT IN ('approved', 'edited', 'rejected')"
            " OR ((reviewed_by IS NULL) <> (decided_by_rule IS NULL)"
            " AND reviewed_at IS NOT NULL AND effective_at IS NOT NULL)",
            name="decided",
        ),
        CheckConstraint("(status = 'edited') <= (edited_content IS NOT NULL)", name="edited"),
        PrimaryKeyConstraint("customer_id", "id", name="approval_items_customer_idx"),
        ForeignKeyConstraint(["customer_id", "agent_run_id"], ["agent_runs.customer_id", "agent_runs.id"]),
        ForeignKeyConstraint(
            ["customer_id", "agent_config_id"], ["agent_configs.customer_id", "agent_configs.id"]
        ),
        ForeignKeyConstraint(["customer_id", "reviewed_by"], ["users.customer_id", "users.id"]),
        ForeignKeyConstraint(["customer_id", "claimed_by"], ["users.customer_id", "users.id"]),
        ForeignKeyConstraint(["customer_id", "owner_id"], ["users.customer_id", "users.id"]),
        ForeignKeyConstraint(["customer_id", "account_id"], ["accounts.customer_id", "accounts.id"]),
        ForeignKeyConstraint(["customer_id", "contact_id"], ["contacts.customer_id", "contacts.id"]),
        Index("approval_items_status_idx", "customer_id", "status", "agent_type"),
        Index(
            "approval_items_pending_idx",
            "customer_id",
            "agent_config_id",
            "agent_type",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "approval_items_priority_idx",
            "customer_id",
            "status",
            text("priority_rank DESC"),
            "created_at",
            "id",
        ),
        Index(
            "approval_items_reviewed_idx",
            "customer_id",
            "reviewed_at",
            postgresql_where=text("status IN ('approved', 'edited')"),
        ),
        Index("approval_items_created_at_idx", "customer_id", "created_at", "id"),
        Index("approval_items_run_idx", "customer_id", "agent_run_id"),
        Index("approval_items_dedupe_idx", "customer_id", "dedupe_key"),
        Index(
            "approval_items_open_key",
            "customer_id",
            "dedupe_key",
            unique=True,
            postgresql_where=text(_OPEN),
        ),
        Index(
            "approval_items_due_idx",
            "customer_id",
            "effective_at",
            postgresql_where=text("status IN ('approved', 'edited', 'rejected') AND applied_at IS NULL"),
        ),
        Index(
            "approval_items_expiry_idx",
            "customer_id",
            "expires_at",
            postgresql_where=text("status = 'pending'"),
        ),
    )
