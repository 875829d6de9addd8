"""Companies and people as the agents see them: plain facts, whoever provides them."""

from dataclasses import dataclass, field


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
class IdealCustomer:
    """Which companies are worth a salesperson's time."""

    industries: tuple[str, ...] = ()  # free words, e.g. "logistics"
    employees: Between = field(default_factory=Between)
    revenue: Between = field(default_factory=Between)  # US dollars a year
    locations: tuple[str, ...] = ()  # countries, states or cities
    technologies: tuple[str, ...] = ()  # provider's uids, e.g. "google_analytics"


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
