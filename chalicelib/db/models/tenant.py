"""Customers (tenants) and their people."""

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models.base import Base, Born, Id, Name, Short, Version, one_of
from chalicelib.domain.access import Role


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[Name]
    plan: Mapped[Short] = mapped_column(server_default="starter")
    agents_enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    max_concurrent_runs: Mapped[int | None]  # empty: the installation's setting
    undo_window_seconds: Mapped[int] = mapped_column(server_default=text("10"))
    time_zone: Mapped[Short] = mapped_column(server_default="UTC")
    version: Mapped[Version]
    created_at: Mapped[Born]
    updated_at: Mapped[Born]

    __table_args__ = (
        CheckConstraint("undo_window_seconds BETWEEN 0 AND 600", name="undo_window"),
        CheckConstraint("max_concurrent_runs BETWEEN 1 AND 100", name="max_concurrent_runs"),
    )


class User(Base):
    __tablename__ = "users"

    id: Mapped[Id]
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    issuer: Mapped[str | None] = mapped_column(String(255))
    subject: Mapped[str | None] = mapped_column(String(255))  # at the issuer; empty until first linked
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[Name]
    role: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), server_default="invited")
    version: Mapped[Version]
    created_at: Mapped[Born]
    updated_at: Mapped[Born]

    __table_args__ = (
        CheckConstraint(one_of("role", Role), name="role"),
        CheckConstraint("status IN ('invited', 'active', 'disabled')", name="status"),
        PrimaryKeyConstraint("customer_id", "id"),
        UniqueConstraint("issuer", "subject"),
        Index("users_email_idx", "customer_id", func.lower(text("email")), unique=True),
    )
