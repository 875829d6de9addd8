"""Finds companies that match an ideal customer profile and proposes them as leads."""

from datetime import datetime
from functools import partial
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from chalicelib.agents.base import (
    Agent,
    AgentModel,
    Call,
    Category,
    CrmReader,
    Expected,
    Proposal,
    RunContext,
)
from chalicelib.domain.approvals import Priority
from chalicelib.domain.companies import (
    Between,
    Company,
    CompanyAnswer,
    CompanyPage,
    CompanyStub,
    IdealCustomer,
)
from chalicelib.domain.content import LeadImport
from chalicelib.domain.facts import company_at, company_page
from chalicelib.domain.money import Quote

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]

SEARCH = Quote(provider="apollo", operation="search_companies", credits=1)
ENRICH = Quote(provider="apollo", operation="enrich_company", credits=1)

PAGE = 25


class Range(AgentModel):
    """An inclusive range; leave an end out to keep it open."""

    min: Annotated[int, Field(ge=0, le=10**13)] | None = None
    max: Annotated[int, Field(ge=0, le=10**13)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min must not be greater than max")
        return self

    def between(self) -> Between:
        return Between(self.min, self.max)


class Config(AgentModel):
    """Which companies to look for, and how many a run."""

    industries: list[Word] = Field(
        default_factory=list, max_length=20, title="Industries", examples=[["logistics"]]
    )
    employee_count: Annotated[Range, Field(title="Employees")] = Range()
    revenue: Annotated[Range, Field(title="Revenue a year, US dollars")] = Range()
    locations: list[Word] = Field(
        default_factory=list, max_length=20, title="Locations", examples=[["Germany"]]
    )
    technologies: list[Word] = Field(default_factory=list, max_length=20, title="Technologies in use")
    batch_size: Annotated[int, Field(ge=1, le=100, title="Companies a run")] = 10
    max_pages: Annotated[
        int,
        Field(
            ge=1,
            le=40,
            title="Pages searched a run",
            description="Each costs a credit. Pages that earlier runs paid for are free and do not count.",
        ),
    ] = 20

    @model_validator(mode="after")
    def _says_something(self) -> "Config":
        if not (self.industries or self.locations or self.technologies) and self.employee_count == Range():
            raise ValueError("say at least an industry, a location, a technology or a size")
        return self

    def profile(self) -> IdealCustomer:
        return IdealCustomer(
            industries=tuple(self.industries),
            employees=self.employee_count.between(),
            revenue=self.revenue.between(),
            locations=tuple(self.locations),
            technologies=tuple(self.technologies),
        )


class Input(AgentModel):
    """What one run may say otherwise."""

    limit: Annotated[int, Field(ge=1, le=100, title="Companies this time")] | None = None
    refresh: Annotated[
        bool,
        Field(
            title="Ask anew", description="Search and enrich again, and pay, whatever earlier runs were told."
        ),
    ] = False


def run(run: RunContext, inputs: Input, config: Config) -> None:
    """Search page by page until enough new companies are found, enrich each, propose each."""
    profile = config.profile()
    wanted = inputs.limit or config.batch_size
    found = _new_companies(run, profile, wanted, config.max_pages, anew=inputs.refresh)
    run.map(
        list(found),
        key=_enrich_key,
        work=_enriched,
        returns=CompanyAnswer,
        pays=ENRICH,
        keeps=lambda stub: company_at(stub.domain or "", anew=inputs.refresh),
        propose=lambda stub, answer: _lead(
            stub, answer.company or _as_found(stub), profile, searched=run.remembered(found[stub])
        ),
    )
    keys = [*dict.fromkeys(found.values()), *map(_enrich_key, found)]
    run.note(found=len(found), wanted=wanted, remembered=sum(run.remembered(key) is not None for key in keys))


def expects(config: Config, inputs: Input) -> list[Expected]:
    """Full pages of companies that are all new at best; every page that may be searched at worst."""
    wanted = min(inputs.limit or config.batch_size, config.max_pages * PAGE)
    return [
        Expected(SEARCH, likely=-(-wanted // PAGE), at_most=config.max_pages),
        Expected(ENRICH, likely=wanted, at_most=wanted, items=True),
    ]


def _search(profile: IdealCustomer, number: int, call: Call) -> CompanyPage:
    return call.companies.search(call.caller, profile, page=number, per_page=PAGE)


def _known(domains: list[str], crm: CrmReader) -> list[str]:
    return crm.known_domains(domains)


def _new_companies(
    run: RunContext, profile: IdealCustomer, wanted: int, max_pages: int, *, anew: bool
) -> dict[CompanyStub, str]:
    """Companies that the CRM does not know, each with the step that found it.

    The pages that earlier runs have paid for come first, as they may have left some of their companies; `max_pages`
    counts those that this run pays for.
    """
    found: dict[str, tuple[CompanyStub, str]] = {}
    number = paid = 0
    while paid < max_pages:
        number += 1
        key = f"search:{number}"
        page = run.step(
            key,
            partial(_search, profile, number),
            returns=CompanyPage,
            inputs=[profile, number],
            pays=SEARCH,
            keeps=company_page(profile, page=number, per_page=PAGE, anew=anew),
        )
        paid += run.remembered(key) is None
        stubs = {stub.domain: stub for stub in page.companies if stub.domain}
        known = run.look_up(
            f"known:{number}",
            partial(_known, sorted(stubs)),
            returns=list[str],
            inputs=sorted(stubs),
        )
        for domain, stub in stubs.items():
            if domain not in known and len(found) < wanted:
                found.setdefault(domain, (stub, key))
        if len(found) >= wanted or number >= page.total_pages:
            break
    return dict(found.values())


def _enrich_key(stub: CompanyStub) -> str:
    return f"enrich:{stub.domain}"


def _enriched(call: Call, stub: CompanyStub) -> CompanyAnswer:
    return CompanyAnswer(call.companies.enrich(call.caller, stub.domain or ""))


def _as_found(stub: CompanyStub) -> Company:
    return Company(id=stub.id, name=stub.name, domain=stub.domain or "")


def _lead(
    stub: CompanyStub, company: Company, profile: IdealCustomer, *, searched: datetime | None
) -> Proposal:
    """What a person decides on. `searched`: when it was found, if that was an earlier run's search."""
    fit = _fit(company, profile)
    misses = [str(line["criterion"]) for line in fit if line["met"] is False]
    unknown = [line["criterion"] for line in fit if line["met"] is None]
    flags = (
        [{"code": "outside_profile", "message": f"Does not match the profile in: {', '.join(misses)}."}]
        if misses
        else []
    )
    return Proposal(
        content=LeadImport(
            name=_line(company.name, 255) or company.domain,
            domain=company.domain,
            industry=_line(company.industry, 100),
            employee_count=company.employee_count,
            annual_revenue=company.annual_revenue,
            city=_line(company.city, 100),
            country=_line(company.country, 100),
            description=company.description[:2000] if company.description else None,
            technologies=[line for name in company.technologies[:100] if (line := _line(name, 100))],
            linkedin_url=company.linkedin_url,
        ),
        title=f"Import {company.name}"[:255],
        description=_in_words(company),
        dedupe_key=f"lead:{company.domain}",
        priority=Priority.HIGH if not misses and not unknown else Priority.NORMAL,
        flags=flags,
        evidence={
            "fit": fit,
            "sources": [
                {
                    "provider": "apollo",
                    "operation": "search_companies",
                    "id": stub.id,
                    **({"fetchedAt": searched.isoformat()} if searched else {}),
                },
                {
                    "provider": "apollo",
                    "operation": "enrich_company",
                    "id": company.id,
                    "domain": company.domain,
                },
            ],
            "company": {
                "foundedYear": company.founded_year,
                "latestFundingStage": company.latest_funding_stage,
                "latestFundingAt": company.latest_funding_at,
                "headcountGrowth12Months": company.headcount_growth_12_months,
            },
        },
    )


def _line(text: str | None, longest: int) -> str | None:
    """A provider's words as one clean line that fits."""
    return " ".join(text.split())[:longest] or None if text else None


def _fit(company: Company, profile: IdealCustomer) -> list[dict[str, object]]:
    """Each criterion of the profile, what the company has, and whether it meets it (None: not known)."""
    lines: list[dict[str, object]] = []

    def line(criterion: str, wanted: object, actual: object, *, met: bool) -> None:
        lines.append(
            {
                "criterion": criterion,
                "wanted": wanted,
                "actual": actual,
                "met": None if actual is None else met,
            }
        )

    if not profile.employees.is_open:
        wanted = [profile.employees.min, profile.employees.max]
        line("employees", wanted, company.employee_count, met=profile.employees.holds(company.employee_count))
    if not profile.revenue.is_open:
        wanted = [profile.revenue.min, profile.revenue.max]
        line("revenue", wanted, company.annual_revenue, met=profile.revenue.holds(company.annual_revenue))
    if profile.locations:
        places = {place.lower() for place in (company.city, company.country) if place}
        met = any(location.lower() in places for location in profile.locations)
        line("location", list(profile.locations), company.country, met=met)
    if profile.technologies:
        have = {name.lower().replace(" ", "_") for name in company.technologies}
        met = any(uid.lower() in have for uid in profile.technologies)
        line("technologies", list(profile.technologies), list(company.technologies) or None, met=met)
    return lines


def _in_words(company: Company) -> str:
    parts = [
        company.industry,
        f"{company.employee_count:,} employees" if company.employee_count else None,
        ", ".join(place for place in (company.city, company.country) if place) or None,
    ]
    return " · ".join(part for part in parts if part) or company.domain


AGENT = Agent(
    type="lead_source",
    name="Lead Source Agent",
    description="Find companies matching your ICP from Apollo.io",
    icon="Search",
    category=Category.PROSPECTING,
    version="2",
    config=Config,
    input=Input,
    run=run,
    expects=expects,
)
