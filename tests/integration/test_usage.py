"""What was spent is told as the ledger has it, by any of its sides, and costs little however long the ledger is."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from chalicelib.agents import registry
from chalicelib.db.queries import usage as queries
from chalicelib.db.work import Work
from chalicelib.domain.ids import AgentConfigId, new_id
from chalicelib.domain.money import EntryStatus, Grouping
from chalicelib.services import agents
from chalicelib.services.usage import MOST_ROWS, report
from local.postgres import OWNER, Postgres
from migrations import runner
from tests.builders import a_config, past_runs, rows
from tests.conftest import Tenant, a_tenant
from tests.integration.http_world import Api, an_api, code_of, data_of, error_of
from tests.plans import reads_of

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TOKENS = ("tokens_in", "tokens_cached", "tokens_out", "tokens_reasoning")
SIDES = {
    "day": ("day",),
    "agent": ("agent_config_id", "agent_type"),
    "agentType": ("agent_type",),
    "provider": ("provider",),
    "model": ("model",),
    "payer": ("payer",),
}
SHOWN = {"agent_config_id": "agentConfigId", "agent_type": "agentType"}


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


@dataclass
class Books:
    """A tenant's ledger of 400 calls of all kinds in March, and the same in plain Python."""

    api: Api
    tenant: Tenant
    entries: list[dict[str, Any]]
    configs: Sequence[AgentConfigId]
    runs: Sequence[str]

    def get(self, path: str, **query: str) -> Any:
        said = "&".join(f"{name}={value}" for name, value in query.items())
        return self.api.send("GET", path, self.tenant.people[next(iter(self.tenant.people))], query=said)

    def usage(self, **query: str) -> Any:
        return data_of(self.get("/v1/usage", **{"from": "2026-03-01", "to": "2026-03-31", **query}))


@pytest.fixture(scope="module")
def books(api: Api) -> Books:
    tenant = a_tenant(api.world.database, "Books")
    database, manager = api.world.database, tenant.manager
    configs = [a_config(database, manager, name=f"Agent {n}") for n in range(3)]
    runs = past_runs(
        database,
        manager,
        [{"agent_config_id": config, "created_at": BEGIN} for config in [*configs, None]],
    )
    chance = random.Random(3)
    entries = []
    for number in range(400):
        run = chance.randrange(4)
        provider = chance.choice(["apollo", "openai"])
        status = chance.choice([*EntryStatus, "settled", "settled", "settled"])
        model = chance.choice(["gpt-6-luna", "brand-new"]) if provider == "openai" else None
        entries.append(
            {
                "id": f"use_{number:026}",
                "run_id": runs[run],
                "agent_config_id": [*configs, None][run],
                "agent_type": "lead_source",
                "provider": provider,
                "operation": "a call",
                "model": model,
                "payer": chance.choice(["tenant", "platform"]),
                "status": str(status),
                "credits": chance.randrange(9) if provider == "apollo" else 0,
                "dollars": None
                if model == "brand-new"
                else str(Decimal(chance.randrange(10**6)) / 10**6)
                if model
                else "0",
                **{name: chance.randrange(1000) if model else 0 for name in TOKENS},
                # several at one instant, and some a second before and after midnight
                "created_at": BEGIN
                + timedelta(hours=12 * chance.randrange(60), seconds=chance.choice([-1, 0, 1])),
            }
        )
    put(api, tenant, entries)
    return Books(api, tenant, entries, configs, runs)


def put(api: Api, tenant: Tenant, entries: Sequence[dict[str, Any]]) -> None:
    """Calls as they come to be: reserved, then what became of them."""
    database, manager = api.world.database, tenant.manager
    told = json.dumps(entries, default=str)
    rows(
        database,
        manager,
        "INSERT INTO usage_entries (id, customer_id, run_id, agent_config_id, agent_type, step_key, lease_token,"
        " provider, operation, model, payer, credits, dollars, created_at)"
        " SELECT id, :customer, run_id, agent_config_id, agent_type, 'step:' || id, 'a token', provider, operation,"
        " model, payer, credits, dollars, created_at"
        " FROM jsonb_populate_recordset(NULL::usage_entries, CAST(:told AS jsonb)) RETURNING id",
        customer=manager.customer_id,
        told=told,
    )
    rows(
        database,
        manager,
        "UPDATE usage_entries u SET status = s.status, tokens_in = s.tokens_in, tokens_cached = s.tokens_cached,"
        " tokens_out = s.tokens_out, tokens_reasoning = s.tokens_reasoning"
        " FROM jsonb_populate_recordset(NULL::usage_entries, CAST(:told AS jsonb)) s"
        " WHERE u.id = s.id AND s.status <> 'reserved' RETURNING u.id",
        told=told,
    )


