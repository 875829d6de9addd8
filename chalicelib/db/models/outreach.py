"""What is to be sent to the contacts."""

from sqlalchemy import ForeignKey, ForeignKeyConstraint, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import approval  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import Base, Born, Id, Instant, Name, Words


class OutreachEmail(Base):
    """An e-mail a person approved, ready to send. The recipient is the contact's row, never the model's words."""

    __tablename__ = "outreach_emails"

    id: Mapped[Id]
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    account_id: Mapped[Id]
    contact_id: Mapped[Id]
    approval_item_id: Mapped[Id]
    to_address: Mapped[str] = mapped_column(String(254))
    subject: Mapped[Name]
    body: Mapped[Words]
    status: Mapped[str] = mapped_column(String(20), server_default="ready")
    content_hash: Mapped[str] = mapped_column(String(64))
    approved_by: Mapped[Id | None]
    approved_at: Mapped[Instant | None]
    created_at: Mapped[Born]

    __table_args__ = (
        PrimaryKeyConstraint("customer_id", "id"),
        UniqueConstraint("customer_id", "approval_item_id"),
        ForeignKeyConstraint(["customer_id", "account_id"], ["accounts.customer_id", "accounts.id"]),
        ForeignKeyConstraint(["customer_id", "contact_id"], ["contacts.customer_id", "contacts.id"]),
        ForeignKeyConstraint(
            ["customer_id", "approval_item_id"], ["approval_items.customer_id", "approval_items.id"]
        ),
    )
