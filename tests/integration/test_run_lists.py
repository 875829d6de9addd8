"""The history of runs: what a filter leaves, and that no page costs more than another."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.api.pages import COUNTED
from chalicelib.db.queries import runs as queries
from chalicelib.db.queries.runs import Wanted
from chalicelib.db.work import Work
from chalicelib.domain.ids import AgentConfigId
from chalicelib.domain.runs import RunStatus, Trigger
from local.postgres import Postgres
from tests.builders import a_config, a_long_history, a_run, past_runs, rows
from tests.conftest import Tenant, World, a_tenant
from tests.integration.http_world import Api, an_api, data_of
from tests.plans import reads_of

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
A_PITCH = {"productValue": "Robots that pick", "senderName": "Ada", "senderTitle": "AE"}


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


# What a filter leaves


@pytest.fixture(scope="module")
def history(api: Api) -> "History":
    return History(api, a_tenant(api.world.database, "Historic"))


class History:
    """Two hundred runs of every kind, several of them born at one instant."""

    def __init__(self, api: Api, tenant: Tenant) -> None:
        self.api, self.tenant = api, tenant
        chance = random.Random(5)
        configs = {
            a_config(api.world.database, tenant.manager, agent_type=agent_type, config=config): agent_type
            for agent_type, config in (
                ("lead_source", {"industries": ["logistics"]}),
                ("lead_source", {"industries": ["retail"]}),
                (
                    "email_drafter",
                    {"productValue": "Robots that pick", "senderName": "Ada", "senderTitle": "AE"},
                ),
            )
        }
        self.configs = [*configs, None]
        self.told: list[dict[str, Any]] = []
        for _ in range(200):
            config_id = chance.choice(self.configs)
            self.told.append(
                {
                    "agent_config_id": config_id,
                    "agent_type": configs[config_id] if config_id else chance.choice(list(configs.values())),
                    "status": chance.choice([*RunStatus, *["completed"] * 5]),
                    "trigger": chance.choice(list(Trigger)),
                    "created_at": BEGIN + chance.randrange(90) * MINUTE,
                }
            )
        self.ids = past_runs(api.world.database, tenant.manager, self.told)

    def walked(self, query: dict[str, str], limit: int = 100) -> list[str]:
        """Every page's runs under this query; the total is right on each."""
        said = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        seen: list[str] = []
        totals = set()
        place = ""
        while True:
            answer = self.api.send("GET", "/v1/runs", self.tenant.rep, query=f"limit={limit}&{said}{place}")
            seen += [run["id"] for run in data_of(answer)]
            pagination = answer.json()["pagination"]
            totals.add(pagination["total"])
            if pagination["nextCursor"] is None:
                assert totals == {len(seen)}
                return seen
            place = f"&cursor={pagination['nextCursor']}"

    def expected(self, query: dict[str, str]) -> list[str]:
        """The same by looking at each run."""
        left = []
        for run_id, run in zip(self.ids, self.told, strict=True):
            holds = [
                run["status"] in query.get("status", run["status"]).split(","),
                run["trigger"] in query.get("trigger", run["trigger"]).split(","),
                run["agent_type"] == query.get("agentType", run["agent_type"]),
                run["agent_config_id"] == query.get("configId", run["agent_config_id"]),
                run["created_at"] >= datetime.fromisoformat(query.get("createdFrom", "2000-01-01T00:00Z")),
                run["created_at"] < datetime.fromisoformat(query.get("createdTo", "2100-01-01T00:00Z")),
            ]
            if all(holds):
                left.append((run["created_at"], run_id))
        return [run_id for _, run_id in sorted(left, reverse=True)]


def test_any_filters_together_leave_what_looking_at_each_run_would(history: History) -> None:
    """Seen red with the type left out beside a config, and with the end of the time included."""
    chance = random.Random(11)
    found = 0
    for _ in range(60):
        filters = {
            "status": ",".join(chance.sample(list(RunStatus), chance.randint(1, 3))),
            "trigger": ",".join(chance.sample(list(Trigger), chance.randint(1, 2))),
            "agentType": chance.choice(["lead_source", "email_drafter", "scoring"]),
            "configId": chance.choice([config for config in history.configs if config]),
            "createdFrom": (BEGIN + chance.randrange(60) * MINUTE).isoformat(),
            "createdTo": (BEGIN + chance.randrange(30, 90) * MINUTE).isoformat(),
        }
        query = {name: filters[name] for name in chance.sample(list(filters), chance.randint(0, 4))}
        expected = history.expected(query)
        assert history.walked(query) == expected, query
        found += bool(expected)
    assert found > 20, "hardly a filter leaves anything, so this test says little"


@pytest.mark.parametrize("query", [{}, {"status": "failed,completed"}, {"trigger": "event"}])
@pytest.mark.parametrize("limit", [1, 7])
def test_pages_visit_each_run_once_though_several_were_born_at_one_instant(
    history: History, limit: int, query: dict[str, str]
) -> None:
    """Seen red with the place compared by its first column alone."""
    assert history.walked(query, limit) == history.expected(query)


def test_a_status_said_twice_shows_its_runs_once(history: History) -> None:
    """Seen red with the values sought as they were given."""
    assert history.walked({"status": "failed,failed"}) == history.expected({"status": "failed"})


def test_instants_of_any_zone_and_their_very_microsecond_count(history: History) -> None:
    there = {"createdFrom": "2026-03-01T05:30:00+05:00", "createdTo": "2026-03-01T00:30:00.000001Z"}
    here = {"createdFrom": "2026-03-01T00:30:00+00:00", "createdTo": "2026-03-01T00:30:00.000001+00:00"}
    assert history.expected(here)
    assert history.walked(there) == history.expected(here)


