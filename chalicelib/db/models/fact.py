"""What providers told a tenant, so that it pays for it once."""

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chalicelib.db.models import agent  # noqa: F401 - foreign keys lead there
from chalicelib.db.models.base import Base, Born, Id, Short


class ProviderFact(Base):
    """One answer. A newer one of the same keys stands beside it until retention takes the older."""

    __tablename__ = "provider_facts"

    customer_id: Mapped[Id] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    provider: Mapped[Short]
    kind: Mapped[Short]
    known: Mapped[bool]  # false: the provider said that it knows nothing there
    value: Mapped[object | None] = mapped_column(JSONB)
    run_id: Mapped[Id]  # that paid for it
    fetched_at: Mapped[Born]

    __table_args__ = (
        ForeignKeyConstraint(["customer_id", "run_id"], ["agent_runs.customer_id", "agent_runs.id"]),
        Index("provider_facts_fetched_at_idx", "fetched_at"),
    )


class ProviderFactKey(Base):
    """What an answer is found under: a domain, a provider's id, an e-mail address's hash, a search's page."""

    __tablename__ = "provider_fact_keys"

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    fact_id: Mapped[Id] = mapped_column(primary_key=True)

    __table_args__ = (
        ForeignKeyConstraint(
            ["customer_id", "fact_id"],
            ["provider_facts.customer_id", "provider_facts.id"],
            ondelete="CASCADE",
        ),
        Index("provider_fact_keys_fact_idx", "customer_id", "fact_id"),
    )
