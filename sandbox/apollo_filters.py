"""Which companies and people a search means. A name that is not here is ignored, as Apollo ignores it."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

from sandbox.geography import COUNTRY_ALIASES
from sandbox.records import PLACEHOLDER_EMAIL, Article, Company, Person
from sandbox.world import World

MOST_DOMAINS: Final = 1_000
SHORT_FORMS: Final = (
    ("chief executive officer", "ceo"),
    ("chief financial officer", "cfo"),
    ("chief operating officer", "coo"),
    ("chief technology officer", "cto"),
    ("chief marketing officer", "cmo"),
    ("chief revenue officer", "cro"),
    ("chief information officer", "cio"),
    ("vice president", "vp"),
)
OWN_OF_PEOPLE: Final = frozenset({"person_titles", "include_similar_titles", "q_keywords"})
SMALL_WORDS: Final = frozenset({"of", "and", "the", "for", "&"})

CompanyTest: TypeAlias = Callable[[Company], bool]
PersonTest: TypeAlias = Callable[[Person], bool]


class BadParameter(ValueError):
    """A value that Apollo answers with a 422."""


class Searches:
    """Searches of one world; the last few are kept, so that paging through one costs nothing more."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._companies = lru_cache(maxsize=64)(self._find_companies)
        self._people = lru_cache(maxsize=64)(self._find_people)

    def companies(self, parameters: Mapping[str, Any]) -> Sequence[Company]:
        """Those that pass every filter, in the world's own order, which is the same for every page."""
        return self._companies(_canonical(parameters, COMPANY_FILTERS))

    def people(self, parameters: Mapping[str, Any]) -> Sequence[Person]:
        names = PERSON_FILTERS.keys() | PEOPLES_COMPANY_FILTERS | OWN_OF_PEOPLE
        return self._people(_canonical(parameters, names))

    def news(self, parameters: Mapping[str, Any]) -> Sequence[tuple[Company, Article]]:
        """The articles about the companies named, newest first."""
        wanted = dict.fromkeys(_list(parameters.get("organization_ids")))
        companies = {one.id: one for one in map(self._world.by_id.get, wanted) if one}
        categories = set(_lowered(parameters.get("categories") or []))
        low, high = _days(parameters.get("published_at"))
        found = [
            (company, article)
            for company in companies.values()
            for article in company.news
            if low <= article.on.isoformat() <= high and (not categories or article.category in categories)
        ]
        return sorted(found, key=lambda pair: pair[1].on, reverse=True)

    def _find_companies(self, canonical: str) -> Sequence[Company]:
        tests = [COMPANY_FILTERS[name](value) for name, value in json.loads(canonical).items()]
        return [company for company in self._world.companies if all(test(company) for test in tests)]

    def _find_people(self, canonical: str) -> Sequence[Person]:
        given = json.loads(canonical)
        at = [
            COMPANY_FILTERS[name](value) for name, value in given.items() if name in PEOPLES_COMPANY_FILTERS
        ]
        tests = [PERSON_FILTERS[name](value) for name, value in given.items() if name in PERSON_FILTERS]
        if "person_titles" in given:
            similar = str(given.get("include_similar_titles", True)).lower() != "false"
            tests.append(_titles(given["person_titles"], similar=similar))
        if "q_keywords" in given:
            tests.append(self._keywords(given["q_keywords"]))
        return [
            person
            for company in self._world.companies
            if all(test(company) for test in at)
            for person in self._world.people_of[company.id]
            if all(test(person) for test in tests)
        ]

    def _keywords(self, value: Any) -> PersonTest:
        words = str(value).lower().split()

        def test(person: Person) -> bool:
            company = self._world.company_of(person)
            text = f"{person.name} {person.title or ''} {company.name} {company.industry}".lower()
            return all(word in text for word in words)

        return test


def _canonical(parameters: Mapping[str, Any], names: Iterable[str]) -> str:
    """The known filters that say something, in one order."""
    said = {name: parameters[name] for name in names if parameters.get(name) not in (None, "", [], {})}
    return json.dumps(said, sort_keys=True)


def _list(value: Any) -> list[str]:
    return [str(item).strip() for item in (value if isinstance(value, list) else [value])]


def _lowered(value: Any) -> list[str]:
    return [item.lower() for item in _list(value)]


def _domains(value: Any) -> CompanyTest:
    wanted = {domain.removeprefix("www.") for domain in _lowered(value)}
    if len(wanted) > MOST_DOMAINS:
        raise BadParameter(f"q_organization_domains_list takes at most {MOST_DOMAINS} domains")
    return lambda company: company.domain in wanted


def _head_counts(value: Any) -> CompanyTest:
    """`"1,10"`, `"500,"` and `",10"`; anything else, such as `"1-10"`, means no company at all."""
    matches = filter(None, (re.fullmatch(r"(\d*)\s*,\s*(\d*)", text) for text in _list(value)))
    ranges = [(int(match[1] or 0), int(match[2] or 10**9)) for match in matches if match[1] or match[2]]
    return lambda company: any(low <= company.employees <= high for low, high in ranges)


def _located(value: Any) -> CompanyTest:
    places = [_place(text) for text in _lowered(value)]
    return lambda company: any(
        place <= _whereabouts(company.city, company.state, company.country) for place in places
    )


def _not_located(value: Any) -> CompanyTest:
    located = _located(value)
    return lambda company: not located(company)


