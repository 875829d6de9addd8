"""Companies and people as Apollo writes them: search rows, stubs, enriched records."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sandbox.records import PLACEHOLDER_EMAIL, WORLD_DAY, Article, Company, FundingEvent, Person
from sandbox.text import stable_hash
from sandbox.world import World

Shape: TypeAlias = Mapping[str, Any]


def search_row(company: Company) -> Shape:
    """A row of `organizations`: who they are, and nothing that enrichment is paid for."""
    website = f"http://www.{company.domain}"
    return {
        "id": company.id,
        "name": company.name,
        "website_url": website,
        "blog_url": None,
        "angellist_url": None,
        "linkedin_url": company.linkedin_url,
        "twitter_url": None,
        "facebook_url": None,
        "primary_phone": _phone(company),
        "languages": list(company.languages),
        "alexa_ranking": None,
        "phone": company.phone,
        "linkedin_uid": str(stable_hash(company.id) % 10**8),
        "founded_year": company.founded,
        "publicly_traded_symbol": None,
        "publicly_traded_exchange": None,
        "logo_url": f"{website}/logo.png",
        "crunchbase_url": None,
        "primary_domain": company.domain,
        "sanitized_phone": _digits(company.phone),
    }


def account_row(company: Company) -> Shape:
    """A row of `accounts`: the team's own record of the company, under an id of its own."""
    return {
        **search_row(company),
        "id": company.account_id,
        "organization_id": company.id,
        "domain": company.domain,
        "primary_domain": None,
        "team_id": f"{stable_hash('team'):024x}",
        "account_stage_id": f"{stable_hash('stage', company.id) % 5:024x}",
        "source": "crm",
        "owner_id": None,
        "num_contacts": stable_hash("contacts", company.id) % 7,
        "existence_level": "full",
    }


def enriched(company: Company) -> Shape:
    latest = company.funding[-1] if company.funding else None
    half_year, year, two_years = company.growth
    return {
        **search_row(company),
        "industry": company.industry,
        "industries": [industry for industry in (company.industry, company.second_industry) if industry],
        "secondary_industries": [company.second_industry] if company.second_industry else [],
        "keywords": list(company.keywords),
        "estimated_num_employees": company.employees,
        "street_address": company.street,
        "city": company.city,
        "state": company.state,
        "country": company.country,
        "postal_code": company.postal_code,
        "raw_address": f"{company.street}, {company.city}, {company.state}, {company.country}",
        "annual_revenue": float(company.revenue),
        "annual_revenue_printed": money(company.revenue),
        "organization_revenue": float(company.revenue),
        "total_funding": company.total_funding or None,
        "total_funding_printed": money(company.total_funding) if company.funding else None,
        "latest_funding_round_date": _instant(latest) if latest else None,
        "latest_funding_stage": latest.stage if latest else None,
        "funding_events": [_funding_event(company, event) for event in reversed(company.funding)],
        "technology_names": [technology.name for technology in company.technologies],
        "current_technologies": [
            {"uid": technology.uid, "name": technology.name, "category": technology.category}
            for technology in company.technologies
        ],
        "departmental_head_count": dict(company.heads),
        "short_description": company.short_description,
        "organization_headcount_six_month_growth": half_year,
        "organization_headcount_twelve_month_growth": year,
        "organization_headcount_twenty_four_month_growth": two_years,
        "num_suborganizations": 0,
        "retail_location_count": 0,
    }


def article(company: Company, told: Article) -> Shape:
    return {
        "id": told.id,
        "title": told.title,
        "url": told.url,
        "domain": told.url.split("/")[2],
        "snippet": told.snippet,
        "published_at": f"{told.on.isoformat()}T08:00:00.000+00:00",
        "event_categories": [told.category],
        "organizations": [{"id": company.id, "name": company.name, "primary_domain": company.domain}],
    }