def figures(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What some calls come to, as the API shows it."""
    unpriced = sum(entry["dollars"] is None for entry in entries)
    dollars = sum(
        (Decimal(entry["dollars"]) for entry in entries if entry["dollars"] is not None), Decimal(0)
    )
    return {
        "calls": len(entries),
        "unpricedCalls": unpriced,
        "credits": sum(entry["credits"] for entry in entries),
        "dollars": None if unpriced and not dollars else float(dollars),
        "dollarsComplete": unpriced == 0,
        **{
            name.replace("_i", "I").replace("_c", "C").replace("_o", "O").replace("_r", "R"): sum(
                entry[name] for entry in entries
            )
            for name in TOKENS
        },
    }


def side(entry: dict[str, Any], name: str) -> Any:
    return entry["created_at"].date().isoformat() if name == "day" else entry[name]


def test_any_grouping_and_any_filter_tell_what_adding_up_the_ledger_would(books: Books) -> None:
    """Seen red with the payer left out of the days' key, and with the last day left out."""
    chance = random.Random(9)
    for _ in range(40):
        groups = chance.sample(list(SIDES), chance.randint(1, 3))
        first, last = sorted(date(2026, 3, chance.randint(1, 31)) for _ in range(2))
        filters = {
            "provider": chance.choice(["apollo", "openai"]),
            "agentType": "lead_source",
            "configId": chance.choice(books.configs),
            "model": chance.choice(["gpt-6-luna", "brand-new"]),
            "payer": chance.choice(["tenant", "platform"]),
        }
        said = {name: filters[name] for name in chance.sample(list(filters), chance.randint(0, 2))}
        columns = {"agentType": "agent_type", "configId": "agent_config_id"}
        held = [
            entry
            for entry in books.entries
            if first <= entry["created_at"].date() <= last
            and all(entry[columns.get(name, name)] == value for name, value in said.items())
        ]
        spent = [entry for entry in held if entry["status"] in {"settled", "unknown"}]
        grouped = defaultdict(list)
        names = list(dict.fromkeys(column for group in groups for column in SIDES[group]))
        for entry in spent:
            grouped[tuple(side(entry, name) for name in names)].append(entry)
        told = books.usage(**{"from": str(first), "to": str(last)}, groupBy=",".join(groups), **said)
        shown = {
            tuple(row[SHOWN.get(name, name)] for name in names): {name: row[name] for name in figures([])}
            for row in told["rows"]
        }
        assert shown == {key: pytest.approx(figures(entries)) for key, entries in grouped.items()}
        assert told["total"] == pytest.approx(figures(spent))
        for status in ("reserved", "unknown"):
            expected = figures([entry for entry in held if entry["status"] == status])
            wanted = {name: expected[name] for name in ("calls", "credits", "dollars", "dollarsComplete")}
            assert told[status] == pytest.approx(wanted), status


def test_a_model_of_unknown_price_costs_unknown_and_not_nothing(books: Books) -> None:
    """Seen red with the sum of what is known in its place: 0."""
    told = books.usage(groupBy="model")
    of = {row["model"]: row for row in told["rows"]}
    assert (of["brand-new"]["dollars"], of["brand-new"]["dollarsComplete"]) == (None, False)
    assert of["gpt-6-luna"]["dollarsComplete"]
    assert of["gpt-6-luna"]["dollars"] > 0
    assert told["total"]["dollars"] == of["gpt-6-luna"]["dollars"]
    assert not told["total"]["dollarsComplete"]


def test_agents_have_their_names_also_once_they_are_deleted(books: Books) -> None:
    gone = books.configs[2]
    with books.api.world.database.enter(books.tenant.manager) as work:
        agents.delete(work, gone, version=1)
    told = books.usage(groupBy="agent")
    names = {row["agentConfigId"]: (row["agentName"], row["agentDeleted"]) for row in told["rows"]}
    assert names[books.configs[0]] == ("Agent 0", False)
    assert names[gone] == ("Agent 2", True)
    assert names[None] == (None, None)


def test_unless_said_it_is_this_month_by_day(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Today")
    with api.world.database.enter(tenant.manager) as work:
        today = work.now.astimezone(UTC).date()
    told = data_of(api.send("GET", "/v1/usage", tenant.rep))
    assert (told["from"], told["to"], told["groupBy"]) == (str(today.replace(day=1)), str(today), ["day"])
    assert (told["rows"], told["total"]["calls"], told["total"]["dollars"]) == ([], 0, 0)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("from=2026-03-02&to=2026-03-01", "from"),
        ("from=2025-03-01&to=2026-03-02", "from"),
        ("from=2026-02-30", "from"),
        ("from=2026-03-01T00:00:00Z", "from"),
        ("to=0001-01-01", "to"),
        ("to=9999-12-31", "to"),
        ("from=1772323200", "from"),
        ("groupBy=credits", "groupBy"),
        ("groupBy=day,agent,agentType,provider,model,payer,day", "groupBy"),
        ("payer=nobody", "payer"),
        ("customerId=cus_x", "customerId"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_where(api: Api, query: str, pointer: str) -> None:
    said = api.send("GET", "/v1/usage", api.ours.rep, query=query)
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, pointer)


def test_366_days_are_a_leap_year(api: Api) -> None:
    said = api.send("GET", "/v1/usage", api.ours.rep, query="from=2024-01-01&to=2024-12-31")
    assert said.status_code == 200
    said = api.send("GET", "/v1/usage", api.ours.rep, query="from=2023-12-31&to=2024-12-31")
    assert said.status_code == 422


# The lines


def walked(books: Books, limit: int, **query: str) -> list[str]:
    """Every page's lines; the total is right on each."""
    seen: list[str] = []
    totals, place = set(), dict[str, str]()
    while True:
        said = books.get("/v1/usage/entries", limit=str(limit), **query, **place)
        seen += [entry["id"] for entry in data_of(said)]
        pagination = said.json()["pagination"]
        totals.add(pagination["total"])
        if pagination["nextCursor"] is None:
            assert totals == {len(seen)}
            return seen
        place = {"cursor": pagination["nextCursor"]}


def test_any_filters_leave_the_lines_that_looking_at_each_would(books: Books) -> None:
    """The newest first, each once, though several were booked at one instant."""
    chance = random.Random(4)
    found = 0
    for _ in range(40):
        filters = {
            "runId": chance.choice(books.runs),
            "provider": chance.choice(["apollo", "openai", "nobody"]),
            "status": ",".join(chance.sample(list(EntryStatus), chance.randint(1, 3))),
            "day": str(date(2026, 3, chance.randint(1, 31))),
        }
        said = {name: filters[name] for name in chance.sample(list(filters), chance.randint(0, 3))}
        held = [
            entry
            for entry in books.entries
            if entry["run_id"] == said.get("runId", entry["run_id"])
            and entry["provider"] == said.get("provider", entry["provider"])
            and entry["status"] in said.get("status", entry["status"]).split(",")
            and side(entry, "day") == said.get("day", side(entry, "day"))
        ]
        expected = [entry["id"] for entry in sorted(held, key=lambda one: (one["created_at"], one["id"]))][
            ::-1
        ]
        assert walked(books, chance.choice([23, 100]), **said) == expected, said
        found += bool(expected)
    assert found > 20


def test_a_line_says_all_that_is_known_of_a_call(books: Books) -> None:
    (unpriced,) = [
        entry for entry in books.entries if entry["model"] == "brand-new" and entry["status"] == "settled"
    ][:1]
    (line,) = [
        entry
        for entry in data_of(books.get("/v1/usage/entries", limit="100", day=side(unpriced, "day")))
        if entry["id"] == unpriced["id"]
    ]
    assert line["dollars"] is None
    for name in (
        "id",
        "run_id",
        "agent_config_id",
        "agent_type",
        "provider",
        "operation",
        "model",
        "payer",
        *TOKENS,
    ):
        first, *others = name.split("_")
        assert line[first + "".join(map(str.capitalize, others))] == unpriced[name], name
    assert (line["status"], line["stepKey"]) == ("settled", f"step:{unpriced['id']}")


def test_another_customers_lines_are_not_there(books: Books) -> None:
    for path in ("/v1/usage/entries", "/v1/usage"):
        query = f"runId={books.runs[0]}" if "entries" in path else "from=2026-03-01&to=2026-03-31"
        told = data_of(books.api.send("GET", path, books.api.theirs.manager, query=query))
        assert told == [] if isinstance(told, list) else told["rows"] == []


def test_a_cursor_of_another_list_is_refused(books: Books) -> None:
    cursor = books.get("/v1/runs", limit="1").json()["pagination"]["nextCursor"]
    assert code_of(books.get("/v1/usage/entries", cursor=cursor)) == "invalid"


# What it costs


@pytest.fixture(scope="module")
def long_books(api: Api, postgres: Postgres) -> Tenant:
    """Thirty thousand calls of most of a year, a quarter of them Apollo's; three are open, and one in a thousand was released."""
    tenant = a_tenant(api.world.database, "Long")
    (run_id,) = past_runs(api.world.database, tenant.manager, [{}])
    rows(
        api.world.database,
        tenant.manager,
        "INSERT INTO usage_entries (id, customer_id, run_id, agent_type, step_key, lease_token, provider, operation,"
        " model, credits, dollars, created_at)"
        " SELECT 'use_l' || lpad(n::text, 25, '0'), :customer, :run, 'lead_source', 'step:' || mod(n, 1000), 'a token',"
        " CASE mod(n, 4) WHEN 0 THEN 'apollo' ELSE 'openai' END, 'a call', CASE WHEN mod(n, 4) > 0 THEN 'gpt-6-luna' END,"
        " 1, 0.001, CAST(:begin AS timestamptz) + n * interval '15 minutes'"
        " FROM generate_series(1, 30000) n RETURNING 1",
        customer=tenant.customer_id,
        run=run_id,
        begin=BEGIN,
    )
    rows(
        api.world.database,
        tenant.manager,
        "UPDATE usage_entries SET status = CASE WHEN step_key = 'step:999' THEN 'released' ELSE 'settled' END"
        " WHERE id > 'use_l0000000000000000000000003' RETURNING 1",
    )
    for table in ("usage_entries", "usage_days", "agent_configs"):
        postgres.execute(f"VACUUM (FREEZE, ANALYZE) {table}", database=api.database_name)
    return tenant


def test_a_year_is_told_from_its_days_and_not_from_its_calls(api: Api, long_books: Tenant) -> None:
    """Two rows a day, and a few pages of 8 KB. Seen red without the ledger's index, for what is open."""

    def ask(work: Work) -> None:
        told = report(work, since=date(2026, 3, 1), until=date(2027, 2, 28), group_by=[Grouping.PROVIDER])
        assert told.total.calls == 30_000 - 30 - 3
        assert told.under_way.calls == 3

    reads = reads_of(api.world.database, long_books.manager, ask)
    assert reads.rows < 2 * 313 + 20
    assert reads.thrown_away == 0
    assert reads.buffers < 60, reads


@pytest.mark.parametrize(
    "lines",
    [
        queries.Lines(),
        queries.Lines(provider="apollo"),
        queries.Lines(statuses=(EntryStatus.RELEASED,)),
        queries.Lines(statuses=(EntryStatus.RESERVED, EntryStatus.UNKNOWN)),
        queries.Lines(day=date(2026, 9, 1)),
        queries.Lines(provider="openai", statuses=(EntryStatus.SETTLED,), day=date(2026, 9, 1)),
    ],
    ids=str,
)
def test_a_page_deep_in_the_ledger_throws_nothing_away(
    api: Api, long_books: Tenant, lines: queries.Lines
) -> None:
    """Whatever is filtered for; counting goes up to ten thousand. Seen red without the index."""

    def ask(work: Work) -> None:
        place = (BEGIN + timedelta(days=300), new_id("UsageEntryId"))
        queries.entries(work.session, work.actor.scope, lines, after=place, limit=50)

    reads = reads_of(api.world.database, long_books.manager, ask)
    assert reads.thrown_away == 0
    assert reads.rows < 10_001 * 2 + 51 * 8 * 2 + 20


def test_more_rows_than_anybody_reads_are_refused(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Wide")
    rows(
        api.world.database,
        tenant.manager,
        "INSERT INTO usage_days (customer_id, day, agent_config_id, agent_type, provider, model, calls)"
        " SELECT :customer, '2026-03-01', '', 'scoring', 'openai', 'model ' || n, 1 FROM generate_series(0, :most) n"
        " RETURNING 1",
        customer=tenant.customer_id,
        most=MOST_ROWS,
    )
    query = "from=2026-03-01&to=2026-03-01&groupBy=day,model"
    said = api.send("GET", "/v1/usage", tenant.rep, query=query)
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "groupBy")
    assert (
        data_of(api.send("GET", "/v1/usage", tenant.rep, query=query + "&model=model%205"))["total"]["calls"]
        == 1
    )
    assert "scoring" not in registry.AGENTS, "usage is told of types that are no more"


# What was spent before whose key was kept by the day

BY_DAY = """
    SELECT customer_id, day, agent_config_id, agent_type, provider, model, payer, calls, unpriced_calls, credits,
           dollars, tokens_in, tokens_cached, tokens_out, tokens_reasoning
    FROM usage_days
"""
ADDED_UP = """
    SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date, coalesce(agent_config_id, ''), agent_type, provider,
           coalesce(model, ''), payer, count(*), count(*) FILTER (WHERE dollars IS NULL), sum(credits),
           coalesce(sum(dollars), 0), sum(tokens_in), sum(tokens_cached), sum(tokens_out), sum(tokens_reasoning)
    FROM usage_entries WHERE status IN ('settled', 'unknown') GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


def test_the_migration_tells_the_payers_apart_and_its_way_back_adds_them_up(postgres: Postgres) -> None:
    """Of every tenant. Seen red with row-level security still forced during it."""
    name = "before_payers"
    postgres.create_database(name)
    url = postgres.url(OWNER, name)
    before_it = str(ScriptDirectory.from_config(runner.config(url)).get_revision("0010").down_revision)
    runner.upgrade(url, before_it)

    def ask(sql: str) -> list[Any]:
        return postgres.execute(sql, database=name)

    ask("INSERT INTO customers (id, name) VALUES ('cus_one', 'One'), ('cus_two', 'Two')")
    ask("""
        INSERT INTO agent_runs (id, customer_id, agent_type, status, trigger, input, config, agent_version,
                                approval_expiry_hours)
        SELECT 'run_' || id, id, 'lead_source', 'pending', 'api', '{}', '{}', '1', 72 FROM customers
    """)
    ask("""
        INSERT INTO usage_entries (id, customer_id, run_id, step_key, lease_token, provider, operation, agent_type,
                                   model, payer, credits, dollars, tokens_in, created_at)
        SELECT new_id('use'), c.id, 'run_' || c.id, 'search', 'a token', 'openai', 'complete', 'lead_source',
               CASE n % 3 WHEN 0 THEN 'gpt' END, CASE n % 2 WHEN 0 THEN 'tenant' ELSE 'platform' END, n,
               CASE WHEN n % 5 > 0 THEN 0.25 * n END, n, timestamptz '2026-03-01 23:00Z' + n * interval '2 hours'
        FROM customers c, generate_series(1, 60) n
    """)
    ask("UPDATE usage_entries SET status = CASE WHEN credits % 7 = 0 THEN 'released' ELSE 'settled' END")
    ours = "SELECT day, model, sum(calls), sum(unpriced_calls), sum(credits), sum(dollars) FROM usage_days GROUP BY 1, 2"
    before = sorted(ask(ours))
    runner.upgrade(url, "0010")
    kept = ask(BY_DAY)
    assert len(kept) > 20
    assert sorted(kept) == sorted(ask(ADDED_UP))
    assert ask("SELECT relname::text FROM pg_class WHERE relrowsecurity AND NOT relforcerowsecurity") == []
    command.downgrade(runner.config(url), before_it)
    assert sorted(ask(ours)) == before
    ask("UPDATE usage_entries SET status = 'unknown' WHERE credits = 7")
    runner.upgrade(url, "0010")
    assert sorted(ask(BY_DAY)) == sorted(ask(ADDED_UP))
    postgres.drop_database(name)
