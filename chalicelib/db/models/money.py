"""The ledger of paid calls, its sums, and what may be spent and how fast."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import agent  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import Base, Born, Count, Id, Instant, Short, Version, one_of
from chalicelib.domain.money import AlertReason, BudgetUnit, EntryStatus, Payer

Dollars = Annotated[Decimal, mapped_column(Numeric(14, 6), server_default=text("0"))]
Sum = Annotated[int, mapped_column(BigInteger, server_default=text("0"))]


class UsageEntry(Base):
    """The ledger: one row a paid call."""

    __tablename__ = "usage_entries"

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    agent_config_id: Mapped[Id | None]
    agent_type: Mapped[Short] = mapped_column(server_default="")
    run_id: Mapped[Id]
    step_key: Mapped[str] = mapped_column(String(300))
    lease_token: Mapped[Id]
    provider: Mapped[Short]
    operation: Mapped[Short]
    model: Mapped[str | None] = mapped_column(String(100))
    payer: Mapped[str] = mapped_column(String(20), server_default="platform")  # whose key
    status: Mapped[str] = mapped_column(String(20), server_default="reserved")
    credits: Mapped[Count]  # the estimate until settled, and where it stays unknown
    dollars: Mapped[Decimal | None] = mapped_column(
        Numeric(14, 6), server_default=text("0")
    )  # empty: no known price
    tokens_in: Mapped[Count]
    tokens_cached: Mapped[Count]
    tokens_out: Mapped[Count]
    tokens_reasoning: Mapped[Count]
    provider_request_id: Mapped[str | None] = mapped_column(String(200))
    error_code: Mapped[Short | None]  # what became of a call that brought nothing
    created_at: Mapped[Born]  # its UTC month is the budget's
    settled_at: Mapped[Instant | None]

    __table_args__ = (
        CheckConstraint(one_of("status", EntryStatus), name="status"),
        CheckConstraint(one_of("payer", Payer), name="payer"),
        ForeignKeyConstraint(["customer_id", "run_id"], ["agent_runs.customer_id", "agent_runs.id"]),
        Index("usage_entries_step_idx", "customer_id", "run_id", "step_key"),
        Index(
            "usage_entries_reserved_idx",
            "customer_id",
            "created_at",
            postgresql_where=text("status = 'reserved'"),
        ),
        Index("usage_entries_listed_idx", "customer_id", "provider", "status", "created_at", "id"),
    )


class UsageMonth(Base):
    """The sums of a month's entries, kept by a trigger on them; budgets are held against this row."""

    __tablename__ = "usage_months"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)  # its first day, UTC
    credits_reserved: Mapped[Sum]
    credits_spent: Mapped[Sum]
    dollars_reserved: Mapped[Dollars]
    dollars_spent: Mapped[Dollars]
    platform_credits: Mapped[Sum]  # reserved and spent with the platform's keys
    platform_dollars: Mapped[Dollars]


class UsageDay(Base):
    """What was spent in a day, by agent, provider, model and whose key; kept by the same trigger."""

    __tablename__ = "usage_days"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)  # UTC
    agent_config_id: Mapped[str] = mapped_column(String(36), primary_key=True)  # '' without one
    agent_type: Mapped[Short] = mapped_column(primary_key=True)
    provider: Mapped[Short] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(100), primary_key=True)  # '' without one
    payer: Mapped[str] = mapped_column(String(20), primary_key=True, server_default="platform")
    calls: Mapped[Sum]
    unpriced_calls: Mapped[Sum]  # of a model whose price nobody knows
    credits: Mapped[Sum]
    dollars: Mapped[Dollars]
    tokens_in: Mapped[Sum]
    tokens_cached: Mapped[Sum]
    tokens_out: Mapped[Sum]
    tokens_reasoning: Mapped[Sum]

    __table_args__ = (CheckConstraint(one_of("payer", Payer), name="payer"),)


class Budget(Base):
    """What a tenant allows itself a month. No row, or an empty cap: no cap."""

    __tablename__ = "budgets"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    monthly_credits: Mapped[int | None]
    monthly_dollars: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    version: Mapped[Version]
    updated_at: Mapped[Born]

    __table_args__ = (CheckConstraint("monthly_credits >= 0 AND monthly_dollars >= 0", name="caps"),)


class BudgetAlert(Base):
    """A threshold that a month reached, and that was told with an event of the same transaction: once for each cap."""

    __tablename__ = "budget_alerts"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(String(20), primary_key=True)
    threshold: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # percent
    cap: Mapped[Decimal] = mapped_column(Numeric(12, 2), primary_key=True)
    spent: Mapped[Decimal] = mapped_column(Numeric(20, 6))  # when it was reached
    reason: Mapped[str] = mapped_column(String(20))
    reached_at: Mapped[Born]

    __table_args__ = (
        CheckConstraint(one_of("unit", BudgetUnit), name="unit"),
        CheckConstraint(one_of("reason", AlertReason), name="reason"),
    )


class LimitCounter(Base):
    """Items that an agent's runs took this hour and this day, by its own zone's calendar."""

    __tablename__ = "limit_counters"

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    agent_config_id: Mapped[Id] = mapped_column(primary_key=True)
    hour_at: Mapped[Born]
    hour_items: Mapped[Count]
    day_at: Mapped[Born]
    day_items: Mapped[Count]

    __table_args__ = (
        ForeignKeyConstraint(
            ["customer_id", "agent_config_id"], ["agent_configs.customer_id", "agent_configs.id"]
        ),
    )


class RateBucket(Base):
    """Calls made with one key to one group of endpoints in the running minute. The platform's key serves many
    tenants, so it is no tenant's row; the app role reaches it through `use_buckets` alone.
    """

    __tablename__ = "rate_buckets"

    credential: Mapped[Id] = mapped_column(primary_key=True)  # its row's id, or "platform"
    endpoint_group: Mapped[str] = mapped_column(String(110), primary_key=True)  # "apollo:search_companies"
    per_minute: Mapped[int | None]  # by the provider's own word
    window_at: Mapped[Born]
    used: Mapped[Count]
    blocked_until: Mapped[Instant | None]
