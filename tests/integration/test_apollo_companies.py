"""Companies at Apollo beyond one search and one enrichment: every filter, the bulk call, all that is known of one."""

from collections.abc import Callable
from datetime import date
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from chalicelib.domain.companies import Between, Company, Days, FundingEvent, IdealCustomer
from chalicelib.domain.errors import Invalid, ProviderFailed
from chalicelib.integrations.apollo import companies
from chalicelib.integrations.apollo.client import ApolloClient
from sandbox.records import Company as Known
from sandbox.server import Sandbox
from tests.integration.apollo_world import Reply, a_caller, a_page, credits_of, scripted

# What is asked

KNOWN_TO_APOLLO = {
    "q_organization_domains_list",
    "organization_num_employees_ranges",
    "organization_locations",
    "organization_not_locations",
    "revenue_range",
    "currently_using_any_of_technology_uids",
    "q_organization_keyword_tags",
    "q_organization_name",
    "organization_ids",
    "latest_funding_amount_range",
    "total_funding_range",
    "latest_funding_date_range",
    "q_organization_job_titles",
}
EVERYTHING = IdealCustomer(
    industries=("logistics",),
    employees=Between(50, 500),
    revenue=Between(min=1_000_000),
    locations=("Germany",),
    technologies=("Google Analytics",),
    keywords=("cold chain",),
    excluded_locations=("Bavaria",),
    name=" Acme ",
    domains=("WWW.Acme.example", "acme.example"),
    ids=("o1",),
    total_funding=Between(max=10_000_000),
    latest_funding=Between(1, 2),
    latest_funded=Days(date(2025, 1, 31)),
    open_roles=("Warehouse Supervisor",),
)


def test_everything_a_profile_can_say_is_sent_in_apollos_names() -> None:
    with scripted(a_page()) as (apollo, server):
        apollo.search(a_caller(), EVERYTHING, page=1, per_page=25)
    assert server.received[0].json == {
        "q_organization_keyword_tags": ["logistics", "cold chain"],
        "organization_num_employees_ranges": ["50,500"],
        "revenue_range": {"min": 1_000_000},
        "organization_locations": ["Germany"],
        "organization_not_locations": ["Bavaria"],
        "currently_using_any_of_technology_uids": ["google_analytics"],
        "q_organization_name": "Acme",
        "q_organization_domains_list": ["acme.example"],
        "organization_ids": ["o1"],
        "total_funding_range": {"max": 10_000_000},
        "latest_funding_amount_range": {"min": 1, "max": 2},
        "latest_funding_date_range": {"min": "2025-01-31"},
        "q_organization_job_titles": ["Warehouse Supervisor"],
        "page": 1,
        "per_page": 25,
    }


some_words = st.lists(st.text(max_size=4), max_size=2).map(tuple)
betweens = st.builds(Between, st.none() | st.integers(0, 10**13), st.none() | st.integers(0, 10**13))
profiles = st.builds(
    IdealCustomer,
    industries=some_words,
    employees=betweens,
    revenue=betweens,
    locations=some_words,
    technologies=some_words,
    keywords=some_words,
    excluded_locations=some_words,
    name=st.none() | st.text(max_size=12),
    domains=st.lists(st.sampled_from(["acme.example", "www.other.example"]), max_size=2).map(tuple),
    ids=some_words,
    total_funding=betweens,
    latest_funding=betweens,
    latest_funded=st.builds(Days, st.none() | st.dates(), st.none() | st.dates()),
    open_roles=some_words,
)


@given(profiles)
def test_only_names_that_apollo_knows_are_ever_sent_and_never_without_a_word(profile: IdealCustomer) -> None:
    """Seen red with a thirteenth name, and with technologies kept whose uid is empty."""
    try:
        sent = companies.filters(profile)
    except Invalid:
        return  # it says nothing
    assert sent
    assert sent.keys() <= KNOWN_TO_APOLLO
    assert all(value not in ("", [], {}, [""]) for value in sent.values())


