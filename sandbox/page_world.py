"""The invented world for a person: search companies and people, read one company's money and news."""

from collections.abc import Mapping, Sequence

from sandbox.apollo_shapes import money
from sandbox.industries import INDUSTRIES
from sandbox.page import A_PAGE, Html, choice, element, field, framed, joined, link, page_number, pages, table
from sandbox.records import PLACEHOLDER_EMAIL, Article, Company, Person
from sandbox.wire import Response
from sandbox.world import World


def companies(world: World, query: Mapping[str, str]) -> Response:
    words, industry = query.get("q", "").lower().split(), query.get("industry", "")
    found = [
        company
        for company in world.companies
        if industry in {"", company.industry} and _has(words, _text(company))
    ]
    page = page_number(query, len(found))
    shown = found[(page - 1) * A_PAGE : page * A_PAGE]
    industries = {"": "all"} | {one.name: one.name for one in INDUSTRIES}
    return framed(
        "/companies",
        "Companies",
        element(
            "form",
            field("Name, place, keyword or technology", "q", query.get("q", ""), type="search", size="30"),
            choice("Industry", "industry", industries, industry),
            element("button", "Search", class_="main"),
        ),
        companies_table(shown) if shown else "",
        pages("/companies", query, page, len(found)),
    )


def company(world: World, company_id: str) -> Response | None:
    """One company's own page; None when there is no such company."""
    found = world.by_id.get(company_id)
    if found is None:
        return None
    staff = [_person_row(person, found) for person in world.people_of[found.id]]
    rounds = [
        (event.on.isoformat(), event.stage, f"${event.amount:,}", event.investors)
        for event in reversed(found.funding)
    ]
    raised = (
        f"${found.total_funding:,} in all. The latest: {found.funding[-1].stage}."
        if rounds
        else "Nothing raised."
    )
    return framed(
        "/companies",
        found.name,
        element("p", found.about),
        _described(found),
        element("h2", "Funding"),
        element("p", raised),
        table(("On", "Stage", "Amount", "Investors"), rounds) if rounds else "",
        element("h2", "News"),
        element("div", *(_article(one, None) for one in found.news), class_="card"),
        element("h2", f"People: {len(staff)} known of {found.employees:,}"),
        table(
            ("Name", "Title", "Seniority", "E-mail", "Status", "Mobile"),
            [(row[0], *row[2:]) for row in staff],
        ),
    )


def people(world: World, query: Mapping[str, str]) -> Response:
    words = query.get("q", "").lower().split()
    found = [
        person
        for person in world.people
        if _has(
            words,
            f"{person.name} {person.title or ''} {person.seniority} {person.department} {person.email or ''} "
            f"{person.city} {person.country} {world.company_of(person).name}",
        )
    ]
    page = page_number(query, len(found))
    shown = found[(page - 1) * A_PAGE : page * A_PAGE]
    head = ("Name", "Company", "Title", "Seniority", "E-mail", "Status", "Mobile")
    rows = [_person_row(person, world.company_of(person)) for person in shown]
    return framed(
        "/people",
        "People",
        element(
            "form",
            field(
                "Name, title, place, address or company", "q", query.get("q", ""), type="search", size="30"
            ),
            element("button", "Search", class_="main"),
        ),
        table(head, rows) if rows else "",
        pages("/people", query, page, len(found)),
    )


def news(world: World, query: Mapping[str, str]) -> Response:
    words, category = query.get("q", "").lower().split(), query.get("category", "")
    every = [(one, company) for company in world.companies for one in company.news]
    found = sorted(
        (pair for pair in every if category in {"", pair[0].category} and _has(words, pair[0].snippet)),
        key=lambda pair: pair[0].on,
        reverse=True,
    )
    page = page_number(query, len(found))
    shown = found[(page - 1) * A_PAGE : page * A_PAGE]
    categories = {"": "all"} | {one: one for one in sorted({article.category for article, _ in every})}
    articles = [_article(one, company) for one, company in shown]
    return framed(
        "/news",
        "News",
        element(
            "form",
            field("Words", "q", query.get("q", ""), type="search", size="30"),
            choice("About", "category", categories, category),
            element("button", "Search", class_="main"),
        ),
        element("div", *articles, class_="card") if articles else "",
        pages("/news", query, page, len(found)),
    )


def companies_table(shown: Sequence[Company]) -> Html:
    head = ("Company", "Industry", "Where", "People", "Raised", "Lately")
    return table(head, [_company_row(company) for company in shown])


def _company_row(company: Company) -> Sequence[object]:
    return (
        link(f"/companies/{company.id}", company.name),
        company.industry,
        f"{company.city}, {company.country}",
        company.employees,
        element("span", f"${money(company.total_funding)}", class_="nowrap") if company.funding else "",
        company.news[0].title if company.news else "",
    )


def _person_row(person: Person, company: Company) -> Sequence[object]:
    locked = person.email == PLACEHOLDER_EMAIL
    return (
        person.name,
        link(f"/companies/{company.id}", company.name),
        person.title or "",
        person.seniority,
        "locked" if locked else person.email or "",
        person.email_status,
        person.mobile or "",
    )


def _described(company: Company) -> Html:
    growth = ", ".join(
        f"{share:+.1%} in {months} months" for share, months in zip(company.growth, (6, 12, 24), strict=True)
    )
    heads = sorted(company.heads.items(), key=lambda pair: pair[1], reverse=True)
    facts = (
        ("Domain", element("code", company.domain)),
        ("Apollo id", element("code", company.id)),
        ("Account in Apollo's CRM", element("code", company.account_id) if company.account_id else "none"),
        ("Industry", ", ".join(filter(None, (company.industry, company.second_industry)))),
        (
            "Where",
            f"{company.street}, {company.postal_code} {company.city}, {company.state}, {company.country}",
        ),
        ("Founded", company.founded),
        ("People", f"{company.employees:,} ({growth})"),
        ("Revenue", f"${company.revenue:,} a year"),
        ("Runs on", ", ".join(technology.name for technology in company.technologies)),
        ("Keywords", ", ".join(company.keywords)),
        ("Hires", ", ".join(company.open_roles) or "nobody"),
        ("Departments", ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in heads)),
    )
    parts = [joined([element("dt", name), element("dd", value)]) for name, value in facts]
    return element("div", element("dl", *parts), class_="card")


def _article(article: Article, company: Company | None) -> Html:
    about = joined([" · ", link(f"/companies/{company.id}", company.name)]) if company else ""
    told = (article.on.isoformat(), " · ", article.outlet, " · ", article.category.replace("_", " "), about)
    return element(
        "article",
        element("b", article.title),
        element("p", article.snippet),
        element("p", *told, class_="quiet"),
    )


def _text(company: Company) -> str:
    technologies = " ".join(technology.name for technology in company.technologies)
    return (
        f"{company.name} {company.domain} {company.city} {company.country} {company.industry} "
        f"{' '.join(company.keywords)} {technologies}"
    )


def _has(words: Sequence[str], text: str) -> bool:
    lowered = text.lower() if words else ""
    return all(word in lowered for word in words)
