"""Searches of companies and people: filters, paging, shapes, cost."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sandbox.server import Sandbox
from sandbox.world import Company, World

SEARCH = "mixed_companies/search"
PEOPLE = "mixed_people/api_search"


def rows_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [*page["accounts"], *page["organizations"]]


def companies_of(world: World, page: dict[str, Any]) -> list[Company]:
    return [world.by_id[row["id"]] for row in rows_of(page)]


def search(apollo: httpx.Client, **body: Any) -> dict[str, Any]:
    found = apollo.post(SEARCH, json={"per_page": 100, **body})
    assert found.status_code == 200, found.text
    content: dict[str, Any] = found.json()
    return content


COMPANY_CASES: list[tuple[dict[str, Any], Callable[[Company], object]]] = [
    (
        {"organization_num_employees_ranges": ["11,50", "501,"]},
        lambda c: 11 <= c.employees <= 50 or c.employees > 500,
    ),
    (
        {"organization_locations": ["Germany", "Leeds, UK"]},
        lambda c: c.country == "Germany" or c.city == "Leeds",
    ),
    ({"organization_not_locations": ["united states"]}, lambda c: c.country != "United States"),
    ({"revenue_range": {"min": 1_000_000, "max": 5_000_000}}, lambda c: 1_000_000 <= c.revenue <= 5_000_000),
    (
        {"currently_using_any_of_technology_uids": ["shopify", "klaviyo"]},
        lambda c: {t.uid for t in c.technologies} & {"shopify", "klaviyo"},
    ),
    (
        {"q_organization_keyword_tags": ["Insurance"]},
        lambda c: "insurance" in f"{c.industry} {c.second_industry} {c.keywords} {c.about}".lower(),
    ),
    ({"q_organization_name": "kestrel"}, lambda c: "kestrel" in c.name.lower()),
    ({"total_funding_range": {"min": 50_000_000}}, lambda c: c.total_funding >= 50_000_000),
    (
        {"latest_funding_amount_range": {"max": 2_000_000}},
        lambda c: c.funding and c.funding[-1].amount <= 2_000_000,
    ),
    (
        {"latest_funding_date_range": {"min": "2026-03-01"}},
        lambda c: c.funding and c.funding[-1].on.isoformat() >= "2026-03-01",
    ),
    ({"q_organization_job_titles": ["engineer"]}, lambda c: any("Engineer" in role for role in c.open_roles)),
]


@pytest.mark.parametrize(("body", "holds"), COMPANY_CASES)
def test_a_company_filter_keeps_what_fits_and_nothing_else(
    apollo: httpx.Client, world: World, body: dict[str, Any], holds: Any
) -> None:
    content = search(apollo, **body)
    assert all(holds(company) for company in companies_of(world, content))
    fitting = sum(bool(holds(company)) for company in world.companies)
    assert content["pagination"]["total_entries"] == fitting
    assert 0 < fitting < len(world.companies)


def test_filters_add_up(apollo: httpx.Client, world: World) -> None:
    content = search(apollo, organization_locations=["france"], organization_num_employees_ranges=["51,200"])
    assert rows_of(content)
    assert all(c.country == "France" and 51 <= c.employees <= 200 for c in companies_of(world, content))


def test_companies_are_found_by_domain_and_by_id(apollo: httpx.Client, world: World) -> None:
    first, second = world.companies[3:5]
    assert companies_of(world, search(apollo, q_organization_domains_list=[first.domain])) == [first]
    assert companies_of(world, search(apollo, organization_ids=[second.id])) == [second]


def test_the_query_string_says_the_same_as_the_body(apollo: httpx.Client) -> None:
    wanted: dict[str, Any] = {
        "organization_locations[]": ["spain", "italy"],
        "revenue_range[min]": "2000000",
        "per_page": 100,
    }
    by_query = apollo.post(SEARCH, params=wanted).json()
    by_body = search(apollo, organization_locations=["spain", "italy"], revenue_range={"min": 2_000_000})
    assert by_query == by_body


def test_a_head_count_with_a_hyphen_matches_nothing(apollo: httpx.Client) -> None:
    assert search(apollo, organization_num_employees_ranges=["1-10"])["pagination"]["total_entries"] == 0


def test_an_unknown_filter_is_ignored_in_silence(apollo: httpx.Client, world: World) -> None:
    assert search(apollo, industry=["retail"])["pagination"]["total_entries"] == len(world.companies)


def test_paging_shows_every_company_once(apollo: httpx.Client, world: World) -> None:
    seen = list[str]()
    pages = search(apollo, organization_locations=["germany"], per_page=30)["pagination"]["total_pages"]
    for page in range(1, pages + 1):
        content = search(apollo, organization_locations=["germany"], per_page=30, page=page)
        seen += [company.id for company in companies_of(world, content)]
    assert sorted(seen) == sorted(c.id for c in world.companies if c.country == "Germany")


def test_a_page_costs_one_credit_and_an_empty_one_none(apollo: httpx.Client, sandbox: Sandbox) -> None:
    search(apollo, page=1)
    search(apollo, page=400)
    assert [entry.credits for entry in sandbox.ledger.entries()] == [1, 0]


def test_a_search_row_holds_nothing_that_enrichment_is_paid_for(apollo: httpx.Client) -> None:
    row = search(apollo)["organizations"][0]
    assert {"id", "name", "website_url", "linkedin_url", "primary_domain", "founded_year"} <= row.keys()
    assert not row.keys() & {"industry", "estimated_num_employees", "annual_revenue", "city", "keywords"}


def test_a_company_of_the_teams_own_comes_under_the_accounts_id(apollo: httpx.Client, world: World) -> None:
    content = search(apollo)
    assert content["accounts"]
    for row in content["accounts"]:
        company = world.by_id[row["organization_id"]]
        assert row["id"] == company.account_id != company.id
        assert row["primary_domain"] is None
        assert row["domain"] == company.domain
    assert len(rows_of(content)) == 100


@pytest.mark.parametrize(
    "body", [{"per_page": 101}, {"per_page": 0}, {"page": 0}, {"page": 501, "per_page": 100}]
)
@pytest.mark.parametrize("path", [SEARCH, PEOPLE])
def test_a_page_beyond_the_walls_is_a_422(apollo: httpx.Client, path: str, body: dict[str, Any]) -> None:
    refused = apollo.post(path, json=body)
    assert refused.status_code == 422
    assert refused.json()["error"]


def people(apollo: httpx.Client, **body: Any) -> dict[str, Any]:
    content: dict[str, Any] = apollo.post(PEOPLE, json={"per_page": 100, **body}).json()
    return content


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        ({"person_seniorities": ["vp", "head"]}, lambda p, _c: p.seniority in {"vp", "head"}),
        ({"person_titles": ["Vice President Sales"]}, lambda p, _c: p.title == "VP of Sales"),
        (
            {"person_titles": ["head of sales"], "include_similar_titles": False},
            lambda p, _c: p.title == "Head of Sales",
        ),
        ({"person_departments": ["master_marketing"]}, lambda p, _c: p.department == "marketing"),
        ({"person_locations": ["Japan"]}, lambda p, _c: p.country == "Japan"),
        (
            {"organization_locations": ["Sweden"], "organization_num_employees_ranges": ["1,100"]},
            lambda _p, c: c.country == "Sweden" and c.employees <= 100,
        ),
        ({"revenue_range": {"min": 500_000_000}}, lambda _p, c: c.revenue >= 500_000_000),
        (
            {"currently_using_any_of_technology_uids": ["guidewire"]},
            lambda _p, c: "guidewire" in {t.uid for t in c.technologies},
        ),
        ({"contact_email_status": ["verified"]}, lambda p, _c: p.email_status == "verified"),
        ({"q_keywords": "Recruiter"}, lambda p, _c: p.title == "Recruiter"),
    ],
)
def test_a_people_filter_keeps_who_fits_and_nobody_else(
    apollo: httpx.Client, world: World, body: dict[str, Any], holds: Any
) -> None:
    content = people(apollo, **body)
    fitting = {p.id for p in world.people if holds(p, world.company_of(p))}
    assert content["total_entries"] == len(fitting) > 0
    assert {stub["id"] for stub in content["people"]} <= fitting


def test_a_companys_people_are_found_by_its_id_and_by_its_domain(apollo: httpx.Client, world: World) -> None:
    company = world.companies[11]
    staff = [person.id for person in world.people_of[company.id]]
    for body in ({"organization_ids": [company.id]}, {"q_organization_domains_list": [company.domain]}):
        assert [stub["id"] for stub in people(apollo, **body)["people"]] == staff


def test_a_stub_hides_the_last_name_and_every_address(apollo: httpx.Client, world: World) -> None:
    content = people(apollo)
    assert content.keys() == {"total_entries", "people"}
    for stub in content["people"]:
        person = world.person_by_id[stub["id"]]
        assert person.last_name not in stub["last_name_obfuscated"]
        assert stub["has_email"] is person.has_email
        assert isinstance(stub["has_direct_phone"], str)
        assert not stub.keys() & {"email", "last_name", "phone_numbers", "seniority"}


def test_people_are_searched_free_of_charge(apollo: httpx.Client, sandbox: Sandbox) -> None:
    people(apollo)
    [entry] = sandbox.ledger.entries()
    assert (entry.credits, entry.paid) == (0, False)


SENIORITIES = [
    "owner",
    "founder",
    "c_suite",
    "partner",
    "vp",
    "head",
    "director",
    "manager",
    "senior",
    "entry",
    "intern",
]


@pytest.mark.parametrize("seniority", SENIORITIES)
def test_every_seniority_is_held_by_somebody(apollo: httpx.Client, world: World, seniority: str) -> None:
    content = people(apollo, person_seniorities=[seniority])
    assert content["total_entries"] > 0
    assert {world.person_by_id[stub["id"]].seniority for stub in content["people"]} == {seniority}


@pytest.mark.parametrize("status", ["verified", "unverified", "likely to engage", "unavailable"])
def test_every_status_of_an_address_finds_somebody(apollo: httpx.Client, status: str) -> None:
    assert people(apollo, contact_email_status=[status])["total_entries"] > 0


def test_similar_titles_are_found_unless_they_are_not_wanted(apollo: httpx.Client) -> None:
    similar = people(apollo, person_titles=["sales manager"])
    exact = people(apollo, person_titles=["manager"], include_similar_titles=False)
    assert "Sales Manager" in {stub["title"] for stub in similar["people"]}
    assert exact["total_entries"] == 0


def test_an_unknown_filter_of_people_is_ignored_in_silence(apollo: httpx.Client, world: World) -> None:
    assert people(apollo, titles=["ceo"])["total_entries"] == len(world.people)


def test_people_are_asked_for_in_the_query_string_too(apollo: httpx.Client) -> None:
    by_query = apollo.post(PEOPLE, params={"person_seniorities[]": ["vp", "head"], "per_page": "100"}).json()
    assert by_query == people(apollo, person_seniorities=["vp", "head"])


@pytest.mark.parametrize("path", [SEARCH, PEOPLE])
def test_nobody_pages_past_page_500_however_short_the_pages(apollo: httpx.Client, path: str) -> None:
    assert apollo.post(path, json={"page": 500, "per_page": 1}).status_code == 200
    assert apollo.post(path, json={"page": 501, "per_page": 1}).status_code == 422


def test_a_thousand_domains_are_taken_and_one_more_is_not(apollo: httpx.Client) -> None:
    domains = [f"company-{number}.example" for number in range(1_001)]
    assert apollo.post(SEARCH, json={"q_organization_domains_list": domains[:1_000]}).status_code == 200
    assert apollo.post(SEARCH, json={"q_organization_domains_list": domains}).status_code == 422


@pytest.mark.parametrize(
    "body", [{"revenue_range": "1,5"}, {"revenue_range": {"min": "much"}}, {"page": "two"}]
)
def test_a_value_of_the_wrong_form_is_a_422(apollo: httpx.Client, body: dict[str, Any]) -> None:
    assert apollo.post(SEARCH, json=body).status_code == 422