def stub(person: Person, company: Company) -> Shape:
    """A person as the free search shows one: enough to choose by, nothing to write to."""
    return {
        "id": person.id,
        "first_name": person.first_name,
        "last_name_obfuscated": f"{person.last_name[:2]}***{person.last_name[-1]}",
        "title": person.title,
        "last_refreshed_at": f"{WORLD_DAY.isoformat()}T06:00:00.000+00:00",
        "has_email": person.has_email,
        "has_city": True,
        "has_state": True,
        "has_country": True,
        "has_direct_phone": "Yes"
        if person.mobile
        else "Maybe: please request direct dial via people/bulk_match",
        "organization": {
            "name": company.name,
            "has_industry": True,
            "has_phone": True,
            "has_city": True,
            "has_state": True,
            "has_country": True,
            "has_zip_code": True,
            "has_revenue": True,
            "has_employee_count": True,
        },
    }


def full_person(world: World, person: Person, *, reveal_phone: bool) -> Shape:
    company = world.company_of(person)
    reveal = reveal_phone and person.mobile
    return {
        "id": person.id,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "name": person.name,
        "linkedin_url": person.linkedin_url,
        "title": person.title,
        "headline": f"{person.title or 'Team member'} at {company.name}",
        "email": person.email,
        "email_status": person.email_status,
        "extrapolated_email_confidence": 0.7 if person.email_status == "extrapolated" else None,
        "photo_url": None,
        "twitter_url": None,
        "github_url": None,
        "facebook_url": None,
        "city": person.city,
        "state": person.state,
        "country": person.country,
        "organization_id": company.id,
        "organization": enriched(company),
        "employment_history": _employment(world, person, company),
        "departments": ["c_suite" if person.department == "c_suite" else f"master_{person.department}"],
        "subdepartments": [],
        "functions": [person.department],
        "seniority": person.seniority,
        "revealed_for_current_team": person.email is not None and person.email != PLACEHOLDER_EMAIL,
        **({"phone_numbers": [_mobile(person.mobile)]} if reveal else {}),
    }


def money(amount: int) -> str:
    """1,250,000 as `1.3M`, as Apollo prints it."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if amount >= size:
            return f"{amount / size:.1f}".removesuffix(".0") + letter
    return str(amount)


def _phone(company: Company) -> Shape:
    return {"number": company.phone, "source": "Scraped", "sanitized_number": _digits(company.phone)}


def _mobile(number: str | None) -> Shape:
    return {
        "raw_number": number,
        "sanitized_number": _digits(number or ""),
        "type_cd": "mobile",
        "status_cd": "valid_number",
    }


def _digits(number: str) -> str:
    return "+" + "".join(filter(str.isdigit, number))


def _instant(event: FundingEvent) -> str:
    return f"{event.on.isoformat()}T00:00:00.000+00:00"


def _funding_event(company: Company, event: FundingEvent) -> Shape:
    told = next((one for one in company.news if one.id == event.id), None)
    return {
        "id": event.id,
        "date": _instant(event),
        "news_url": told.url if told else None,
        "type": event.stage,
        "investors": event.investors,
        "amount": money(event.amount),
        "currency": "$",
    }


def _employment(world: World, person: Person, company: Company) -> Sequence[Shape]:
    """The present job and, for most, one before it at another company."""
    present = {
        "_id": f"{stable_hash('job', person.id):024x}",
        "current": True,
        "organization_id": company.id,
        "organization_name": company.name,
        "title": person.title,
        "start_date": person.since.isoformat(),
        "end_date": None,
    }
    throw = stable_hash("before", person.id)
    earlier = world.companies[throw % len(world.companies)]
    if person.seniority in {"founder", "intern"} or earlier.founded >= person.since.year - 4:
        return [present]
    return [
        present,
        {
            "_id": f"{throw:024x}",
            "current": False,
            "organization_id": earlier.id,
            "organization_name": earlier.name,
            "title": person.title,
            "start_date": person.since.replace(year=person.since.year - 3, day=1).isoformat(),
            "end_date": person.since.isoformat(),
        },
    ]
