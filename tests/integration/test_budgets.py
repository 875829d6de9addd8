"""A month's budget over HTTP: what is booked, where the month leads, and the thresholds it has reached."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.domain.access import Role
from local.postgres import Postgres
from tests.builders import a_run, rows
from tests.conftest import Tenant, a_tenant
from tests.integration.http_world import Api, an_api, data_of


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


@pytest.fixture
def tenant(api: Api) -> Iterator[Tenant]:
    yield a_tenant(api.world.database, "Frugal")
    api.clock.moment = None


def spend(api: Api, tenant: Tenant, *, credit: int, dollars: str | None = "0") -> None:
    """A call that was made, booked now."""
    run_id = a_run(api.world.database, tenant.manager)
    rows(
        api.world.database,
        tenant.manager,
        "INSERT INTO usage_entries (id, customer_id, run_id, step_key, lease_token, provider, operation, credits,"
        " dollars) VALUES (new_id('use'), :customer, :run, 'a', 'a token', 'apollo', 'a call', :credit,"
        " CAST(:dollars AS numeric)) RETURNING id",
        customer=tenant.customer_id,
        run=run_id,
        credit=credit,
        dollars=dollars,
    )
    rows(
        api.world.database,
        tenant.manager,
        "UPDATE usage_entries SET status = 'settled' WHERE status = 'reserved' RETURNING id",
    )


def budget(api: Api, tenant: Tenant, **caps: Any) -> Any:
    if not caps:
        return data_of(api.send("GET", "/v1/budgets", tenant.rep))
    return data_of(api.send("PUT", "/v1/budgets", tenant.people[Role.ADMIN], body=caps))


def test_a_month_is_projected_as_a_straight_line(api: Api, tenant: Tenant) -> None:
    """Ten of the 31 days are over. Seen red with months of 30 days."""
    api.clock.moment = datetime(2026, 3, 11, tzinfo=UTC)
    spend(api, tenant, credit=100, dollars="2")
    told = budget(api, tenant)
    assert (told["creditsSpent"], told["creditsProjected"]) == (100, 310)
    assert (told["dollarsSpent"], told["dollarsProjected"]) == (2, 6.2)
    assert told["unpricedCalls"] == 0


def test_a_months_first_day_says_too_little(api: Api, tenant: Tenant) -> None:
    api.clock.moment = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    spend(api, tenant, credit=100)
    assert budget(api, tenant)["creditsProjected"] is None
    api.clock.moment = datetime(2026, 3, 2, tzinfo=UTC)
    assert budget(api, tenant)["creditsProjected"] == 3100


def test_dollars_say_whether_calls_of_unknown_price_come_on_top(api: Api, tenant: Tenant) -> None:
    spend(api, tenant, credit=0, dollars=None)
    assert budget(api, tenant)["unpricedCalls"] == 1


def test_the_months_thresholds_are_shown_and_the_last_months_are_not(api: Api, tenant: Tenant) -> None:
    api.clock.moment = datetime(2026, 3, 20, tzinfo=UTC)
    assert budget(api, tenant, version=0, monthlyCredits=10, monthlyDollars=None)["thresholds"] == []
    spend(api, tenant, credit=9)
    (reached,) = budget(api, tenant)["thresholds"]
    assert reached == {
        "unit": "credits",
        "threshold": 80,
        "cap": 10,
        "spent": 9,
        "reason": "spent",
        "reachedAt": "2026-03-20T00:00:00Z",
    }
    api.clock.moment = datetime(2026, 4, 1, tzinfo=UTC)
    assert budget(api, tenant)["thresholds"] == []


def test_a_cap_below_what_is_spent_answers_with_the_thresholds_it_reached_and_nudges(
    api: Api, tenant: Tenant
) -> None:
    """Seen red without the nudge: the event waited for the next minute's sweep."""
    spend(api, tenant, credit=9)
    before = api.world.signals.relays
    told = budget(api, tenant, version=0, monthlyCredits=5, monthlyDollars=None)
    assert [(reached["threshold"], reached["cap"]) for reached in told["thresholds"]] == [(80, 5), (100, 5)]
    assert api.world.signals.relays == before + 1
    sent = rows(
        api.world.database,
        tenant.manager,
        "SELECT d.sink FROM outbox_events e JOIN event_deliveries d ON d.customer_id = e.customer_id"
        " AND d.event_id = e.id WHERE e.event_type = 'budget.threshold.reached' AND d.status = 'pending'",
    )
    assert [row.sink for row in sent] == ["eventbridge", "eventbridge"]
