"""People at companies as the agents see them: plain facts, whoever provides them."""

from dataclasses import dataclass
from enum import StrEnum


class Seniority(StrEnum):
    """How high somebody stands, from the top down."""

    OWNER = "owner"
    FOUNDER = "founder"
    C_SUITE = "c_suite"
    PARTNER = "partner"
    VP = "vp"
    HEAD = "head"
    DIRECTOR = "director"
    MANAGER = "manager"
    SENIOR = "senior"
    ENTRY = "entry"
    INTERN = "intern"


class EmailStatus(StrEnum):
    """How good a person's e-mail address is."""

    VERIFIED = "verified"  # the provider has checked that it takes mail
    GUESSED = "guessed"  # made after the company's pattern
    UNVERIFIED = "unverified"  # there is one, and nobody says how good
    NONE = "none"  # there is none


class EmailChance(StrEnum):
    """What a search may ask about addresses that it does not show."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    LIKELY_TO_ENGAGE = "likely_to_engage"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class WantedPeople:
    """Whom to look for: each criterion that says something must be met, by any of its words."""

    titles: tuple[str, ...] = ()
    similar_titles: bool = True  # `Sales Director` for `Director of Sales`, too
    seniorities: tuple[Seniority, ...] = ()
    departments: tuple[str, ...] = ()  # e.g. "sales", "engineering technical"
    locations: tuple[str, ...] = ()  # where they are, not where their company is
    company_ids: tuple[str, ...] = ()  # the provider's
    company_domains: tuple[str, ...] = ()  # at most 1,000
    email: tuple[EmailChance, ...] = ()
    keywords: str | None = None


@dataclass(frozen=True, slots=True)
class PersonStub:
    """A row of a search: enough to choose by, nothing to write to."""

    id: str
    first_name: str | None
    last_name_hint: str | None  # with most letters hidden
    title: str | None
    company_name: str | None
    has_email: bool
    has_direct_phone: bool | None  # None: maybe


@dataclass(frozen=True, slots=True)
class PersonPage:
    """One page of a people search, numbered from 1."""

    people: tuple[PersonStub, ...]
    page: int
    total_pages: int
    total_entries: int


@dataclass(frozen=True, slots=True)
class PersonRef:
    """Whom to look up: by the provider's id, an e-mail address, a profile, or a name at a company's domain."""

    id: str | None = None
    email: str | None = None
    linkedin_url: str | None = None
    name: str | None = None
    domain: str | None = None  # of the company, with `name`
    mobile: bool = False  # ask for the mobile number too, which costs much more


@dataclass(frozen=True, slots=True)
class Employment:
    """One job; dates are ISO 8601."""

    company_name: str | None
    title: str | None
    is_current: bool
    started_at: str | None = None
    ended_at: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """An enriched person. What the provider does not know is None."""

    id: str
    name: str
    first_name: str | None = None
    last_name: str | None = None
    title: str | None = None
    headline: str | None = None
    seniority: Seniority | None = None
    departments: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    email: str | None = None  # lower case; never a placeholder
    email_status: EmailStatus = EmailStatus.NONE
    mobile: str | None = None  # digits, with a plus where the country is known
    linkedin_url: str | None = None
    city: str | None = None
    state: str | None = None
    country: str | None = None
    company_id: str | None = None  # the provider's
    company_name: str | None = None
    company_domain: str | None = None
    employment: tuple[Employment, ...] = ()  # the newest first


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """What a provider says of one person."""

    person: Person | None  # None: it knows nobody there
