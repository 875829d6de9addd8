"""Apollo's refusals, in the odd forms they really have."""

import httpx
import pytest

from sandbox.server import Sandbox

SEARCH = "mixed_companies/search"
ENRICH = "organizations/enrich"


def with_key(sandbox: Sandbox, key: str) -> httpx.Client:
    return httpx.Client(base_url=sandbox.apollo_url, headers={"x-api-key": key} if key else {})


@pytest.mark.parametrize("key", ["bad-key", "something-else", ""])
def test_a_bad_key_is_a_401_in_plain_text(sandbox: Sandbox, key: str) -> None:
    with with_key(sandbox, key) as client:
        refused = client.post(SEARCH, json={})
    assert refused.status_code == 401
    assert refused.headers["content-type"].startswith("text/plain")
    assert refused.text.startswith("Invalid API key")


def test_the_key_check_tells_a_good_key_from_the_others(sandbox: Sandbox) -> None:
    answers = dict[str, tuple[int, str]]()
    for key in ("sandbox-apollo-key", "sandbox-apollo-key-of-another-team", "unknown", "bad-key"):
        with with_key(sandbox, key) as client:
            checked = client.get("auth/health")
            answers[key] = (checked.status_code, checked.text)
    good, bad = '{"healthy":true,"is_logged_in":true}', '{"healthy":true,"is_logged_in":false}'
    assert answers["sandbox-apollo-key"] == answers["sandbox-apollo-key-of-another-team"] == (200, good)
    assert answers["unknown"] == (200, bad)
    assert answers["bad-key"][0] == 401


def test_a_free_plan_passes_the_key_check_and_may_do_nothing(sandbox: Sandbox) -> None:
    with with_key(sandbox, "free-plan-key") as client:
        assert client.get("auth/health").json()["is_logged_in"] is True
        refused = client.post(SEARCH, json={})
    assert refused.status_code == 403
    assert refused.json()["error_code"] == "API_INACCESSIBLE"


def test_without_credit_paid_calls_are_422_and_free_ones_work(sandbox: Sandbox) -> None:
    with with_key(sandbox, "no-credit-key") as client:
        refused = client.post(SEARCH, json={})
        assert client.post("mixed_people/api_search", json={}).status_code == 200
    assert refused.status_code == 422
    assert refused.json() == {"error": "Insufficient credits. Please upgrade your plan."}
    assert sandbox.ledger.totals()["apollo"]["credits"] == 0


def test_credits_run_out_when_they_are_spent(sandbox: Sandbox, control: httpx.Client) -> None:
    key = "sandbox-apollo-key-with-two-credits"
    assert control.post("/_control/credits", json={"key": key, "credits": 2}).status_code == 200
    with with_key(sandbox, key) as client:
        statuses = [client.post(SEARCH, json={"page": page}).status_code for page in (1, 2, 3)]
    assert statuses == [200, 200, 422]


def test_the_limits_are_told_and_an_unlimited_window_is_empty(apollo: httpx.Client) -> None:
    headers = apollo.post(SEARCH, json={}).headers
    assert int(headers["x-rate-limit-minute"]) - int(headers["x-minute-usage"]) == int(
        headers["x-minute-requests-left"]
    )
    assert headers["x-rate-limit-24-hour"] == headers["x-24-hour-requests-left"] == ""


def test_a_tight_limit_ends_in_a_429_with_a_time_to_wait(sandbox: Sandbox) -> None:
    with with_key(sandbox, "limited-key") as client:
        answers = [client.post(SEARCH, json={}) for _ in range(12)]
    refused = answers[-1]
    assert refused.status_code == 429
    assert "maximum number of api calls allowed" in refused.json()["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 60


def test_the_old_names_answer_422(apollo: httpx.Client) -> None:
    for path in ("mixed_people/search", "people/search", "organizations/search"):
        assert apollo.post(path, json={}).status_code == 422


def test_the_bare_base_answers_with_nothing(sandbox: Sandbox) -> None:
    answer = httpx.post(f"{sandbox.url}/v1/{SEARCH}", headers={"x-api-key": "sandbox-apollo-key"}, json={})
    assert answer.status_code == 200
    assert answer.json()["organizations"] == answer.json()["accounts"] == []


def test_enriching_without_a_mark_is_a_422(apollo: httpx.Client) -> None:
    assert apollo.get(ENRICH).status_code == 422


def test_usage_counts_the_calls(apollo: httpx.Client) -> None:
    def consumed() -> int:
        usage = apollo.post("usage_stats/api_usage_stats", json={}).json()
        counted: int = usage['["api/v1/mixed_companies", "search"]']["day"]["consumed"]
        return counted

    before = consumed()
    apollo.post(SEARCH, json={})
    assert consumed() == before + 1
