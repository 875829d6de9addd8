"""Between the people we want and Apollo's filters, between Apollo's rows and our people.

The same rules as for companies: only names that are written here are sent, and rows are believed field by field.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chalicelib.domain.errors import Invalid
from chalicelib.domain.people import (
    EmailChance,
    EmailStatus,
    Employment,
    Person,
    PersonPage,
    PersonRef,
    PersonStub,
    Seniority,
    WantedPeople,
)
from chalicelib.domain.quotes import MOBILE_CREDITS, PERSON_CREDITS
from chalicelib.integrations.apollo.companies import MOST_DOMAINS, MOST_PAGES, MOST_ROWS
from chalicelib.integrations.apollo.values import (
    criteria,
    day,
    domain_of,
    domains,
    email_of,
    line,
    lines,
    link,
    phone_of,
    profile_of,
    rows,
    slug,
    whole,
    words,
)

MOST_JOBS: Final = 20
MOST_CREDITS: Final = 1_000
"""Of one call. A larger figure is no figure."""

_MASTER: Final = "master_"
_EMAIL_CHANCES: Final[Mapping[EmailChance, str]] = {
    EmailChance.VERIFIED: "verified",
    EmailChance.UNVERIFIED: "unverified",
    EmailChance.LIKELY_TO_ENGAGE: "likely to engage",
    EmailChance.UNAVAILABLE: "unavailable",
}
_EMAIL_STATUSES: Final[Mapping[str, EmailStatus]] = {
    "verified": EmailStatus.VERIFIED,
    "extrapolated": EmailStatus.GUESSED,
}
_SENIORITIES: Final[Mapping[str, Seniority]] = {one.value: one for one in Seniority}


def filters(wanted: WantedPeople) -> dict[str, Any]:
    """Whom we want in Apollo's current names; criteria that say nothing are left out.

    Raises Invalid where nothing is said, and for what is no domain.
    """
    titles = words(wanted.titles)
    return criteria(
        {
            "person_titles": titles,
            "include_similar_titles": False if titles and not wanted.similar_titles else None,
            "person_seniorities": [Seniority(one).value for one in wanted.seniorities],
            "person_departments": _departments(wanted.departments),
            "person_locations": words(wanted.locations),
            "organization_ids": words(wanted.company_ids),
            "q_organization_domains_list": domains(wanted.company_domains, most=MOST_DOMAINS),
            "contact_email_status": [_EMAIL_CHANCES[one] for one in wanted.email],
            "q_keywords": (wanted.keywords or "").strip(),
        }
    )


def _departments(given: Sequence[str]) -> list[str]:
    """Both of the forms in which Apollo writes one: it does not say which of them this filter takes."""
    bare = [slug(word).removeprefix(_MASTER) for word in words(given)]
    return words(form for word in bare if word for form in (f"{_MASTER}{word}", word))


def person_page(answer: Mapping[str, Any], *, page: int, per_page: int) -> PersonPage:
    stubs = list(_stubs(answer.get("people")))
    entries = whole(answer.get("total_entries"))
    pages = page if entries is None else -(-entries // per_page)
    return PersonPage(
        people=tuple({stub.id: stub for stub in stubs}.values()),
        page=page,
        total_pages=min(pages, MOST_PAGES, MOST_ROWS // per_page),
        total_entries=len(stubs) if entries is None else entries,
    )


def _stubs(found: object) -> Iterator[PersonStub]:
    for row in rows(found):
        person_id = line(row.get("id"), 100)
        if person_id:
            phone, employer = row.get("has_direct_phone"), _object(row.get("organization"))
            yield PersonStub(
                id=person_id,
                first_name=line(row.get("first_name"), 100),
                last_name_hint=line(row.get("last_name_obfuscated"), 100),
                title=line(row.get("title"), 255),
                company_name=line(employer.get("name"), 255),
                has_email=row.get("has_email") is True,
                has_direct_phone=_yes_no_maybe(phone),
            )


def _yes_no_maybe(value: object) -> bool | None:
    """`Yes`, and `Maybe: …` with advice."""
    if isinstance(value, str) and value.strip().lower().startswith("maybe"):
        return None
    return value is True or (isinstance(value, str) and value.strip().lower() == "yes")


def details(ref: PersonRef) -> dict[str, str]:
    """Whom to look up, in Apollo's words. Raises Invalid for a reference that names nobody."""
    if person_id := line(ref.id, 100):
        return {"id": person_id}
    said = {"email": email_of(ref.email), "linkedin_url": link(ref.linkedin_url)}
    name, domain = line(ref.name, 255), domain_of(ref.domain)
    if name and domain:
        said |= {"name": name, "domain": domain}
    named = {name: value for name, value in said.items() if value}
    if not named:
        raise Invalid(
            "A person is looked up by Apollo.io's id, an e-mail address, a LinkedIn address, or a name and "
            "the company's domain.",
            code="no_person",
        )
    return named


