"""Companies as the agents see them: plain facts, whoever provides them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Between:
    """An inclusive range; an open end is None."""

    min: int | None = None
    max: int | None = None

    def holds(self, number: int | None) -> bool:
        """Whether a known number lies within; an unknown one does not."""
        if number is None:
            return False
        return (self.min is None or number >= self.min) and (self.max is None or number <= self.max)

    @property
    def is_open(self) -> bool:
        return self.min is None and self.max is None


@dataclass(frozen=True, slots=True)
class Days:
    """An inclusive range of days; an open end is None."""

    min: date | None = None
    max: date | None = None


@dataclass(frozen=True, slots=True)
class IdealCustomer:
    """Which companies are worth a salesperson's time. Each criterion must be met, by any of its words."""

    industries: tuple[str, ...] = ()  # free words, e.g. "logistics"
    employees: Between = field(default_factory=Between)
    revenue: Between = field(default_factory=Between)  # US dollars a year
    locations: tuple[str, ...] = ()  # countries, states or cities
    technologies: tuple[str, ...] = ()  # provider's uids, e.g. "google_analytics"
    keywords: tuple[str, ...] = ()  # free words, as good as an industry
    excluded_locations: tuple[str, ...] = ()
    name: str | None = None  # a part of it
    domains: tuple[str, ...] = ()  # at most 1,000
    ids: tuple[str, ...] = ()  # the provider's
    total_funding: Between = field(default_factory=Between)  # US dollars
    latest_funding: Between = field(default_factory=Between)  # of the last round, US dollars
    latest_funded: Days = field(default_factory=Days)
    open_roles: tuple[str, ...] = ()  # job titles they are hiring for


@dataclass(frozen=True, slots=True)
class CompanyStub:
    """A row of a search: who it is and little else."""

    id: str
    name: str
    domain: str | None  # lower case
    linkedin_url: str | None = None
    website_url: str | None = None


@dataclass(frozen=True, slots=True)
class CompanyPage:
    """One page of a company search, numbered from 1."""

    companies: tuple[CompanyStub, ...]
    page: int
    total_pages: int
    total_entries: int


@dataclass(frozen=True, slots=True)
class CompanyAnswer:
    """What a provider says of one company."""

    company: "Company | None"  # None: it knows none there


@dataclass(frozen=True, slots=True)
class FundingEvent:
    """One round, as far as it is known."""

    at: str | None  # a date, ISO 8601
    stage: str | None  # e.g. "Series A"
    amount: str | None  # as printed, without the currency, e.g. "1.3M"
    currency: str | None  # a sign or a code
    investors: str | None


@dataclass(frozen=True, slots=True)
class Company:
    """An enriched company. What the provider does not know is None."""

    id: str
    name: str
    domain: str
    industry: str | None = None
    employee_count: int | None = None
    annual_revenue: int | None = None  # US dollars
    city: str | None = None
    country: str | None = None
    description: str | None = None
    founded_year: int | None = None
    technologies: tuple[str, ...] = ()
    linkedin_url: str | None = None
    website_url: str | None = None
    latest_funding_stage: str | None = None
    latest_funding_at: str | None = None  # a date, ISO 8601
    headcount_growth_12_months: float | None = None  # 0.12 is 12 %
    headcount_growth_6_months: float | None = None
    headcount_growth_24_months: float | None = None
    headcount_by_department: Mapping[str, int] = field(default_factory=dict)
    industries: tuple[str, ...] = ()  # all of them, the main one first
    keywords: tuple[str, ...] = ()
    technology_uids: tuple[str, ...] = ()  # what a search asks for them by
    annual_revenue_printed: str | None = None  # as the provider writes it, e.g. "1.3M"
    total_funding: int | None = None  # US dollars
    funding_events: tuple[FundingEvent, ...] = ()  # the newest first
    state: str | None = None
    address: str | None = None  # on one line
    phone: str | None = None
