"""The outbox and what became of each event at each sink."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import tenant  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import Base, Born, Count, Id, Instant, Json, Short, Words


class OutboxEvent(Base):
    __tablename__ = "outbox_events"

    id: Mapped[Id]
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    event_type: Mapped[Short]
    aggregate_type: Mapped[Short]
    aggregate_id: Mapped[Id]
    sequence: Mapped[int]  # 1, 2, 3 … within its aggregate
    payload: Mapped[Json]
    causation: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[Born]

    __table_args__ = (
        PrimaryKeyConstraint("customer_id", "id"),
        UniqueConstraint(
            "customer_id", "aggregate_type", "aggregate_id", "sequence", name="outbox_events_sequence_key"
        ),
        Index("outbox_events_customer_idx", "customer_id", "position"),
        Index("outbox_events_created_at_idx", "created_at"),
    )


class EventSequence(Base):
    """The last sequence an aggregate's events took. Its row lock orders them, whoever emits."""

    __tablename__ = "event_sequences"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    aggregate_type: Mapped[Short] = mapped_column(primary_key=True)
    aggregate_id: Mapped[Id] = mapped_column(primary_key=True)
    last: Mapped[int]


class EventDelivery(Base):
    """One event's fate at one sink."""

    __tablename__ = "event_deliveries"

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    event_id: Mapped[Id] = mapped_column(primary_key=True)
    sink: Mapped[str] = mapped_column(String(30), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    aggregate_id: Mapped[Id]
    status: Mapped[str] = mapped_column(String(20), server_default="pending")
    attempts: Mapped[Count]
    next_attempt_at: Mapped[Born]
    error: Mapped[Words | None]
    delivered_at: Mapped[Instant | None]

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'delivered', 'parked')", name="status"),
        ForeignKeyConstraint(["customer_id", "event_id"], ["outbox_events.customer_id", "outbox_events.id"]),
        Index("event_deliveries_due_idx", "sink", "position", postgresql_where=text("status = 'pending'")),
        Index(
            "event_deliveries_aggregate_idx",
            "customer_id",
            "aggregate_id",
            "sink",
            "position",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "event_deliveries_parked_idx",
            "customer_id",
            "position",
            postgresql_where=text("status = 'parked'"),
        ),
    )


class RelayLease(Base):
    """One relay a sink: who holds it, until when. Not a tenant's row."""

    __tablename__ = "relay_leases"

    sink: Mapped[str] = mapped_column(String(30), primary_key=True)
    token: Mapped[Id | None]
    expires_at: Mapped[Instant | None]
