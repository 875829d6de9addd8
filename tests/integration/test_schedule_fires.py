"""What became of an agent's slots, over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.services.schedules import Scheduler
from local.postgres import Postgres
from tests.builders import a_config, rows
from tests.conftest import Tenant, a_tenant
from tests.integration.http_world import Api, an_api, code_of, data_of

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


@pytest.fixture(autouse=True)
def _at_noon(api: Api) -> Iterator[None]:
    api.clock.moment = START
    yield
    api.clock.moment = None


def tick(api: Api, moment: datetime) -> None:
    api.clock.moment = moment
    Scheduler(api.world.database).tick()


def fires(api: Api, tenant: Tenant, config_id: str, query: str = "") -> Any:
    return api.send("GET", f"/v1/agents/{config_id}/schedule-fires", tenant.rep, query=query)


def test_each_slot_says_what_became_of_it_the_latest_first(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Scheduled")
    config = a_config(api.world.database, tenant.manager, schedule="0 * * * *", time_zone="UTC")
    tick(api, START + timedelta(hours=2, minutes=1))
    tick(api, START + timedelta(hours=3))
    (run,) = rows(api.world.database, tenant.manager, "SELECT id FROM agent_runs")
    skipped, started, coalesced = data_of(fires(api, tenant, config))
    assert skipped == {
        "slotAt": "2026-03-27T15:00:00Z",
        "outcome": "skipped",
        "covers": 1,
        "runId": None,
        "reason": f"The last run was still active ({run.id}).",
    }
    assert started == {
        "slotAt": "2026-03-27T14:00:00Z",
        "outcome": "started",
        "covers": 2,
        "runId": run.id,
        "reason": None,
    }
    assert coalesced == {**started, "slotAt": "2026-03-27T13:00:00Z", "outcome": "coalesced", "covers": 1}


def test_only_the_agents_own_slots_are_there(api: Api) -> None:
    """Seen red with the agent left out of the query."""
    tenant = a_tenant(api.world.database, "Several")
    idle = a_config(api.world.database, tenant.manager)
    a_config(api.world.database, tenant.manager, schedule="0 * * * *", time_zone="UTC")
    tick(api, START + timedelta(hours=1))
    assert data_of(fires(api, tenant, idle)) == []


def test_pages_go_back_slot_by_slot(api: Api) -> None:
    """Seen red with the oldest first."""
    tenant = a_tenant(api.world.database, "Punctual")
    config = a_config(api.world.database, tenant.manager)
    rows(
        api.world.database,
        tenant.manager,
        "INSERT INTO schedule_fires (customer_id, agent_config_id, slot_at, outcome, reason)"
        " SELECT :customer, :config, CAST(:begin AS timestamptz) + n * interval '5 minutes', 'skipped', 'Busy.'"
        " FROM generate_series(1, 2000) n RETURNING slot_at",
        customer=tenant.customer_id,
        config=config,
        begin=START,
    )
    seen, query = [], "limit=100"
    for _ in range(3):
        page = fires(api, tenant, config, query)
        seen += [fire["slotAt"] for fire in data_of(page)]
        assert page.json()["pagination"]["total"] == 2000
        query = f"limit=100&cursor={page.json()['pagination']['nextCursor']}"
    expected = [START + timedelta(minutes=5 * number) for number in range(2000, 1700, -1)]
    assert seen == [slot.strftime("%Y-%m-%dT%H:%M:%SZ") for slot in expected]


def test_a_put_away_agents_slots_are_gone_with_it(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Gone")
    config = a_config(api.world.database, tenant.manager)
    rows(
        api.world.database,
        tenant.manager,
        "UPDATE agent_configs SET deleted_at = app_now() WHERE id = :id RETURNING id",
        id=config,
    )
    assert code_of(fires(api, tenant, config)) == "not_found"
