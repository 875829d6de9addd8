"""What the tenant's CRM knows of accounts and contacts, as agents read it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignalFacts:
    """Something observed about an account."""

    kind: str
    title: str
    source: str
    observed_on: str  # a date, ISO 8601


@dataclass(frozen=True, slots=True)
class AccountFacts:
    id: str
    name: str
    domain: str
    industry: str | None
    employee_count: int | None
    country: str | None
    description: str | None
    owner_id: str | None
    signals: tuple[SignalFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class ContactFacts:
    id: str
    first_name: str
    last_name: str
    title: str | None
    email: str | None
    account: AccountFacts