def test_every_filter_that_apollo_knows_can_be_said() -> None:
    assert companies.filters(EVERYTHING).keys() == KNOWN_TO_APOLLO


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        (IdealCustomer(), "no_criteria"),
        (IdealCustomer(industries=(" ",), technologies=("***",)), "no_criteria"),
        (IdealCustomer(domains=("acme.example", "no domain")), "no_domain"),
        (IdealCustomer(domains=tuple(f"c{n}.example" for n in range(1_001))), "too_many_domains"),
    ],
)
def test_a_profile_that_would_find_everybody_is_refused_before_it_costs(
    profile: IdealCustomer, code: str
) -> None:
    with scripted(a_page()) as (apollo, server), pytest.raises(Invalid) as told:
        apollo.search(a_caller(), profile, page=1, per_page=25)
    assert (told.value.code, server.received) == (code, [])


FILTERED: dict[str, tuple[IdealCustomer, Callable[[Known], bool]]] = {
    "name": (IdealCustomer(name="logistics"), lambda known: "logistics" in known.name.lower()),
    "excluded": (
        IdealCustomer(industries=("logistics",), excluded_locations=("Germany", "United States")),
        lambda known: known.country not in {"Germany", "United States"},
    ),
    "total funding": (
        IdealCustomer(total_funding=Between(5_000_000, 50_000_000)),
        lambda known: 5_000_000 <= known.total_funding <= 50_000_000,
    ),
    "last round": (
        IdealCustomer(latest_funding=Between(min=10_000_000)),
        lambda known: known.funding[-1].amount >= 10_000_000,
    ),
    "funded since": (
        IdealCustomer(latest_funded=Days(date(2025, 6, 1), date(2026, 6, 1))),
        lambda known: date(2025, 6, 1) <= known.funding[-1].on <= date(2026, 6, 1),
    ),
    "hiring": (
        IdealCustomer(open_roles=("warehouse supervisor",)),
        lambda known: "Warehouse Supervisor" in known.open_roles,
    ),
    "technology": (
        IdealCustomer(technologies=("Google Tag Manager",)),
        lambda known: any(one.uid == "google_tag_manager" for one in known.technologies),
    ),
    "revenue": (
        IdealCustomer(revenue=Between(max=2_000_000)),
        lambda known: known.revenue <= 2_000_000,
    ),
}


@pytest.mark.parametrize("name", FILTERED)
def test_each_filter_finds_what_it_says(apollo: ApolloClient, sandbox: Sandbox, name: str) -> None:
    profile, fits = FILTERED[name]
    page = apollo.search(a_caller(), profile, page=1, per_page=100)
    assert 0 < page.total_entries < len(sandbox.world.companies)
    assert all(fits(sandbox.world.by_id[stub.id]) for stub in page.companies)


def test_domains_and_ids_find_just_those(apollo: ApolloClient, sandbox: Sandbox) -> None:
    one, other, *_ = sandbox.world.companies
    by_domain = IdealCustomer(domains=(one.domain, other.domain))
    found = apollo.search(a_caller(), by_domain, page=1, per_page=100)
    assert {stub.id for stub in found.companies} == {one.id, other.id}
    by_id = apollo.search(a_caller(), IdealCustomer(ids=(one.id,)), page=1, per_page=100)
    assert [stub.id for stub in by_id.companies] == [one.id]


# All that is known of one


def test_an_enriched_company_has_what_scoring_and_enrichment_need(
    apollo: ApolloClient, sandbox: Sandbox
) -> None:
    known = next(one for one in sandbox.world.companies if len(one.funding) > 1 and one.second_industry)
    company = apollo.enrich(a_caller(), known.domain)
    assert company is not None
    assert company.total_funding == known.total_funding
    newest = known.funding[-1]
    assert len(company.funding_events) == len(known.funding)
    assert company.funding_events[0].at == newest.on.isoformat()
    assert (company.funding_events[0].stage, company.funding_events[0].investors) == (
        newest.stage,
        newest.investors,
    )
    assert company.headcount_by_department == known.heads
    assert (
        company.headcount_growth_6_months,
        company.headcount_growth_12_months,
        company.headcount_growth_24_months,
    ) == known.growth
    assert company.industries == (known.industry, known.second_industry)
    assert company.keywords == known.keywords
    assert company.technology_uids == tuple(one.uid for one in known.technologies)
    assert company.annual_revenue_printed
    assert company.state == known.state
    assert company.address
    assert company.address.startswith(known.street)
    assert company.phone == "+" + "".join(filter(str.isdigit, known.phone))


