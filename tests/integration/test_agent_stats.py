"""What agents have done: the figures are what counting gives, and nothing is counted for them."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pytest

from chalicelib.db.queries.agent_stats import TIMED
from chalicelib.domain.ids import AgentConfigId
from chalicelib.domain.runs import FINAL, RunStatus, Trigger
from chalicelib.services import agents
from chalicelib.services.agent_stats import stats
from local.postgres import Postgres
from tests.builders import a_config, a_long_history, a_run, an_item, past_runs, rows
from tests.conftest import Tenant, a_tenant
from tests.integration.http_world import Api, an_api, data_of
from tests.plans import reads_of

NOW = datetime(2026, 3, 31, 15, 0, tzinfo=UTC)
A_PITCH = {"productValue": "Robots that pick", "senderName": "Ada", "senderTitle": "AE"}
COUNTED = ("completed", "failed", "cancelled", "running", "waiting")
ITEMS = ("itemsProcessed", "itemsSucceeded", "itemsFailed")


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


@pytest.fixture(autouse=True)
def _today(api: Api) -> Iterator[None]:
    api.clock.moment = NOW
    yield
    api.clock.moment = None


def told(api: Api, tenant: Tenant, query: str = "") -> Any:
    return data_of(api.send("GET", "/v1/agents/stats", tenant.rep, query=query))


def of(answer: Any, config_id: str) -> Any:
    (found,) = [agent for agent in answer["agents"] if agent["agentConfigId"] == config_id]
    return found


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


# What they say


@pytest.mark.parametrize("days", [1, 7, 30, 365])
def test_the_figures_are_what_counting_gives(api: Api, days: int) -> None:
    """For a history of every kind. Seen red with the window one day longer, with the runs that wait left out of
    `runs`, and with a config's runs taken for its type's.
    """
    tenant = a_tenant(api.world.database, "Counted")
    chance = random.Random(days)
    types: dict[AgentConfigId | None, str] = {None: "email_drafter"}
    for _ in range(2):
        types[a_config(api.world.database, tenant.manager)] = "lead_source"
    drafter = a_config(api.world.database, tenant.manager, agent_type="email_drafter", config=A_PITCH)
    types[drafter] = "email_drafter"
    runs = []
    for _ in range(300):
        config_id, status = chance.choice(list(types)), chance.choice([*RunStatus, *FINAL])
        ended = days_ago(chance.choice([0, 0.5, 1, 5.99, 6, 6.7, 29, 30, 200, 364, 365, 500]))
        processed = chance.randrange(9)
        runs.append(
            {
                "agent_config_id": config_id,
                "agent_type": types[config_id],
                "status": status.value,
                "trigger": chance.choice(list(Trigger)).value,
                "created_at": ended - timedelta(hours=1),
                "started_at": ended - timedelta(minutes=1),
                "completed_at": ended if status in FINAL else None,
                "items_processed": processed,
                "items_succeeded": processed // 2,
                "items_failed": processed - processed // 2,
            }
        )
    past_runs(api.world.database, tenant.manager, runs)
    answer = told(api, tenant, f"days={days}")
    since = (NOW - timedelta(days=days - 1)).date()
    assert (answer["days"], answer["since"]) == (days, since.isoformat())
    groups = [
        (of(answer, config), [run for run in runs if run["agent_config_id"] == config])
        for config in types
        if config
    ]
    groups += [
        (answer["byAgent"][kind], [run for run in runs if run["agent_type"] == kind])
        for kind in set(types.values())
    ]
    for figures, whole in groups:
        counted = dict.fromkeys(COUNTED + ITEMS, 0)
        for run in whole:
            if run["completed_at"] is None:
                counted["waiting" if run["status"] == "pending" else "running"] += 1
            elif run["completed_at"].date() >= since:
                counted[run["status"]] += 1
                for name, column in zip(
                    ITEMS, ("items_processed", "items_succeeded", "items_failed"), strict=True
                ):
                    counted[name] += run[column]
        assert {name: figures[name] for name in counted} == counted
        assert figures["runs"] == sum(counted[name] for name in COUNTED)
        tried = counted["completed"] + counted["failed"]
        assert figures["successRate"] == (counted["completed"] / tried if tried else None)
    for name in ("running", "waiting"):
        assert answer[name] == sum(figures[name] for figures in answer["byAgent"].values())


def test_thirty_days_are_meant_unless_others_are_said(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Default")
    assert told(api, tenant) == told(api, tenant, "days=30")


def test_every_type_is_there_and_a_new_agent_has_done_nothing(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Fresh")
    config = a_config(api.world.database, tenant.manager)
    answer = told(api, tenant)
    assert answer["byAgent"].keys() >= {"lead_source", "email_drafter"}
    new = of(answer, config)
    assert {name: new[name] for name in ("runs", "credits", "dollars", "unpricedCalls", "pendingApprovals")} == {
        "runs": 0, "credits": 0, "dollars": 0, "unpricedCalls": 0, "pendingApprovals": 0,
    }  # fmt: skip
    for name in ("successRate", "medianDurationMs", "lastRun", "nextRunAt"):
        assert new[name] is None


def test_what_an_agent_proposed_and_paid_for_is_its_own(api: Api) -> None:
    """A real run: its proposals wait, its calls are booked. Seen red with the proposals counted whatever their status."""
    api.clock.moment = None
    tenant = a_tenant(api.world.database, "Worked")
    idle, busy = (a_config(api.world.database, tenant.manager) for _ in range(2))
    a_run(api.world.database, tenant.manager, config_id=busy)
    api.world.visit(tenant=tenant)
    of_nobody = an_item(api.world.database, tenant.manager)
    answer = told(api, tenant)
    assert of(answer, busy)["pendingApprovals"] == 3
    assert of(answer, idle)["pendingApprovals"] == 0
    assert answer["byAgent"]["lead_source"]["pendingApprovals"] == answer["pendingApprovals"] == 4
    (run,) = rows(
        api.world.database, tenant.manager, "SELECT credits FROM agent_runs WHERE status = 'completed'"
    )
    assert of(answer, busy)["credits"] == answer["byAgent"]["lead_source"]["credits"] == run.credits > 0
    assert of(answer, idle)["credits"] == 0
    data_of(api.send("POST", f"/v1/approvals/{of_nobody}/reject", tenant.manager, body={"version": 1}))
    assert told(api, tenant)["pendingApprovals"] == 3


def test_dollars_are_of_the_days_that_are_asked_for(api: Api) -> None:
    """Seen red with the days left out of the sum."""
    tenant = a_tenant(api.world.database, "Spender")
    config = a_config(api.world.database, tenant.manager)
    for ago, dollars, unpriced in ((0, "0.125", 1), (6, "0.25", 0), (7, "4", 2)):
        rows(
            api.world.database,
            tenant.manager,
            "INSERT INTO usage_days (customer_id, day, agent_config_id, agent_type, provider, model, dollars,"
            " unpriced_calls) VALUES (:customer, :day, :config, 'lead_source', 'openai', 'a model',"
            " CAST(:dollars AS numeric), :unpriced) RETURNING day",
            customer=tenant.customer_id,
            day=days_ago(ago).date(),
            config=config,
            dollars=dollars,
            unpriced=unpriced,
        )
    spent = of(told(api, tenant, "days=7"), config)
    assert (spent["dollars"], spent["unpricedCalls"]) == (0.375, 1)


def test_the_median_is_of_the_last_completed_runs(api: Api) -> None:
    """Seen red with failed runs timed, too, and with the oldest taken for the latest."""
    tenant = a_tenant(api.world.database, "Timed")
    config = a_config(api.world.database, tenant.manager)
    chance = random.Random(3)
    took = [chance.randrange(1, 90_000) for _ in range(TIMED)]

    def run(number: int, milliseconds: int, status: str = "completed") -> dict[str, Any]:
        ended = days_ago(100) + timedelta(minutes=number)
        begun = ended - timedelta(milliseconds=milliseconds)
        return {"agent_config_id": config, "status": status, "started_at": begun, "completed_at": ended}

    told_runs = [run(number, 10_000_000) for number in range(TIMED)]
    told_runs += [run(TIMED + number, milliseconds) for number, milliseconds in enumerate(took)]
    told_runs += [run(2 * TIMED + number, 1, status="failed") for number in range(TIMED)]
    past_runs(api.world.database, tenant.manager, told_runs)
    answer = told(api, tenant)
    assert of(answer, config)["medianDurationMs"] == round(median(took))
    assert answer["byAgent"]["lead_source"]["medianDurationMs"] == round(median(took))


def test_the_last_run_is_the_newest_whatever_became_of_it(api: Api) -> None:
    """Seen red with the newest of each status and trigger not compared."""
    tenant = a_tenant(api.world.database, "Latest")
    first, second, third = (a_config(api.world.database, tenant.manager) for _ in range(3))
    ids = past_runs(
        api.world.database,
        tenant.manager,
        [
            {"agent_config_id": first, "status": "failed", "trigger": "event", "created_at": days_ago(40)},
            {"agent_config_id": first, "status": "completed", "trigger": "api", "created_at": days_ago(41)},
            {"agent_config_id": second, "status": "running", "created_at": days_ago(2), "started_at": days_ago(1)},
            {"agent_config_id": None, "status": "pending", "created_at": days_ago(1)},
            {"agent_config_id": third, "status": "failed", "trigger": "event", "created_at": days_ago(41)},
            {"agent_config_id": third, "status": "completed", "trigger": "api", "created_at": days_ago(40)},
        ],
    )  # fmt: skip
    answer = told(api, tenant)
    assert of(answer, first)["lastRun"] == {
        "id": ids[0],
        "status": "failed",
        "createdAt": "2026-02-19T15:00:00Z",
        "startedAt": None,
        "completedAt": None,
    }
    assert of(answer, second)["lastRun"]["startedAt"] == "2026-03-30T15:00:00Z"
    assert of(answer, second)["lastRun"]["status"] == "running"
    assert of(answer, third)["lastRun"]["id"] == ids[5]
    assert answer["byAgent"]["lead_source"]["lastRun"]["id"] == ids[3]


def test_the_next_run_of_a_type_is_its_earliest(api: Api) -> None:
    """Seen red with the latest taken."""
    tenant = a_tenant(api.world.database, "Planned")
    at = {}
    for hour in (9, 7, 8):
        config = a_config(
            api.world.database, tenant.manager, schedule=f"0 {hour} * * *", time_zone="Europe/Berlin"
        )
        at[config] = f"2026-04-01T{hour - 2:02}:00:00Z"
    answer = told(api, tenant)
    assert {config: of(answer, config)["nextRunAt"] for config in at} == at
    assert answer["byAgent"]["lead_source"]["nextRunAt"] == "2026-04-01T05:00:00Z"


def test_a_put_away_agents_runs_count_for_its_type_only(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Tidy")
    config = a_config(api.world.database, tenant.manager)
    past_runs(api.world.database, tenant.manager, [{"agent_config_id": config, "completed_at": days_ago(1)}])
    with api.world.database.enter(tenant.manager) as work:
        agents.delete(work, AgentConfigId(config), version=1)
    answer = told(api, tenant)
    assert answer["agents"] == []
    assert answer["byAgent"]["lead_source"]["completed"] == 1


# What they cost


def test_twenty_thousand_runs_cost_no_more_than_a_few(api: Api, postgres: Postgres) -> None:
    """Rows read are the days', the timed runs' and a few seeks', whatever the runs. Seen red with the runs counted."""
    tenant = a_tenant(api.world.database, "Veteran")
    configs = {a_config(api.world.database, tenant.manager): "lead_source" for _ in range(2)}
    a_long_history(api.world.database, tenant.manager, configs, many=20_000, begin=days_ago(14))
    an_item(api.world.database, tenant.manager)
    postgres.execute("VACUUM ANALYZE", database=api.database_name)
    read = reads_of(api.world.database, tenant.manager, lambda work: stats(work, days=365))
    days = 15 * len(configs)
    seeks = 2 * len(RunStatus) * len(Trigger)
    groups = len(configs) + 2
    assert read.rows < days + groups * (TIMED + seeks) + 50
    assert read.thrown_away < 50
