"""Apollo's refusals, in the odd forms they really have."""

import json

import httpx
import pytest

from sandbox.server import Sandbox

SEARCH = "mixed_companies/search"
ENRICH = "organizations/enrich"


def with_key(key: str) -> dict[str, str]:
    return {"x-api-key": key}


@pytest.mark.parametrize("key", ["bad-key", "something-else", ""])
def test_a_bad_key_is_a_401_in_plain_text(apollo: httpx.Client, key: str) -> None:
    refused = apollo.post(SEARCH, json={}, headers=with_key(key))
    assert refused.status_code == 401
    assert refused.headers["content-type"].startswith("text/plain")
    assert refused.text.startswith("Invalid API key")


@pytest.mark.parametrize(
    ("key", "logged_in"),
    [("sandbox-apollo-key", True), ("sandbox-apollo-key-of-another-team", True), ("unknown", False)],
)
def test_the_key_check_tells_a_known_key_from_another(
    apollo: httpx.Client, key: str, *, logged_in: bool
) -> None:
    checked = apollo.get("auth/health", headers=with_key(key))
    assert (checked.status_code, checked.json()) == (200, {"healthy": True, "is_logged_in": logged_in})


def test_the_key_check_refuses_a_bad_key(apollo: httpx.Client) -> None:
    assert apollo.get("auth/health", headers=with_key("bad-key")).status_code == 401


def test_a_free_plan_passes_the_key_check_and_may_do_nothing(apollo: httpx.Client) -> None:
    assert apollo.get("auth/health", headers=with_key("free-plan-key")).json()["is_logged_in"] is True
    refused = apollo.post(SEARCH, json={}, headers=with_key("free-plan-key"))
    assert refused.status_code == 403
    assert refused.json()["error_code"] == "API_INACCESSIBLE"


def test_without_credit_paid_calls_are_422_and_free_ones_work(apollo: httpx.Client, sandbox: Sandbox) -> None:
    headers = with_key("no-credit-key")
    assert apollo.post("mixed_people/api_search", json={}, headers=headers).status_code == 200
    refused = apollo.post(SEARCH, json={}, headers=headers)
    assert refused.status_code == 422
    assert refused.json() == {"error": "Insufficient credits. Please upgrade your plan."}
    assert sandbox.ledger.totals()["apollo"]["credits"] == 0


def test_credits_run_out_when_they_are_spent(apollo: httpx.Client, control: httpx.Client) -> None:
    key = "sandbox-apollo-key-with-two-credits"
    assert control.post("/_control/credits", json={"key": key, "credits": 2}).status_code == 200
    answers = [apollo.post(SEARCH, json={"page": page}, headers=with_key(key)) for page in (1, 2, 3)]
    assert [answer.status_code for answer in answers] == [200, 200, 422]


def test_the_limits_are_told_and_an_unlimited_window_is_empty(apollo: httpx.Client) -> None:
    headers = apollo.post(SEARCH, json={}).headers
    assert int(headers["x-rate-limit-minute"]) - int(headers["x-minute-usage"]) == int(
        headers["x-minute-requests-left"]
    )
    assert headers["x-rate-limit-24-hour"] == headers["x-24-hour-requests-left"] == ""


def test_a_tight_limit_ends_in_a_429_with_a_time_to_wait(apollo: httpx.Client) -> None:
    # Twelve calls are too many for five a minute even where the minute turns between them.
    refused = [apollo.post(SEARCH, json={}, headers=with_key("limited-key")) for _ in range(12)][-1]
    assert refused.status_code == 429
    assert "maximum number of api calls allowed" in refused.json()["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 60


def test_the_old_names_answer_422(apollo: httpx.Client) -> None:
    for path in ("mixed_people/search", "people/search", "organizations/search"):
        assert apollo.post(path, json={}).status_code == 422


def test_the_bare_base_answers_with_nothing(control: httpx.Client) -> None:
    answer = control.post(f"/v1/{SEARCH}", headers=with_key("sandbox-apollo-key"), json={})
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


def test_apollo_reads_no_other_header_for_its_key(control: httpx.Client, sandbox: Sandbox) -> None:
    headers = {"authorization": "Bearer sandbox-apollo-key"}
    assert control.post(f"/api/v1/{SEARCH}", json={}, headers=headers).status_code == 401


def test_a_key_without_the_scope_sees_no_usage_and_searches_all_the_same(apollo: httpx.Client) -> None:
    headers = with_key("no-scope-key")
    for path in ("usage_stats/api_usage_stats", "usage_stats/credit_usage_stats"):
        refused = apollo.post(path, json={}, headers=headers)
        assert (refused.status_code, refused.json()["error_code"]) == (403, "API_INACCESSIBLE")
    assert apollo.post(SEARCH, json={}, headers=headers).status_code == 200


def test_out_of_credits_has_two_forms(apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox) -> None:
    said = set[str]()
    for kind, status in (("no_credit", 422), ("payment_required", 402)):
        control.post("/_control/faults", json={"kind": kind, "times": 1})
        refused = apollo.post(SEARCH, json={})
        assert refused.status_code == status
        said.add(refused.json()["error"])
    assert said == {"Insufficient credits. Please upgrade your plan."}
    assert sandbox.ledger.totals()["apollo"]["credits"] == 0


def test_a_429_may_hold_its_json_in_a_string(apollo: httpx.Client, control: httpx.Client) -> None:
    control.post("/_control/faults", json={"kind": "string_429", "retry_after": 4, "times": 1})
    refused = apollo.post(SEARCH, json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "4")
    wrapped = refused.json()
    assert isinstance(wrapped, str)
    assert "maximum number of api calls allowed" in json.loads(wrapped)["message"]


@pytest.mark.parametrize(
    "path", [SEARCH, "mixed_people/api_search", "people/match", "people/bulk_match", "news_articles/search"]
)
def test_the_bare_base_answers_every_endpoint_with_nothing(control: httpx.Client, path: str) -> None:
    answer = control.post(f"/v1/{path}", headers=with_key("sandbox-apollo-key"), json={})
    content = answer.json()
    assert answer.status_code == 200
    assert content["pagination"]["total_entries"] == content["total_entries"] == 0
    assert content["organizations"] == content["accounts"] == content["people"] == []


def test_a_method_or_path_that_apollo_does_not_have_is_a_404(apollo: httpx.Client) -> None:
    assert apollo.get(SEARCH).status_code == 404
    assert apollo.post("organizations/delete", json={}).status_code == 404