def test_junk_in_the_further_fields_is_unknown_field_by_field() -> None:
    organization = {
        "id": "o1",
        "name": "Acme",
        "funding_events": [
            None,
            {"date": "never", "type": 4.5},
            {"date": "2020-02-30", "amount": "1M"},
            {"date": "2021-05-01T00:00:00.000+00:00", "type": "Seed", "investors": ["a"]},
        ],
        "departmental_head_count": {"sales": 3, "it": -1, "": 4, "legal": "7", "board": True},
        "industries": "logistics",
        "keywords": ["a", {"b": 1}, "a"],
        "current_technologies": [{"uid": "nginx", "name": "Nginx"}, {"uid": None}, "x"],
        "total_funding": "1000",
        "annual_revenue_printed": 12,
        "organization_headcount_six_month_growth": float(10**9),
        "organization_headcount_twenty_four_month_growth": True,
        "sanitized_phone": "call us",
        "raw_address": {"street": "x"},
        "state": [],
    }
    with scripted(Reply.json({"organization": organization})) as (apollo, _):
        company = apollo.enrich(a_caller(), "acme.example")
    assert company == Company(
        id="o1",
        name="Acme",
        domain="acme.example",
        technologies=("Nginx",),
        technology_uids=("nginx",),
        headcount_by_department={"sales": 3},
        keywords=("a",),
        annual_revenue_printed="12",
        funding_events=(
            FundingEvent("2021-05-01", "Seed", None, None, None),
            FundingEvent(None, None, "1M", None, None),
        ),
    )


# Several at once


def in_bulk(*organizations: object, missing: object = 0, **more: object) -> Reply:
    return Reply.json(
        {"status": "success", "missing_records": missing, "organizations": list(organizations), **more}
    )


def org(company_id: str, primary_domain: object, **more: object) -> dict[str, Any]:
    return {"id": company_id, "name": company_id.upper(), "primary_domain": primary_domain, **more}


def test_ten_companies_are_one_call_and_a_credit_each(apollo: ApolloClient, sandbox: Sandbox) -> None:
    known = sandbox.world.companies[5:14]
    caller = a_caller(call_id="use_9")
    found = apollo.enrich_many(
        caller, [known[0].domain.upper(), *(one.domain for one in known[1:]), "nobody.example"]
    )
    assert list(found) == [known[0].domain.upper(), *(one.domain for one in known[1:]), "nobody.example"]
    ids = [company and company.id for company in found.values()]
    assert ids == [*(one.id for one in known), None]
    [entry] = sandbox.ledger.entries()
    assert (entry.call, entry.credits, credits_of(caller)) == ("use_9", 9, 9)


def test_a_bulk_call_and_single_ones_tell_the_same(apollo: ApolloClient, sandbox: Sandbox) -> None:
    domains = [one.domain for one in sandbox.world.companies[:4]]
    singly = {domain: apollo.enrich(a_caller(), domain) for domain in domains}
    assert apollo.enrich_many(a_caller(), domains) == singly


def test_companies_are_told_apart_by_domain_and_not_by_place() -> None:
    """Seen red with the rows taken in the order in which they were asked for."""
    rows = [org("c", "c.example"), None, org("a", None, domain="A.example"), org("x", "x.example")]
    with scripted(in_bulk(*rows, missing=1)) as (apollo, server):
        found = apollo.enrich_many(a_caller(), ["a.example", "b.example", "c.example"])
    assert server.received[0].json == {"details": [{"domain": f"{one}.example"} for one in "abc"]}
    assert {domain: company and company.id for domain, company in found.items()} == {
        "a.example": "a",
        "b.example": None,
        "c.example": "c",
    }


def test_a_company_that_moved_is_the_one_that_is_left_if_none_was_missed() -> None:
    rows = [org("b", "b.example"), org("new", "renamed.example")]
    with scripted(in_bulk(*rows, missing=0)) as (apollo, _):
        found = apollo.enrich_many(a_caller(), ["old.example", "b.example"])
    moved = found["old.example"]
    assert moved is not None
    assert (moved.id, moved.domain) == ("new", "old.example")


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([org("b", "b.example"), org("new", "renamed.example")], 1),
        ([org("b", "b.example"), org("new", "renamed.example")], None),
        ([org("x", "x.example"), org("y", "y.example")], 0),
    ],
    ids=["one was missed", "not told", "two are left"],
)
def test_a_company_that_may_be_another_is_nobodys(rows: list[object], missing: object) -> None:
    with scripted(in_bulk(*rows, missing=missing)) as (apollo, _):
        found = apollo.enrich_many(a_caller(), ["old.example", "b.example"])
    assert found["old.example"] is None