def test_a_run_in_the_list_says_what_its_history_shows(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Reader")
    config = a_config(api.world.database, tenant.manager)
    (run_id,) = past_runs(
        api.world.database,
        tenant.manager,
        [
            {
                "agent_config_id": config,
                "status": "failed",
                "trigger": "scheduled",
                "started_at": BEGIN,
                "completed_at": BEGIN + timedelta(seconds=61, microseconds=500_900),
                "items_processed": 5,
                "items_succeeded": 3,
                "items_failed": 2,
            }
        ],
    )
    rows(
        api.world.database,
        tenant.manager,
        "UPDATE agent_runs SET error = 'Apollo.io did not accept the API key.', error_code = 'bad_key',"
        " wait_reason = NULL WHERE id = :id RETURNING id",
        id=run_id,
    )
    (run,) = data_of(api.send("GET", "/v1/runs", tenant.rep))
    assert {name: run[name] for name in ("id", "agentConfigId", "agentType", "status", "trigger")} == {
        "id": run_id,
        "agentConfigId": config,
        "agentType": "lead_source",
        "status": "failed",
        "trigger": "scheduled",
    }
    assert (run["startedAt"], run["durationMs"]) == ("2026-03-01T00:00:00Z", 61_500)
    assert (run["itemsProcessed"], run["itemsSucceeded"], run["itemsFailed"]) == (5, 3, 2)
    assert (run["error"], run["waitReason"]) == ("Apollo.io did not accept the API key.", None)
    a_run(api.world.database, tenant.manager, config_id=AgentConfigId(config))
    newest = data_of(api.send("GET", "/v1/runs", tenant.rep))[0]
    assert (newest["status"], newest["startedAt"], newest["durationMs"]) == ("pending", None, None)


# What a page costs

MANY = 20_000
LIMIT = 10


@pytest.fixture(scope="module")
def long_history(api: Api, postgres: Postgres) -> Tenant:
    tenant = a_tenant(api.world.database, "Old")
    configs = {
        a_config(api.world.database, tenant.manager): "lead_source",
        a_config(
            api.world.database, tenant.manager, agent_type="email_drafter", config=A_PITCH
        ): "email_drafter",
    }
    a_long_history(api.world.database, tenant.manager, configs, many=MANY, begin=BEGIN)
    postgres.execute("VACUUM ANALYZE", database=api.database_name)
    return tenant


def cost(world: World, tenant: Tenant, wanted: Wanted, after: tuple[Any, ...] | None) -> Any:
    def look(work: Work) -> None:
        found = queries.matching(work.session, work.actor.scope, wanted, after=after, limit=LIMIT)
        assert len(found.rows) == LIMIT

    return reads_of(world.database, tenant.manager, look)


FILTERS = {
    "nothing": {},
    "a status": {"statuses": [RunStatus.FAILED]},
    "statuses": {"statuses": [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.RUNNING]},
    "a trigger that is rare": {"triggers": [Trigger.SCHEDULED]},
    "a type": {"agent_type": "lead_source"},
    "an agent": {"config_id": "one"},
    "an agent and its type": {"config_id": "one", "agent_type": "lead_source"},
    "an agent and a status": {"config_id": "two", "statuses": [RunStatus.FAILED]},
    "an agent and a trigger that is rare": {"config_id": "two", "triggers": [Trigger.SCHEDULED]},
    "a type, a status and triggers": {
        "agent_type": "lead_source",
        "statuses": [RunStatus.COMPLETED],
        "triggers": [Trigger.API, Trigger.MANUAL],
    },
    "times": {"born_from": BEGIN, "born_before": BEGIN + 15_000 * MINUTE},
    "an agent, a status and times": {
        "config_id": "two",
        "statuses": [RunStatus.FAILED],
        "born_from": BEGIN,
        "born_before": BEGIN + 15_000 * MINUTE,
    },
}


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("minute", [None, 12_000], ids=["first page", "deep in the list"])
def test_a_page_reads_what_it_shows_and_the_count(
    api: Api, long_history: Tenant, filters: dict[str, Any], minute: int | None
) -> None:
    """Whatever the filters, however deep: a page's keys for each status and trigger, and the total up to its cap.

    Seen red with the place compared column by column, and with every index ending in the id alone.
    """
    configs = dict(zip(("one", "two"), sorted(config_ids(api, long_history)), strict=True))
    given = {**filters, **({"config_id": configs[filters["config_id"]]} if "config_id" in filters else {})}
    after = None if minute is None else (BEGIN + minute * MINUTE, f"run_0{minute:025}")
    read = cost(api.world, long_history, Wanted(**given), after)
    seeks = len(RunStatus) * len(Trigger)
    assert read.rows <= COUNTED + 1 + (seeks + 1) * (LIMIT + 1) + 1
    assert read.thrown_away == 0


def test_an_agent_of_another_type_is_not_looked_for_in_its_runs(api: Api, long_history: Tenant) -> None:
    """Seen red with the type asked of each run."""
    wanted = Wanted(config_id=min(config_ids(api, long_history)), agent_type="email_drafter")

    def look(work: Work) -> None:
        assert queries.matching(work.session, work.actor.scope, wanted, after=None, limit=LIMIT).total == 0

    read = reads_of(api.world.database, long_history.manager, look)
    assert read.rows + read.thrown_away <= 2, "the agent itself, for the page and for the total"


def config_ids(api: Api, tenant: Tenant) -> list[str]:
    return [
        str(row.id)
        for row in rows(api.world.database, tenant.manager, "SELECT id FROM agent_configs ORDER BY id")
    ]