def _place(text: str) -> frozenset[str]:
    """`Leeds, United Kingdom` is both of its parts."""
    parts = (part.strip() for part in text.split(","))
    return frozenset(COUNTRY_ALIASES.get(part, part) for part in parts if part)


@cache
def _whereabouts(city: str, state: str, country: str) -> frozenset[str]:
    return frozenset({city.lower(), state.lower(), country.lower()})


def _range(value: Any, amount: Callable[[Company], Any], read: Callable[[str], Any]) -> CompanyTest:
    if not isinstance(value, dict):
        raise BadParameter("a range is an object with min and max")
    try:
        low, high = (
            read(str(value[end])) if value.get(end) not in (None, "") else None for end in ("min", "max")
        )
    except ValueError as error:
        raise BadParameter("min and max of a range must be numbers or dates") from error

    def test(company: Company) -> bool:
        found = amount(company)
        return found is not None and (low is None or found >= low) and (high is None or found <= high)

    return test


def _day(text: str) -> str:
    """An ISO day, which sorts as text."""
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(text)
    return text[:10]


def _days(value: Any) -> tuple[str, str]:
    """A range of days, open where nothing is said."""
    given = value if isinstance(value, dict) else {}
    try:
        return _day(str(given.get("min") or "0001-01-01")), _day(str(given.get("max") or "9999-12-31"))
    except ValueError as error:
        raise BadParameter("published_at must be dates, as 2026-10-31") from error


def _technologies(value: Any) -> CompanyTest:
    wanted = {re.sub(r"[^a-z0-9]+", "_", uid) for uid in _lowered(value)}
    return lambda company: any(technology.uid in wanted for technology in company.technologies)


def _keyword_tags(value: Any) -> CompanyTest:
    tags = _lowered(value)

    def test(company: Company) -> bool:
        text = "|".join((company.industry, company.second_industry or "", *company.keywords, company.about))
        return any(tag in text.lower() for tag in tags)

    return test


def _named(value: Any) -> CompanyTest:
    name = str(value).lower()
    return lambda company: name in company.name.lower()


def _ids(value: Any) -> CompanyTest:
    wanted = frozenset(_list(value))
    return lambda company: company.id in wanted or company.account_id in wanted


def _hiring(value: Any) -> CompanyTest:
    wanted = _lowered(value)
    return lambda company: any(title in role.lower() for role in company.open_roles for title in wanted)


COMPANY_FILTERS: Final[Mapping[str, Callable[[Any], CompanyTest]]] = {
    "q_organization_domains_list": _domains,
    "organization_num_employees_ranges": _head_counts,
    "organization_locations": _located,
    "organization_not_locations": _not_located,
    "revenue_range": lambda value: _range(value, lambda company: company.revenue, float),
    "currently_using_any_of_technology_uids": _technologies,
    "q_organization_keyword_tags": _keyword_tags,
    "q_organization_name": _named,
    "organization_ids": _ids,
    "latest_funding_amount_range": lambda value: _range(
        value, lambda company: company.funding[-1].amount if company.funding else None, float
    ),
    "total_funding_range": lambda value: _range(
        value, lambda company: company.total_funding if company.funding else None, float
    ),
    "latest_funding_date_range": lambda value: _range(
        value, lambda company: company.funding[-1].on.isoformat() if company.funding else None, _day
    ),
    "q_organization_job_titles": _hiring,
}
PEOPLES_COMPANY_FILTERS: Final = frozenset(
    {
        "organization_ids",
        "organization_locations",
        "q_organization_domains_list",
        "organization_num_employees_ranges",
        "revenue_range",
        "currently_using_any_of_technology_uids",
        "q_organization_job_titles",
    }
)


def _titles(value: Any, *, similar: bool) -> PersonTest:
    """Similar titles hold every word that counts; exact ones are the title itself."""
    wanted = [_title_words(title) for title in _list(value)]
    exact = set(_lowered(value))

    def test(person: Person) -> bool:
        if person.title is None:
            return False
        if not similar:
            return person.title.lower() in exact
        return any(words <= _title_words(person.title) for words in wanted if words)

    return test


@cache
def _title_words(title: str) -> frozenset[str]:
    text = title.lower()
    for long, short in SHORT_FORMS:
        text = text.replace(long, short)
    return frozenset(re.findall(r"[a-z0-9-]+", text)) - SMALL_WORDS


def _person_located(value: Any) -> PersonTest:
    places = [_place(text) for text in _lowered(value)]
    return lambda person: any(
        place <= _whereabouts(person.city, person.state, person.country) for place in places
    )


def _seniorities(value: Any) -> PersonTest:
    wanted = set(_lowered(value))
    return lambda person: person.seniority in wanted


def _departments(value: Any) -> PersonTest:
    wanted = {department.removeprefix("master_") for department in _lowered(value)}
    return lambda person: person.department in wanted


def _email_status(value: Any) -> PersonTest:
    wanted = {status.replace("_", " ") for status in _lowered(value)}
    return lambda person: bool(wanted & _search_statuses(person))


def _search_statuses(person: Person) -> set[str]:
    """The words of the search, which are not the words of a person's `email_status`."""
    if person.email is None or person.email == PLACEHOLDER_EMAIL:
        return {"unavailable"}
    return {"verified"} if person.email_status == "verified" else {"unverified", "likely to engage"}


PERSON_FILTERS: Final[Mapping[str, Callable[[Any], PersonTest]]] = {
    "person_locations": _person_located,
    "person_seniorities": _seniorities,
    "person_departments": _departments,
    "contact_email_status": _email_status,
}
