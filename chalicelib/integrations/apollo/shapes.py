"""Between an ideal customer and Apollo's filters, between Apollo's rows and our companies.

Apollo ignores a filter it does not know and answers with everybody, so only the names here are sent.
Its rows are believed field by field: what is missing, of another type or beyond reason is None, and a row
that does not say who it is is left out.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final

from chalicelib.domain.companies import Between, Company, CompanyPage, CompanyStub, IdealCustomer
from chalicelib.domain.money import RateNews

MOST_PAGES: Final = 500
MOST_ROWS: Final = 50_000
MOST_EMPLOYEES: Final = 10_000_000
MOST_DOLLARS: Final = 10**14
MOST_TECHNOLOGIES: Final = 200
LONGEST_DOMAIN: Final = 253

_FIGURE: Final = re.compile(r"[0-9]{1,6}")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LINK: Final = re.compile(r"https?://[^\s<>\"']{1,490}")


def filters(profile: IdealCustomer) -> dict[str, Any]:
    """The profile in Apollo's current names; criteria that say nothing are left out."""
    said = {
        "q_organization_keyword_tags": _words(profile.industries),
        "organization_num_employees_ranges": _employees(profile.employees),
        "revenue_range": _range(profile.revenue),
        "organization_locations": _words(profile.locations),
        "currently_using_any_of_technology_uids": [_uid(word) for word in _words(profile.technologies)],
    }
    return {name: value for name, value in said.items() if value}


def rate_news(headers: Mapping[str, str]) -> RateNews | None:
    """What an answer says of the minute's limit; None where it is unlimited (an empty value) or not told."""
    limit, left = headers.get("x-rate-limit-minute", ""), headers.get("x-minute-requests-left", "")
    if not (_FIGURE.fullmatch(limit) and _FIGURE.fullmatch(left)) or int(limit) < 1:
        return None
    return RateNews(per_minute=int(limit), left=min(int(left), int(limit)))


def _words(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in words if word.strip()))


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


def _uid(word: str) -> str:
    """`Google Analytics` is `google_analytics`."""
    return re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_")


def is_empty_page(answer: Mapping[str, Any]) -> bool:
    """Whether a search found nothing, which Apollo does not charge for."""
    lists = [answer[name] for name in ("organizations", "accounts") if name in answer]
    return bool(lists) and all(rows == [] for rows in lists)


def is_unknown_company(answer: Mapping[str, Any]) -> bool:
    """Whether there was nothing to enrich, which Apollo does not charge for."""
    return "organization" in answer and answer["organization"] is None


def company_page(answer: Mapping[str, Any], *, page: int, per_page: int) -> CompanyPage:
    """Both lists as one: companies new to the team, and those in its own Apollo accounts."""
    rows = [
        *_stubs(answer.get("organizations"), id_name="id"),
        *_stubs(answer.get("accounts"), id_name="organization_id"),
    ]
    pagination = answer.get("pagination")
    said = pagination if isinstance(pagination, dict) else {}
    pages, entries = _whole(said.get("total_pages")), _whole(said.get("total_entries"))
    return CompanyPage(
        companies=tuple({stub.id: stub for stub in rows}.values()),
        page=page,
        total_pages=min(page if pages is None else pages, MOST_PAGES, MOST_ROWS // per_page),
        total_entries=len(rows) if entries is None else entries,
    )


def _stubs(rows: object, *, id_name: str) -> Iterator[CompanyStub]:
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        company_id, company_name = _line(row.get(id_name), 100), _line(row.get("name"), 255)
        if company_id and company_name:
            yield CompanyStub(
                id=company_id,
                name=company_name,
                domain=domain_of(row.get("primary_domain")) or domain_of(row.get("domain")),
                linkedin_url=_link(row.get("linkedin_url")),
                website_url=_link(row.get("website_url")),
            )


def company(answer: Mapping[str, Any], *, domain: str) -> Company | None:
    """The enriched company under the domain that was asked for, which may not be its first one at Apollo."""
    row = answer.get("organization")
    if not isinstance(row, dict):
        return None
    company_id = _line(row.get("id"), 100)
    if not company_id:
        return None
    return Company(
        id=company_id,
        name=_line(row.get("name"), 255) or domain,
        domain=domain,
        industry=_line(row.get("industry"), 100),
        employee_count=_whole(row.get("estimated_num_employees"), most=MOST_EMPLOYEES),
        annual_revenue=_whole(row.get("annual_revenue"), most=MOST_DOLLARS),
        city=_line(row.get("city"), 100),
        country=_line(row.get("country"), 100),
        description=_text(row.get("short_description"), 2000),
        founded_year=_whole(row.get("founded_year"), most=9999),
        technologies=tuple(_technologies(row))[:MOST_TECHNOLOGIES],
        linkedin_url=_link(row.get("linkedin_url")),
        website_url=_link(row.get("website_url")),
        latest_funding_stage=_line(row.get("latest_funding_stage"), 100),
        latest_funding_at=_day(row.get("latest_funding_round_date")),
        headcount_growth_12_months=_fraction(row.get("organization_headcount_twelve_month_growth")),
    )


def domain_of(value: object) -> str | None:
    """A domain in lower case without `www.`; None for what is none."""
    if not isinstance(value, str):
        return None
    domain = value.strip().lower().rstrip(".").removeprefix("www.")
    return domain if len(domain) <= LONGEST_DOMAIN and _DOMAIN.fullmatch(domain) else None


def _technologies(row: Mapping[str, Any]) -> Iterator[str]:
    names = row.get("technology_names")
    if not isinstance(names, list):
        current = row.get("current_technologies")
        names = (
            [one.get("name") for one in current if isinstance(one, dict)] if isinstance(current, list) else []
        )
    yield from dict.fromkeys(name for name in (_line(name, 255) for name in names) if name)


def _line(value: object, most: int) -> str | None:
    """One line of printable text, cut to a length; whole numbers, which some ids are, as their digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:d}" if abs(value) < 10**18 else None
    if not isinstance(value, str):
        return None
    printable = _CONTROL.sub(" ", _storable(value))
    return " ".join(printable.split())[:most].strip() or None


def _text(value: object, most: int) -> str | None:
    if not isinstance(value, str):
        return None
    return _storable(value.replace("\0", ""))[:most].strip() or None


def _storable(text: str) -> str:
    """Without lone surrogates, which JSON can carry and PostgreSQL cannot."""
    return text.encode("utf-8", "ignore").decode()


def _link(value: object) -> str | None:
    return value if isinstance(value, str) and _LINK.fullmatch(value) and value.isprintable() else None


def _whole(value: object, *, most: int = 10**12) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= most else None


def _fraction(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if abs(value) <= 10**6 else None


def _day(value: object) -> str | None:
    """The day of an instant such as `2021-03-01T00:00:00.000+00:00`."""
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        return None
