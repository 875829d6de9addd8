"""What the world is made of: companies, people, and the small facts about them."""

from dataclasses import dataclass
from datetime import date
from typing import Final

# The world's own today: the same seed gives the same world on any day it is built.
WORLD_DAY: Final = date(2026, 11, 1)
PLACEHOLDER_EMAIL: Final = "email_not_unlocked@domain.com"  # Apollo's own; never an address


@dataclass(frozen=True, slots=True)
class Technology:
    uid: str
    name: str
    category: str


@dataclass(frozen=True, slots=True)
class FundingEvent:
    id: str
    on: date
    stage: str
    amount: int  # US dollars
    investors: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that lately happened to a company, as one sentence that begins with its name."""

    kind: str  # funding, hiring, new_office, launch, leadership, partnership, certification, growth
    on: date
    sentence: str
    keyword: str


@dataclass(frozen=True, slots=True)
class Article:
    """Something that was written about a company."""

    id: str
    on: date
    category: str  # as Apollo has it: investment, hires, launches…
    title: str
    snippet: str
    outlet: str
    url: str


@dataclass(frozen=True, slots=True)
class Company:
    id: str
    account_id: str | None  # set when the team's own CRM already has the company
    name: str
    domain: str
    industry: str
    second_industry: str | None
    keywords: tuple[str, ...]
    about: str
    founded: int
    employees: int
    revenue: int  # US dollars a year
    city: str
    state: str
    country: str
    street: str
    postal_code: str
    phone: str
    languages: tuple[str, ...]
    technologies: tuple[Technology, ...]
    funding: tuple[FundingEvent, ...]  # oldest first
    signals: tuple[Signal, ...]  # newest first
    open_roles: tuple[str, ...]
    heads: dict[str, int]  # department to people
    news: tuple[Article, ...]  # newest first; each signal and each round of money has one
    growth: tuple[float, float, float]  # of the head count over 6, 12 and 24 months

    @property
    def linkedin_url(self) -> str:
        return f"http://www.linkedin.example/company/{self.domain.removesuffix('.example')}"

    @property
    def total_funding(self) -> int:
        return sum(event.amount for event in self.funding)

    @property
    def short_description(self) -> str:
        news = " ".join(signal.sentence for signal in self.signals)
        return f"{self.about} {news}".strip()


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    company_id: str
    first_name: str
    last_name: str
    title: str | None
    seniority: str
    department: str
    email: str | None  # None where there is none; may be the placeholder
    email_status: str  # verified, extrapolated or unavailable
    mobile: str | None
    city: str
    state: str
    country: str
    linkedin_url: str
    since: date  # in this job

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}"

    @property
    def has_email(self) -> bool:
        return self.email is not None
