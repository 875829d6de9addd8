"""Between an ideal customer and Apollo's filters, between Apollo's rows and our companies.

Apollo ignores a filter it does not know and answers with everybody, so only the names here are sent.
Its rows are believed field by field: what is missing, of another type or beyond reason is None, and a row
that does not say who it is is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chalicelib.domain.companies import (
    Between,
    Company,
    CompanyPage,
    CompanyStub,
    Days,
    FundingEvent,
    IdealCustomer,
)
from chalicelib.integrations.apollo.values import (
    criteria,
    day,
    domain_of,
    domains,
    fraction,
    line,
    lines,
    link,
    phone_of,
    rows,
    slug,
    text,
    whole,
    words,
)

MOST_PAGES: Final = 500
MOST_ROWS: Final = 50_000
MOST_DOMAINS: Final = 1_000
MOST_EMPLOYEES: Final = 10_000_000
MOST_DOLLARS: Final = 10**14
MOST_EVENTS: Final = 50


def filters(profile: IdealCustomer) -> dict[str, Any]:
    """The profile in Apollo's current names; criteria that say nothing are left out.

    Raises Invalid where nothing is said, and for what is no domain.
    """
    return criteria(
        {
            "q_organization_name": (profile.name or "").strip(),
            "q_organization_domains_list": domains(profile.domains, most=MOST_DOMAINS),
            "q_organization_keyword_tags": words((*profile.industries, *profile.keywords)),
            "q_organization_job_titles": words(profile.open_roles),
            "organization_ids": words(profile.ids),
            "organization_num_employees_ranges": _employees(profile.employees),
            "organization_locations": words(profile.locations),
            "organization_not_locations": words(profile.excluded_locations),
            "revenue_range": _range(profile.revenue),
            "total_funding_range": _range(profile.total_funding),
            "latest_funding_amount_range": _range(profile.latest_funding),
            "latest_funding_date_range": _days(profile.latest_funded),
            "currently_using_any_of_technology_uids": words(map(slug, profile.technologies)),
        }
    )


def _employees(employees: Between) -> list[str]:
    """Apollo wants both ends, with a comma between: `1-10` matches nothing."""
    if employees.is_open:
        return []
    low = 1 if employees.min is None else employees.min
    high = MOST_EMPLOYEES if employees.max is None else employees.max
    return [f"{low},{high}"]


def _range(between: Between) -> dict[str, int]:
    ends = {"min": between.min, "max": between.max}
    return {end: value for end, value in ends.items() if value is not None}


def _days(days: Days) -> dict[str, str]:
    ends = {"min": days.min, "max": days.max}
    return {end: value.isoformat() for end, value in ends.items() if value is not None}


def price_of_page(answer: Mapping[str, Any]) -> int:
    """A search that found nothing is free."""
    lists = [answer[name] for name in ("organizations", "accounts") if name in answer]
    return 0 if lists and all(found == [] for found in lists) else 1


def price_of_one(answer: Mapping[str, Any]) -> int:
    """Nothing where there was nobody to enrich."""
    return 0 if "organization" in answer and answer["organization"] is None else 1


def price_of_many(answer: Mapping[str, Any]) -> int:
    """One for each company that came, however often it was asked for."""
    told = whole(answer.get("unique_enriched_records"), most=100)
    if told is not None:
        return told
    ids = [line(row.get("id"), 100) for row in rows(answer.get("organizations"))]
    return len(set(ids))


def company_page(answer: Mapping[str, Any], *, page: int, per_page: int) -> CompanyPage:
    """Both lists as one: companies new to the team, and those in its own Apollo accounts."""
    found = [
        *_stubs(answer.get("organizations"), id_name="id"),
        *_stubs(answer.get("accounts"), id_name="organization_id"),
    ]
    pagination = answer.get("pagination")
    said = pagination if isinstance(pagination, dict) else {}
    pages, entries = whole(said.get("total_pages")), whole(said.get("total_entries"))
    return CompanyPage(
        companies=tuple({stub.id: stub for stub in found}.values()),
        page=page,
        total_pages=min(page if pages is None else pages, MOST_PAGES, MOST_ROWS // per_page),
        total_entries=len(found) if entries is None else entries,
    )


def _stubs(found: object, *, id_name: str) -> Iterator[CompanyStub]:
    for row in rows(found):
        said = row.get
        company_id, company_name = line(said(id_name), 100), line(said("name"), 255)
        if company_id and company_name:
            yield CompanyStub(
                company_id,
                company_name,
                domain_of(said("primary_domain")) or domain_of(said("domain")),
                link(said("linkedin_url")),
                link(said("website_url")),
            )


def companies(answer: Mapping[str, Any], *, asked: Sequence[str]) -> dict[str, Company | None]:
    """Each asked domain's company, by what the company says its domain is; where it stands says nothing.

    A company under another domain is the asked one's only where Apollo says that it missed none, and no other
    is left on either side.
    """
    found: dict[str, Company | None] = dict.fromkeys(asked)
    others: list[Mapping[str, Any]] = []
    for row in rows(answer.get("organizations")):
        own = [domain for domain in _domains_of(row) if domain in found]
        for domain in own:
            found[domain] = found[domain] or _company(row, domain=domain)
        if not own:
            others.append(row)
    missing = [domain for domain in asked if found[domain] is None]
    if whole(answer.get("missing_records")) == 0 and len(missing) == len(others) == 1:
        found[missing[0]] = _company(others[0], domain=missing[0])
    return found


def _domains_of(row: Mapping[str, Any]) -> list[str]:
    website = link(row.get("website_url")) or ""
    host = website.partition("//")[2].partition("/")[0]
    return words(
        domain
        for value in (row.get("primary_domain"), row.get("domain"), host)
        if (domain := domain_of(value))
    )


def company(answer: Mapping[str, Any], *, domain: str) -> Company | None:
    """The enriched company under the domain that was asked for, which may not be its first one at Apollo."""
    row = answer.get("organization")
    return _company(row, domain=domain) if isinstance(row, dict) else None


def _company(row: Mapping[str, Any], *, domain: str) -> Company | None:
    company_id = line(row.get("id"), 100)
    if not company_id:
        return None
    return Company(
        id=company_id,
        name=line(row.get("name"), 255) or domain,
        domain=domain,
        industry=line(row.get("industry"), 100),
        employee_count=whole(row.get("estimated_num_employees"), most=MOST_EMPLOYEES),
        annual_revenue=whole(row.get("annual_revenue"), most=MOST_DOLLARS),
        city=line(row.get("city"), 100),
        country=line(row.get("country"), 100),
        description=text(row.get("short_description"), 2000),
        founded_year=whole(row.get("founded_year"), most=9999),
        technologies=_technologies(row),
        linkedin_url=link(row.get("linkedin_url")),
        website_url=link(row.get("website_url")),
        latest_funding_stage=line(row.get("latest_funding_stage"), 100),
        latest_funding_at=day(row.get("latest_funding_round_date")),
        headcount_growth_6_months=fraction(row.get("organization_headcount_six_month_growth")),
        headcount_growth_12_months=fraction(row.get("organization_headcount_twelve_month_growth")),
        headcount_growth_24_months=fraction(row.get("organization_headcount_twenty_four_month_growth")),
        headcount_by_department=_heads(row.get("departmental_head_count")),
        industries=lines(row.get("industries"), 100),
        keywords=lines(row.get("keywords"), 100),
        technology_uids=lines([one.get("uid") for one in rows(row.get("current_technologies"))], 255),
        annual_revenue_printed=line(row.get("annual_revenue_printed"), 50),
        total_funding=whole(row.get("total_funding"), most=MOST_DOLLARS),
        funding_events=_funding(row.get("funding_events")),
        state=line(row.get("state"), 100),
        address=line(row.get("raw_address"), 500),
        phone=_phone(row),
    )


def _technologies(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = row.get("technology_names")
    if not isinstance(names, list):
        names = [one.get("name") for one in rows(row.get("current_technologies"))]
    return lines(names, 255)


def _heads(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    heads = {line(name, 100): whole(number, most=MOST_EMPLOYEES) for name, number in value.items()}
    return {name: number for name, number in heads.items() if name and number is not None}


def _funding(value: object) -> tuple[FundingEvent, ...]:
    events = [
        FundingEvent(
            at=day(row.get("date")),
            stage=line(row.get("type"), 100),
            amount=line(row.get("amount"), 50),
            currency=line(row.get("currency"), 10),
            investors=line(row.get("investors"), 500),
        )
        for row in rows(value)[:MOST_EVENTS]
    ]
    told = [event for event in events if event.at or event.stage or event.amount]
    return tuple(sorted(told, key=lambda event: event.at or "", reverse=True))


def _phone(row: Mapping[str, Any]) -> str | None:
    primary = row.get("primary_phone")
    numbers = primary if isinstance(primary, dict) else {}
    return phone_of(numbers.get("sanitized_number")) or phone_of(row.get("sanitized_phone"))
