"""Apollo's rate windows: fixed, by key and endpoint, told in headers and counted to the end."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from sandbox.server import Sandbox

SEARCH = "mixed_companies/search"
PEOPLE = "mixed_people/api_search"
ENRICH = "organizations/enrich"
MINUTE, HOUR, DAY = 60, 3_600, 86_400
START = 20_000 * DAY  # a midnight


@dataclass(slots=True)
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(clock: Clock) -> Iterator[httpx.Client]:
    """A client of a sandbox whose minutes pass when the test says so."""
    with Sandbox(clock=clock) as sandbox, httpx.Client(base_url=sandbox.apollo_url) as client:
        yield client


def people(client: httpx.Client, key: str) -> httpx.Response:
    return client.post(PEOPLE, json={"per_page": 1}, headers={"x-api-key": key})


def test_a_free_plan_has_fifty_calls_a_minute_two_hundred_an_hour_and_six_hundred_a_day(
    timed: httpx.Client, clock: Clock
) -> None:
    served = 0
    for hour in range(4):
        for minute in range(5):
            clock.now = START + hour * HOUR + minute * MINUTE
            answers = [people(timed, "free-limits-key") for _ in range(51)]
            served += sum(answer.status_code == 200 for answer in answers)
            refused = answers[-1]
            assert refused.status_code == 429
            if (hour, minute) == (0, 0):
                assert [answer.status_code for answer in answers].count(200) == 50
                assert "50 times per minute" in refused.json()["message"]
            if (hour, minute) == (0, 4):
                assert "200 times per hour" in refused.json()["message"]
                assert refused.headers["retry-after"] == str(HOUR - 4 * MINUTE)
            if hour == 3:
                assert "600 times per day" in refused.json()["message"]
    assert served == 600


def test_a_paid_plan_has_two_hundred_searches_a_minute(timed: httpx.Client) -> None:
    answers = [people(timed, "paid-plan-key") for _ in range(201)]
    assert [answer.status_code for answer in answers] == [200] * 200 + [429]
    headers = answers[0].headers
    limits = [headers[f"x-rate-limit-{window}"] for window in ("minute", "hourly", "24-hour")]
    assert limits == ["200", "6000", "50000"]
    assert answers[199].headers["x-minute-requests-left"] == "0"


def test_enrichment_has_a_limit_of_its_own_and_none_by_hour_or_day(timed: httpx.Client) -> None:
    headers = timed.get(
        ENRICH, params={"domain": "nobody.example"}, headers={"x-api-key": "paid-plan-key"}
    ).headers
    assert headers["x-rate-limit-minute"] == "1000"
    for window in ("hourly", "24-hour"):
        assert headers[f"x-rate-limit-{window}"] == headers[f"x-{window}-requests-left"] == ""
        assert headers[f"x-{window}-usage"] == "1"


def test_each_endpoint_and_each_key_has_its_own_windows(timed: httpx.Client) -> None:
    key = {"x-api-key": "limited-key"}
    assert [people(timed, "limited-key").status_code for _ in range(6)] == [200] * 5 + [429]
    assert timed.post(SEARCH, json={}, headers=key).status_code == 200
    assert people(timed, "limited-key-of-another-team").status_code == 200


def test_a_window_is_fixed_and_the_next_one_begins_empty(timed: httpx.Client, clock: Clock) -> None:
    clock.now = START + 50
    assert [people(timed, "limited-key").status_code for _ in range(6)] == [200] * 5 + [429]
    assert people(timed, "limited-key").headers["retry-after"] == "10"
    clock.now = START + MINUTE
    assert people(timed, "limited-key").headers["x-minute-usage"] == "1"


def test_a_call_that_was_refused_does_not_count(timed: httpx.Client) -> None:
    for _ in range(8):
        people(timed, "limited-key")
    usage = timed.post("usage_stats/api_usage_stats", json={}, headers={"x-api-key": "limited-key"}).json()
    assert usage['["api/v1/mixed_people", "api_search"]']["minute"] == {
        "limit": 5,
        "consumed": 5,
        "left_over": 0,
    }