@pytest.mark.parametrize(
    ("told", "credits_due"),
    [(2, 2), (0, 0), (None, 3), ("2", 3), (-4, 3), (10**9, 3)],
    ids=["told", "told none", "not told", "text", "less than nothing", "beyond reason"],
)
def test_what_apollo_says_it_enriched_is_booked(told: object, credits_due: int) -> None:
    rows = [org("a", "a.example"), org("b", "b.example"), org("c", "c.example"), org("c", "c.example")]
    caller = a_caller()
    with scripted(in_bulk(*rows, unique_enriched_records=told)) as (apollo, _):
        apollo.enrich_many(caller, ["a.example", "b.example", "c.example"])
    assert credits_of(caller) == credits_due


def test_the_same_company_twice_is_asked_for_once(apollo: ApolloClient, sandbox: Sandbox) -> None:
    known = sandbox.world.companies[3]
    caller = a_caller()
    found = apollo.enrich_many(caller, [known.domain, f"www.{known.domain}"])
    assert {company and company.id for company in found.values()} == {known.id}
    assert (len(found), credits_of(caller)) == (2, 1)


@pytest.mark.parametrize(
    ("domains", "code"),
    [
        ([f"c{number}.example" for number in range(11)], "too_many_at_once"),
        (["a.example", "no domain"], "no_domain"),
    ],
)
def test_more_than_ten_or_what_is_no_domain_is_refused_before_it_costs(domains: list[str], code: str) -> None:
    with scripted(in_bulk()) as (apollo, server), pytest.raises(Invalid) as told:
        apollo.enrich_many(a_caller(), domains)
    assert (told.value.code, server.received) == (code, [])


def test_nobody_is_asked_for_nobody() -> None:
    with scripted(in_bulk()) as (apollo, server):
        assert apollo.enrich_many(a_caller(), []) == {}
    assert server.received == []


def test_a_bulk_answer_that_cannot_be_read_is_booked_at_worst() -> None:
    caller = a_caller()
    with scripted(Reply(200, b"<html>")) as (apollo, _), pytest.raises(ProviderFailed):
        apollo.enrich_many(caller, ["a.example", "b.example", "c.example"])
    assert credits_of(caller) == 3


# Whatever comes

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    *("id", "organization_id", "name", "domain", "primary_domain", "website_url", "linkedin_url", "industry"),
    *("industries", "keywords", "estimated_num_employees", "annual_revenue", "annual_revenue_printed"),
    *("total_funding", "funding_events", "technology_names", "current_technologies", "short_description"),
    *("departmental_head_count", "founded_year", "latest_funding_round_date", "primary_phone"),
    *("organization_headcount_six_month_growth", "sanitized_phone"),
]
organizations = st.dictionaries(st.sampled_from(FIELDS), junk, max_size=8) | junk
answers = st.fixed_dictionaries(
    {},
    optional={
        "organization": organizations,
        "organizations": st.lists(organizations, max_size=3) | junk,
        "accounts": st.lists(organizations, max_size=3) | junk,
        "pagination": junk,
        "missing_records": junk,
        "unique_enriched_records": junk,
    },
)


@given(answers)
def test_no_answer_is_too_strange(answer: dict[str, Any]) -> None:
    page = companies.company_page(answer, page=1, per_page=25)
    assert all(stub.id and stub.name for stub in page.companies)
    one = companies.company(answer, domain="acme.example")
    many = companies.companies(answer, asked=["acme.example", "b.example"])
    assert set(many) == {"acme.example", "b.example"}
    assert one is None or (one.id and one.name and one.domain == "acme.example")
    prices = (companies.price_of_page, companies.price_of_one, companies.price_of_many)
    assert all(0 <= price(answer) <= 100 for price in prices)