def price_of_one(answer: Mapping[str, Any], *, mobile: bool) -> int:
    """Apollo's own figure where it gives one; else one for a person, and eight for the number that was asked for."""
    told = whole(answer.get("credits_consumed"), most=MOST_CREDITS)
    if told is not None:
        return told
    if "person" in answer and answer["person"] is None:
        return 0
    return _price(_object(answer.get("person")), mobile=mobile)


def price_of_many(answer: Mapping[str, Any], *, mobile: bool) -> int:
    told = whole(answer.get("credits_consumed"), most=MOST_CREDITS)
    if told is not None:
        return told
    unique = {line(row.get("id"), 100): row for row in rows(answer.get("matches"))}
    return sum(_price(row, mobile=mobile) for row in unique.values())


def _price(row: Mapping[str, Any], *, mobile: bool) -> int:
    return PERSON_CREDITS + (MOBILE_CREDITS if mobile and _mobile(row) else 0)


def person(answer: Mapping[str, Any]) -> Person | None:
    row = answer.get("person")
    return _person(row) if isinstance(row, dict) else None


def people(answer: Mapping[str, Any], *, asked: Sequence[PersonRef]) -> dict[PersonRef, Person | None]:
    """Each reference's person, by id, or by what else it names; where a person stands says nothing.

    A person whose e-mail, profile, or name and domain are spelt otherwise at Apollo is not found again. Those
    who are asked for by id always are.
    """
    by_sign: dict[tuple[str, ...], Person] = {}
    for row in rows(answer.get("matches")):
        if found := _person(row):
            for sign in _signs_of(found):
                by_sign.setdefault(sign, found)
    return {ref: next((by_sign[sign] for sign in _signs_in(ref) if sign in by_sign), None) for ref in asked}


def _signs_of(found: Person) -> Iterator[tuple[str, ...]]:
    yield "id", found.id
    if found.email:
        yield "email", found.email
    if profile := profile_of(found.linkedin_url):
        yield "profile", profile
    if found.company_domain:
        yield "name", found.name.casefold(), found.company_domain


def _signs_in(ref: PersonRef) -> Iterator[tuple[str, ...]]:
    """The first that is given is the one that counts, if it is an id: a person of another id is another."""
    if person_id := line(ref.id, 100):
        yield "id", person_id
        return
    if address := email_of(ref.email):
        yield "email", address
    if profile := profile_of(ref.linkedin_url):
        yield "profile", profile
    name, domain = line(ref.name, 255), domain_of(ref.domain)
    if name and domain:
        yield "name", name.casefold(), domain


def _person(row: Mapping[str, Any]) -> Person | None:
    person_id = line(row.get("id"), 100)
    if not person_id:
        return None
    first_name, last_name = line(row.get("first_name"), 100), line(row.get("last_name"), 100)
    name = line(row.get("name"), 255) or " ".join(filter(None, (first_name, last_name)))
    employer, address = _object(row.get("organization")), email_of(row.get("email"))
    return Person(
        id=person_id,
        name=name or person_id,
        first_name=first_name,
        last_name=last_name,
        title=line(row.get("title"), 255),
        headline=line(row.get("headline"), 255),
        seniority=_one_of(_SENIORITIES, row.get("seniority")),
        departments=tuple(word.removeprefix(_MASTER) for word in lines(row.get("departments"), 100)),
        functions=lines(row.get("functions"), 100),
        email=address,
        email_status=_email_status(row.get("email_status")) if address else EmailStatus.NONE,
        mobile=_mobile(row),
        linkedin_url=link(row.get("linkedin_url")),
        city=line(row.get("city"), 100),
        state=line(row.get("state"), 100),
        country=line(row.get("country"), 100),
        company_id=line(row.get("organization_id"), 100) or line(employer.get("id"), 100),
        company_name=line(employer.get("name"), 255),
        company_domain=domain_of(employer.get("primary_domain")) or domain_of(employer.get("domain")),
        employment=tuple(_employment(row.get("employment_history"))),
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _one_of(known: Mapping[str, Seniority], value: object) -> Seniority | None:
    return known.get(value.strip().lower()) if isinstance(value, str) else None


def _email_status(value: object) -> EmailStatus:
    word = value.strip().lower() if isinstance(value, str) else ""
    return _EMAIL_STATUSES.get(word, EmailStatus.UNVERIFIED)


def _mobile(row: Mapping[str, Any]) -> str | None:
    numbers = (
        phone_of(one.get("sanitized_number"))
        for one in rows(row.get("phone_numbers"))
        if one.get("type_cd") == "mobile"
    )
    return next(filter(None, numbers), None)


def _employment(value: object) -> Iterator[Employment]:
    jobs = [
        Employment(
            company_name=line(row.get("organization_name"), 255),
            title=line(row.get("title"), 255),
            is_current=row.get("current") is True,
            started_at=day(row.get("start_date")),
            ended_at=day(row.get("end_date")),
        )
        for row in rows(value)[:MOST_JOBS]
    ]
    told = [job for job in jobs if job.company_name or job.title]
    yield from sorted(told, key=lambda job: (job.is_current, job.started_at or ""), reverse=True)
