"""Enrichment: what is found by what, what comes back, what it costs."""

from typing import Any

import httpx
import pytest

from sandbox.records import PLACEHOLDER_EMAIL
from sandbox.server import Sandbox
from sandbox.world import Company, Person, World


def credits_left(apollo: httpx.Client) -> int:
    usage = apollo.post("usage_stats/credit_usage_stats", json={}).json()
    left: int = usage["credit_usage_stats"]["lead_credit"]["left_over"]
    return left


def someone(world: World, **wanted: Any) -> Person:
    """The first person of whom every named attribute is as wanted."""
    return next(p for p in world.people if all(getattr(p, name) == value for name, value in wanted.items()))


@pytest.mark.parametrize("by", ["domain", "linkedin_url", "name", "website"])
def test_a_company_is_enriched_by_any_of_its_marks(apollo: httpx.Client, world: World, by: str) -> None:
    company = world.companies[20]
    marks = {
        "domain": company.domain,
        "linkedin_url": company.linkedin_url,
        "name": company.name,
        "website": f"https://www.{company.domain}/about",
    }
    found = apollo.get("organizations/enrich", params={by: marks[by]}).json()["organization"]
    assert found["id"] == company.id
    assert found["estimated_num_employees"] == company.employees
    assert found["industry"] == company.industry
    assert found["short_description"] == company.short_description
    assert found["organization_headcount_twelve_month_growth"] == company.growth[1]


def test_an_enriched_companys_money_is_told_in_both_forms(apollo: httpx.Client, world: World) -> None:
    company = next(company for company in world.companies if len(company.funding) > 1)
    found = apollo.get("organizations/enrich", params={"domain": company.domain}).json()["organization"]
    assert found["total_funding"] == company.total_funding
    assert found["latest_funding_stage"] == company.funding[-1].stage
    assert len(found["funding_events"]) == len(company.funding)
    assert found["annual_revenue_printed"][-1] in "KMB"


def test_an_unknown_company_is_null_and_free(apollo: httpx.Client, sandbox: Sandbox) -> None:
    found = apollo.get("organizations/enrich", params={"domain": "nobody.example"})
    assert (found.status_code, found.json()) == (200, {"organization": None})
    assert sandbox.ledger.totals()["apollo"]["credits"] == 0


def test_companies_in_bulk_cost_one_each_and_leave_the_missing_out(
    apollo: httpx.Client, world: World, sandbox: Sandbox
) -> None:
    wanted = [world.companies[5], world.companies[6]]
    details = [{"domain": company.domain} for company in wanted] + [{"domain": "nobody.example"}]
    content = apollo.post("organizations/bulk_enrich", json={"details": details}).json()
    assert (content["total_requested_domains"], content["unique_enriched_records"]) == (3, 2)
    assert content["missing_records"] == 1
    assert {found["id"] for found in content["organizations"]} == {company.id for company in wanted}
    assert sandbox.ledger.totals()["apollo"]["credits"] == 2


@pytest.mark.parametrize("path", ["organizations/bulk_enrich", "people/bulk_match"])
def test_bulk_takes_at_most_ten(apollo: httpx.Client, path: str) -> None:
    refused = apollo.post(path, json={"details": [{"domain": "a.example"}] * 11})
    assert refused.status_code == 400
    assert refused.json()["status"] == "failed"
    assert refused.json()["error_code"] == "RECORD_LIMIT_EXCEEDED"


@pytest.mark.parametrize("body", [{}, {"details": []}, {"details": "a.example"}, {"details": ["a.example"]}])
def test_bulk_without_records_is_an_invalid_request(apollo: httpx.Client, body: dict[str, Any]) -> None:
    refused = apollo.post("people/bulk_match", json=body)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("by", ["id", "email", "linkedin_url", "name and domain", "names and employer"])
def test_a_person_is_matched_by_any_of_their_marks(apollo: httpx.Client, world: World, by: str) -> None:
    person = someone(world, email_status="verified")
    company = world.company_of(person)
    body = {
        "id": {"id": person.id},
        "email": {"email": person.email},
        "linkedin_url": {"linkedin_url": person.linkedin_url},
        "name and domain": {"name": person.name, "domain": company.domain},
        "names and employer": {
            "first_name": person.first_name,
            "last_name": person.last_name,
            "organization_name": company.name,
        },
    }[by]
    found = apollo.post("people/match", json=body).json()["person"]
    assert found["id"] == person.id
    assert found["email"] == person.email
    assert found["organization"]["id"] == found["organization_id"] == company.id
    assert found["employment_history"][0]["organization_name"] == company.name


def test_a_match_costs_one_and_a_mobile_eight_more(apollo: httpx.Client, world: World) -> None:
    reachable = next(person for person in world.people if person.mobile)
    before = credits_left(apollo)
    plain = apollo.post("people/match", json={"id": reachable.id}).json()["person"]
    after_plain = credits_left(apollo)
    revealed = apollo.post("people/match", json={"id": reachable.id, "reveal_phone_number": True}).json()[
        "person"
    ]
    assert before - after_plain == 1
    assert after_plain - credits_left(apollo) == 9
    assert "phone_numbers" not in plain
    assert revealed["phone_numbers"][0]["raw_number"] == reachable.mobile


def test_no_mobile_no_surcharge(apollo: httpx.Client, world: World, sandbox: Sandbox) -> None:
    silent = someone(world, mobile=None)
    apollo.post("people/match", json={"id": silent.id, "reveal_phone_number": True})
    assert sandbox.ledger.totals()["apollo"]["credits"] == 1


