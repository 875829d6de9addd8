"""News about companies, which Apollo sells by the page."""

from typing import Any

import httpx
import pytest

from sandbox.server import Sandbox
from sandbox.world import World

NEWS = "news_articles/search"


def found(apollo: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = apollo.post(NEWS, json=body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_a_companys_news_comes_newest_first_and_costs_a_credit_a_page(
    apollo: httpx.Client, world: World, sandbox: Sandbox
) -> None:
    company = next(company for company in world.companies if len(company.news) > 2)
    content = found(apollo, organization_ids=[company.id])
    assert [one["id"] for one in content["news_articles"]] == [one.id for one in company.news]
    first = content["news_articles"][0]
    assert company.name in first["title"]
    assert first["domain"] in first["url"]
    assert first["published_at"].startswith(company.news[0].on.isoformat())
    assert content["pagination"]["total_entries"] == len(company.news)
    assert sandbox.ledger.totals()["apollo"]["credits"] == 1


def test_news_can_be_narrowed_by_category_and_day(apollo: httpx.Client, world: World) -> None:
    company = next(company for company in world.companies if len(company.funding) > 1)
    rounds = found(apollo, organization_ids=[company.id], categories=["investment"])["news_articles"]
    assert {one["id"] for one in rounds} == {event.id for event in company.funding}
    latest = company.funding[-1]
    since = found(
        apollo,
        organization_ids=[company.id],
        categories=["investment"],
        published_at={"min": latest.on.isoformat()},
    )
    assert [one["id"] for one in since["news_articles"]] == [latest.id]


def test_a_round_of_money_names_the_article_about_it(apollo: httpx.Client, world: World) -> None:
    company = next(company for company in world.companies if company.funding)
    rounds = apollo.get("organizations/enrich", params={"domain": company.domain}).json()["organization"]
    articles = {
        one["id"]: one["url"] for one in found(apollo, organization_ids=[company.id])["news_articles"]
    }
    assert all(event["news_url"] == articles[event["id"]] for event in rounds["funding_events"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"organization_ids": []},
        {"organization_ids": ["x"], "per_page": 26},
        {"organization_ids": ["x"], "published_at": {"min": "last week"}},
    ],
)
def test_news_without_a_company_or_with_an_odd_page_or_day_is_a_422(
    apollo: httpx.Client, body: dict[str, Any]
) -> None:
    assert apollo.post(NEWS, json=body).status_code == 422


def test_no_news_is_free(apollo: httpx.Client, sandbox: Sandbox) -> None:
    assert found(apollo, organization_ids=["nobody"])["news_articles"] == []
    assert sandbox.ledger.totals()["apollo"]["credits"] == 0
