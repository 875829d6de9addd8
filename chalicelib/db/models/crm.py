"""What agents work on: accounts, contacts, what is known of them, and e-mails ready to send."""

from decimal import Decimal

from sqlalchemy import (
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import agent  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import Base, Born, Id, JsonList, Name, Short, Version, Words


class Account(Base):
    """A company the tenant sells to, or means to."""

    __tablename__ = "accounts"

    id: Mapped[Id]
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    name: Mapped[Name]
    domain: Mapped[Name]  # lower case
    industry: Mapped[str | None] = mapped_column(String(100))
    employee_count: Mapped[int | None]
    annual_revenue: Mapped[Decimal | None] = mapped_column(Numeric(18, 2))  # US dollars
    city: Mapped[str | None] = mapped_column(String(100))
    country: Mapped[str | None] = mapped_column(String(100))
    description: Mapped[Words | None]
    technologies: Mapped[JsonList]
    linkedin_url: Mapped[str | None] = mapped_column(String(500))
    source: Mapped[Short | None]  # "apollo", "import", …
    source_ref: Mapped[Name | None]  # the company's id there
    source_run_id: Mapped[Id | None]
    source_item_id: Mapped[Id | None]
    owner_id: Mapped[Id | None]
    score: Mapped[int | None]
    version: Mapped[Version]
    created_at: Mapped[Born]
    updated_at: Mapped[Born]

    __table_args__ = (
        PrimaryKeyConstraint("customer_id", "id"),
        UniqueConstraint("customer_id", "domain"),
        ForeignKeyConstraint(["customer_id", "owner_id"], ["users.customer_id", "users.id"]),
        ForeignKeyConstraint(["customer_id", "source_run_id"], ["agent_runs.customer_id", "agent_runs.id"]),
        ForeignKeyConstraint(
            ["customer_id", "source_item_id"],
            ["approval_items.customer_id", "approval_items.id"],
            use_alter=True,
        ),
    )


class Contact(Base):
    """A person at an account."""

    __tablename__ = "contacts"

    id: Mapped[Id]
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    account_id: Mapped[Id]
    first_name: Mapped[str] = mapped_column(String(100))
    last_name: Mapped[str] = mapped_column(String(100))
    title: Mapped[str | None] = mapped_column(String(200))
    seniority: Mapped[Short | None]
    department: Mapped[str | None] = mapped_column(String(100))
    email: Mapped[str | None] = mapped_column(String(254))
    email_status: Mapped[Short | None]
    linkedin_url: Mapped[str | None] = mapped_column(String(500))
    source: Mapped[Short | None]
    source_ref: Mapped[Name | None]
    version: Mapped[Version]
    created_at: Mapped[Born]
    updated_at: Mapped[Born]

    __table_args__ = (
        PrimaryKeyConstraint("customer_id", "id"),
        ForeignKeyConstraint(["customer_id", "account_id"], ["accounts.customer_id", "accounts.id"]),
        Index("contacts_account_idx", "customer_id", "account_id"),
        Index("contacts_email_key", "customer_id", func.lower(text("email")), unique=True),
    )


class IntentSignal(Base):
    """Something observed about an account that a salesperson would open with."""

    __tablename__ = "intent_signals"

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    account_id: Mapped[Id]
    kind: Mapped[Short]  # "funding", "hiring", "news", …
    title: Mapped[Name]
    source: Mapped[Short]
    observed_at: Mapped[Born]

    __table_args__ = (
        ForeignKeyConstraint(["customer_id", "account_id"], ["accounts.customer_id", "accounts.id"]),
        Index("intent_signals_account_idx", "customer_id", "account_id", "observed_at"),
    )