def test_nobody_found_is_null_and_free(apollo: httpx.Client, sandbox: Sandbox) -> None:
    content = apollo.post("people/match", json={"email": "nobody@nowhere.example"}).json()
    assert content["person"] is None
    assert isinstance(content["request_id"], int)
    assert sandbox.ledger.totals()["apollo"]["credits"] == 0


def test_matching_again_is_charged_again(apollo: httpx.Client, world: World, sandbox: Sandbox) -> None:
    for _ in range(2):
        apollo.post("people/match", json={"id": world.people[0].id})
    first, second = sandbox.ledger.entries()
    assert first.credits == second.credits == 1
    assert first.request_hash == second.request_hash


def test_matches_in_bulk_stand_in_the_order_of_the_details(apollo: httpx.Client, world: World) -> None:
    first, second = world.people[8], world.people[4]
    details = [{"id": first.id}, {"id": "0" * 24}, {"id": second.id}, {"id": first.id}]
    content = apollo.post("people/bulk_match", json={"details": details}).json()
    assert [match and match["id"] for match in content["matches"]] == [first.id, None, second.id, first.id]
    assert (content["credits_consumed"], content["missing_records"]) == (2, 1)


def test_a_locked_address_comes_as_the_placeholder(apollo: httpx.Client, world: World) -> None:
    locked = someone(world, email=PLACEHOLDER_EMAIL)
    assert apollo.post("people/match", json={"id": locked.id}).json()["person"]["email"] == PLACEHOLDER_EMAIL


def test_a_person_without_an_address_is_unavailable(apollo: httpx.Client, world: World) -> None:
    found = apollo.post("people/match", json={"id": someone(world, email=None).id}).json()["person"]
    assert (found["email"], found["email_status"]) == (None, "unavailable")


def test_a_company_asked_for_twice_is_one_record_and_one_credit(
    apollo: httpx.Client, world: World, sandbox: Sandbox
) -> None:
    company = world.companies[5]
    details = [{"domain": company.domain}, {"domain": company.domain}]
    content = apollo.post("organizations/bulk_enrich", json={"details": details}).json()
    counts = ("total_requested_domains", "unique_domains", "unique_enriched_records", "missing_records")
    assert [content[name] for name in counts] == [2, 1, 1, 0]
    assert len(content["organizations"]) == 1
    assert sandbox.ledger.totals()["apollo"]["credits"] == 1


def test_companies_in_bulk_do_not_stand_in_the_order_of_the_details(
    apollo: httpx.Client, world: World
) -> None:
    def order(companies: list[Company]) -> list[str]:
        details = [{"domain": company.domain} for company in companies]
        content = apollo.post("organizations/bulk_enrich", json={"details": details}).json()
        return [found["id"] for found in content["organizations"]]

    wanted = list(world.companies[10:16])
    assert order(wanted) == order(wanted[::-1]) == sorted(company.id for company in wanted)


def test_companies_in_bulk_may_be_named_in_the_query_string(apollo: httpx.Client, world: World) -> None:
    domains = [company.domain for company in world.companies[:2]]
    content = apollo.post("organizations/bulk_enrich", params={"domains[]": domains}).json()
    assert {found["primary_domain"] for found in content["organizations"]} == set(domains)


def test_a_person_is_matched_by_the_query_string_too(apollo: httpx.Client, world: World) -> None:
    person = world.people[3]
    assert apollo.post("people/match", params={"id": person.id}).json()["person"]["id"] == person.id


def test_matches_may_come_in_another_order_without_the_unknown(
    apollo: httpx.Client, control: httpx.Client, world: World
) -> None:
    control.post("/_control/faults", json={"kind": "reordered", "times": 1})
    first, second = world.people[8], world.people[4]
    details = [{"id": first.id}, {"id": "0" * 24}, {"id": second.id}]
    content = apollo.post("people/bulk_match", json={"details": details}).json()
    assert [match["id"] for match in content["matches"]] == [second.id, first.id]
    assert content["missing_records"] == 1


def test_a_mobile_in_bulk_costs_eight_more(apollo: httpx.Client, world: World, sandbox: Sandbox) -> None:
    reachable = next(person for person in world.people if person.mobile)
    silent = someone(world, mobile=None)
    body = {"details": [{"id": reachable.id}, {"id": silent.id}], "reveal_phone_number": True}
    assert apollo.post("people/bulk_match", json=body).json()["credits_consumed"] == 10
    assert sandbox.ledger.totals()["apollo"]["credits"] == 10


def test_the_request_id_may_be_negative(apollo: httpx.Client, world: World) -> None:
    ids = [
        apollo.post("people/match", json={"id": person.id}).json()["request_id"]
        for person in world.people[:12]
    ]
    assert any(one < 0 for one in ids)
    assert any(one > 0 for one in ids)


@pytest.mark.parametrize("status", ["verified", "extrapolated", "unavailable"])
def test_each_kind_of_address_is_told(apollo: httpx.Client, world: World, status: str) -> None:
    person = someone(world, email_status=status)
    found = apollo.post("people/match", json={"id": person.id}).json()["person"]
    assert found["email_status"] == status
    assert {"headline", "departments", "functions", "seniority", "employment_history"} <= found.keys()


def test_a_company_without_money_has_no_rounds(apollo: httpx.Client, world: World) -> None:
    company = next(company for company in world.companies if not company.funding)
    found = apollo.get("organizations/enrich", params={"domain": company.domain}).json()["organization"]
    assert found["funding_events"] == []
    names = ("total_funding", "latest_funding_stage", "latest_funding_round_date")
    assert [found[name] for name in names] == [None, None, None]
