"""What the edge keeps: repeated writes, who did what, credentials, sign-in attempts."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import tenant  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import Base, Born, Id, Instant, Json, Short, Version, Words, one_of
from chalicelib.domain.integrations import CONNECTABLE, CredentialStatus


class IdempotencyKey(Base):
    """A repeatable write's answer, kept in the transaction that did the work."""

    __tablename__ = "idempotency_keys"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    user_id: Mapped[Id] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int]
    answer: Mapped[str] = mapped_column(Text)  # the body as it was sent
    created_at: Mapped[Born]

    __table_args__ = (Index("idempotency_keys_age_idx", "created_at"),)


class AuditEntry(Base):
    """Who did what. Append-only by grant; ids and field names, no personal data."""

    __tablename__ = "audit_entries"

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    user_id: Mapped[Id | None]  # empty: the engine
    action: Mapped[str] = mapped_column(String(100))
    target_id: Mapped[Id]
    details: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    request_id: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[Born]

    __table_args__ = (
        Index("audit_entries_customer_idx", "customer_id", "id"),
        Index("audit_entries_target_idx", "customer_id", "target_id", "id"),
    )


class IntegrationCredential(Base):
    """A provider's key, sealed. The clear form is JSON that holds `apiKey`."""

    __tablename__ = "integration_credentials"

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"))
    provider: Mapped[Short]
    credentials: Mapped[Words]  # an envelope, bound to this row
    status: Mapped[str] = mapped_column(String(20), server_default="active")
    last_verified_at: Mapped[Instant | None]
    last_four: Mapped[str | None] = mapped_column(String(4))
    failure_reason: Mapped[Words | None]
    options: Mapped[dict[str, object]] = mapped_column(JSONB, server_default=text("'{}'"))
    version: Mapped[Version]  # of what the tenant saved: the key and the options
    created_at: Mapped[Born]
    updated_at: Mapped[Born]

    __table_args__ = (
        CheckConstraint(one_of("status", CredentialStatus), name="status"),
        CheckConstraint(one_of("provider", CONNECTABLE), name="provider"),
        Index("integration_creds_customer_provider_idx", "customer_id", "provider", unique=True),
    )


class SignInAttempt(Base):
    """How often a hashed e-mail or address tried lately. Not a tenant's row: nobody has signed in yet."""

    __tablename__ = "sign_in_attempts"

    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    window_start: Mapped[Born]
    attempts: Mapped[int]

    __table_args__ = (Index("sign_in_attempts_window_idx", "window_start"),)
