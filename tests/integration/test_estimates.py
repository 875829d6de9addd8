"""What a run would cost, before it runs: by its config, by its past, and by what would stop it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.agents import email_drafter, lead_source
from chalicelib.agents.prompts import email_draft
from chalicelib.db.queries import estimates as queries
from chalicelib.domain.access import Role
from chalicelib.domain.ids import AgentConfigId, new_id
from chalicelib.domain.money import Gate
from chalicelib.integrations.openai.prices import PRICES
from chalicelib.services import agents, budgets
from chalicelib.services.estimates import Basis, Chance, Estimate, Figures, estimate
from chalicelib.services.runs.context import Providers
from chalicelib.services.terms import platform_terms
from local.postgres import Postgres
from tests.builders import a_config, a_contact, a_run, past_runs, rows
from tests.conftest import World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedCompanies, ScriptedModel
from tests.integration.http_world import Api, an_api, data_of, error_of
from tests.integration.test_flow_control import SENDER
from tests.plans import reads_of

PRICE = PRICES["gpt-6-luna"]
ON = {"openai_api_key": "a-key", "apollo_api_key": "a-key"}
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def world(world: World) -> World:
    """With keys, and no caps but those that a test sets."""
    return world.with_settings(**ON, platform_credits_per_month=None, platform_dollars_per_month=None)


def leads(world: World, *, batch: int = 10, **said: Any) -> AgentConfigId:
    config = {"industries": ["logistics"], "batchSize": batch, **said.pop("config", {})}
    return a_config(world.database, world.ours.manager, config=config, **said)


def mails(world: World) -> AgentConfigId:
    return a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)


def contacts(count: int) -> list[str]:
    return [new_id("ContactId") for _ in range(count)]


def estimated(world: World, config_id: AgentConfigId, **inputs: Any) -> Estimate:
    with world.database.enter(world.ours.manager) as work:
        return estimate(work, config_id, inputs)


def run(world: World, config_id: AgentConfigId, companies: ScriptedCompanies, **inputs: Any) -> Any:
    """A run from start to end, on the terms that the settings say; its row."""
    run_id = a_run(world.database, world.ours.manager, config_id=config_id, **inputs)
    world.settle(Providers(companies, ScriptedModel(), platform_terms(world.database.settings)))
    (row,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    return row


def stops(told: Estimate) -> dict[str, Chance]:
    assert all(stop.message.endswith(".") for stop in told.stops)
    return {stop.code: stop.chance for stop in told.stops}


# By the config alone


def test_without_a_past_the_config_says(world: World) -> None:
    told = estimated(world, leads(world, batch=30, config={"maxPages": 7}))
    assert (told.basis, told.runs, told.items, told.seconds) == (Basis.CONFIG, 0, 30, None)
    assert {one.operation: (one.likely, one.at_most) for one in told.operations} == {
        "search_companies": (Figures(2, 2), Figures(7, 7)),
        "enrich_company": (Figures(30, 30), Figures(30, 30)),
    }
    assert (told.likely, told.at_most) == (Figures(32, 32), Figures(37, 37))
    assert told.stops == []


def test_the_input_says_otherwise_as_it_does_for_a_run(world: World) -> None:
    told = estimated(world, leads(world, batch=30), limit=3)
    assert (told.items, told.likely.credits) == (3, 4)


def test_a_model_of_known_price_is_estimated_in_dollars_and_at_its_worst(world: World) -> None:
    told = estimated(world, mails(world), contactIds=contacts(10))
    (draft,) = told.operations
    worst = platform_terms(world.database.settings)["openai"].worst(email_draft.REDRAFT.pays)
    assert worst is not None
    assert draft.terms.model == "gpt-6-luna"
    assert told.likely == Figures(10, 0, 10 * PRICE.of(tokens_in=500, tokens_out=400))
    most = 10 * email_drafter.MOST_DRAFTS
    assert told.at_most == Figures(most, 0, most * worst)


def test_an_unknown_price_is_unknown_and_not_nothing(world: World) -> None:
    """Seen red with 0 in its place."""
    world = world.with_settings(openai_default_model="brand-new")
    told = estimated(world, mails(world), contactIds=contacts(2))
    assert (told.likely.dollars, told.at_most.dollars, told.unpriced) == (None, None, ["brand-new"])
    assert told.likely.calls == 2
    with world.database.enter(world.ours.manager) as work:
        budgets.change(work, version=0, monthly_credits=None, monthly_dollars=Decimal(100))
    assert stops(estimated(world, mails(world), contactIds=contacts(2))) == {
        "budget_unpriced": Chance.CERTAIN
    }


# By the past


def test_the_next_run_is_estimated_as_the_last_ones_went_in_proportion(world: World) -> None:
    """Ten companies were wanted and four found: of twenty it likely finds eight.

    Seen red with the past's sums taken for the next run's, whatever that is asked for.
    """
    config = leads(world, batch=10)
    past = run(world, config, ScriptedCompanies(4))
    told = estimated(world, config)
    assert (told.basis, told.runs) == (Basis.AGENT, 1)
    assert told.likely == Figures(5, past.credits)
    assert told.at_most == Figures(30, 30)
    of = {one.operation: one.likely.calls for one in estimated(world, config, limit=20).operations}
    assert of == {"search_companies": 1, "enrich_company": 8}


def test_the_estimate_is_what_the_next_run_then_costs(world: World) -> None:
    """With a model, whose tokens the past knows better than the agent."""
    config = mails(world)
    people = [a_contact(world.database, world.ours.manager) for _ in range(6)]
    run(world, config, ScriptedCompanies(), contactIds=people[:2])
    told = estimated(world, config, contactIds=people[2:])
    after = run(world, config, ScriptedCompanies(), contactIds=people[2:])
    assert told.likely == Figures(4, 0, after.dollars)
    assert after.dollars == 4 * PRICE.of(tokens_in=100, tokens_out=50)


def test_calls_that_were_free_are_likely_free_again(world: World) -> None:
    config = leads(world, batch=4)
    run(world, config, ScriptedCompanies(4))
    rows(
        world.database,
        world.ours.manager,
        "UPDATE usage_entries SET credits = 0 WHERE operation = 'enrich_company' RETURNING id",
    )
    told = estimated(world, config)
    assert (told.likely.calls, told.likely.credits, told.at_most.credits) == (5, 1, 24)


def test_an_agent_without_a_past_learns_from_its_type(world: World) -> None:
    run(world, leads(world, batch=10), ScriptedCompanies(5))
    told = estimated(world, leads(world, batch=20))
    assert (told.basis, told.runs, told.likely.calls) == (Basis.AGENT_TYPE, 1, 1 + 10)
    assert estimated(world, mails(world), contactIds=contacts(1)).basis is Basis.CONFIG


def past(
    world: World, config: AgentConfigId, runs: Sequence[Mapping[str, Any]], *, batch: int = 10
) -> list[str]:
    """Completed runs of a minute, a day apart, each with `calls` enrichments."""
    manager = world.ours.manager
    told = [
        {
            "agent_config_id": config,
            "completed_at": BEGIN + timedelta(days=number),
            "started_at": BEGIN + timedelta(days=number, seconds=-60),
        }
        for number in range(len(runs))
    ]
    ids = past_runs(world.database, manager, told)
    for run_id, given in zip(ids, runs, strict=True):
        rows(
            world.database,
            manager,
            "UPDATE agent_runs SET config = CAST(:config AS jsonb), agent_version = :version, replay_of = :replay_of,"
            " output = CAST(:output AS jsonb), items_processed = :calls WHERE id = :id RETURNING id",
            id=run_id,
            calls=given["calls"],
            config=json.dumps(given.get("config", {"industries": ["logistics"], "batchSize": batch})),
            version=given.get("version", lead_source.AGENT.version),
            replay_of=given.get("replay_of"),
            output=json.dumps(given.get("output", {})),
        )
        rows(
            world.database,
            manager,
            "INSERT INTO usage_entries (id, customer_id, run_id, agent_type, step_key, lease_token, provider, operation,"
            " credits, status) SELECT new_id('use'), :customer, :run, 'lead_source', 'e:' || n, 'a token', 'apollo',"
            " 'enrich_company', 1, 'settled' FROM generate_series(1, :calls) n RETURNING id",
            customer=manager.customer_id,
            run=run_id,
            calls=given["calls"],
        )
    return ids


def test_only_whole_runs_of_the_present_agent_count_and_of_them_the_last_twenty(world: World) -> None:
    """Seen red with each of the conditions left out."""
    config = leads(world, batch=10)
    old, *_ = past(world, config, [{"calls": 9}] + [{"calls": 2}] * queries.LAST)
    told = estimated(world, config)
    assert (told.runs, told.likely.credits) == (20, 2)
    assert told.seconds == 60
    past(
        world,
        config,
        [
            {"calls": 150, "version": "0"},
            {"calls": 150, "replay_of": old},
            {"calls": 150, "output": {"stoppedBy": "daily_limit"}},
        ],
    )
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET completed_at = completed_at + interval '1 year' WHERE agent_version = '0'"
        " OR replay_of IS NOT NULL OR output->>'stoppedBy' IS NOT NULL RETURNING id",
    )
    assert estimated(world, config) == told


def test_a_run_whose_config_no_longer_fits_says_nothing(world: World) -> None:
    config = leads(world, batch=10)
    past(world, config, [{"calls": 9, "config": {"icp": "all"}}])
    assert estimated(world, config).basis is Basis.CONFIG


def test_a_few_long_runs_do_for_many(world: World) -> None:
    """Their lines are what an estimate reads. Seen red with twenty runs whatever their length."""
    config = leads(world, batch=10)
    ids = past(world, config, [{"calls": 1}] * 5)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET items_processed = 2000 WHERE id = ANY(:ids) RETURNING id",
        ids=ids,
    )
    assert estimated(world, config).runs == 3


def test_an_estimate_reads_a_few_runs_and_their_lines(
    world: World, postgres: Postgres, database_name: str
) -> None:
    """However many runs there are. Seen red with every condition asked at once: the planner sorted all runs."""
    config = leads(world, batch=10)
    past(world, config, [{"calls": 3}] * 22)
    long_ago = {
        "completed_at": BEGIN - timedelta(days=9),
        "started_at": BEGIN - timedelta(days=9),
        "agent_version": lead_source.AGENT.version,
    }
    past_runs(world.database, world.ours.manager, [{"agent_config_id": config, **long_ago}] * 3000)
    for table in ("agent_runs", "usage_entries", "usage_months", "budgets", "agent_configs", "customers"):
        postgres.execute(f"VACUUM (FREEZE, ANALYZE) {table}", database=database_name)
    reads = reads_of(world.database, world.ours.manager, lambda work: estimate(work, config, {}))
    assert reads.rows <= queries.LOOKED_AT + 20 * 3 + 10
    assert reads.thrown_away < 10
    assert reads.buffers < 400, reads


# What would stop it


def test_what_is_switched_off_or_has_no_key_is_said_before(world: World) -> None:
    config = leads(world)
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=1, changes={"enabled": False})
    off = world.with_settings(agents_enabled=False, apollo_api_key=None)
    assert stops(estimated(off, config)) == {
        "agent_disabled": Chance.CERTAIN,
        "agents_switched_off": Chance.CERTAIN,
        "not_configured": Chance.CERTAIN,
    }
    rows(world.database, world.ours.manager, "UPDATE customers SET agents_enabled = false RETURNING id")
    assert stops(estimated(world, mails(world), contactIds=contacts(1))) == {
        "agents_switched_off": Chance.CERTAIN
    }


@pytest.mark.parametrize(
    ("cap", "chance"),
    [(0, Chance.CERTAIN), (10, Chance.LIKELY), (11, Chance.POSSIBLE), (29, Chance.POSSIBLE), (30, None)],
)
@pytest.mark.parametrize("gate", [Gate.CREDITS, Gate.PLATFORM_CREDITS])
def test_a_cap_in_credits_says_how_sure_it_is(
    world: World, gate: Gate, cap: int, chance: Chance | None
) -> None:
    """Eleven credits are likely, thirty the most."""
    config = leads(world, batch=10)
    if gate is Gate.CREDITS:
        with world.database.enter(world.ours.manager) as work:
            budgets.change(work, version=0, monthly_credits=cap, monthly_dollars=None)
    else:
        world = world.with_settings(platform_credits_per_month=cap)
    assert stops(estimated(world, config)) == ({f"budget_{gate}": chance} if chance else {})


def test_what_is_spent_and_reserved_is_no_longer_left(world: World) -> None:
    config = leads(world, batch=10)
    run(world, config, ScriptedCompanies(10))
    with world.database.enter(world.ours.manager) as work:
        budgets.change(work, version=0, monthly_credits=20, monthly_dollars=None)
    (stop,) = estimated(world, config).stops
    assert (stop.code, stop.chance) == ("budget_credits", Chance.LIKELY)
    assert stop.message == (
        "9 credits of this month's budget of 20 credits are left; the run likely takes 11 credits, at most 30 credits."
    )


@pytest.mark.parametrize(
    ("cap", "chance"),
    [("0.00", Chance.CERTAIN), ("0.01", Chance.LIKELY), ("0.05", Chance.POSSIBLE), ("1.00", None)],
)
def test_a_cap_in_dollars_counts_the_worst_of_the_last_call(
    world: World, cap: str, chance: Chance | None
) -> None:
    """A draft may cost $0.0041 and likely costs $0.00025: forty are likely $0.0100, and the last one needs its room."""
    with world.database.enter(world.ours.manager) as work:
        budgets.change(work, version=0, monthly_credits=None, monthly_dollars=Decimal(cap))
    told = stops(estimated(world, mails(world), contactIds=contacts(40)))
    assert told == ({"budget_dollars": chance} if chance else {})


@pytest.mark.parametrize("cap", [0, 1, 5, 10, 11, 12])
def test_the_verdict_is_then_the_gates(world: World, cap: int) -> None:
    """A run whose end was certain or likely fails for it; another one completes. Seen red with <= in the place of <."""
    with world.database.enter(world.ours.manager) as work:
        budgets.change(work, version=0, monthly_credits=cap, monthly_dollars=None)
    config = leads(world, batch=10)
    told = stops(estimated(world, config)).get("budget_credits")
    ended = run(world, config, ScriptedCompanies(10))
    assert (ended.error_code == "budget_credits") == (told in {Chance.CERTAIN, Chance.LIKELY})


def test_limits_by_the_hour_and_the_day_are_counted_with_what_is_taken(world: World) -> None:
    clock = Hands(datetime(2026, 3, 27, 12, 10, tzinfo=UTC))
    world.database = replace(world.database, clock=clock)
    config = leads(world, batch=3, limits={"hourly": 4, "daily": 10})
    assert stops(estimated(world, config)) == {}
    run(world, config, ScriptedCompanies(3))
    assert stops(estimated(world, config)) == {"hourly_limit": Chance.LIKELY}
    assert stops(estimated(world, config, limit=8)) == {
        "hourly_limit": Chance.LIKELY,
        "daily_limit": Chance.LIKELY,
    }
    clock.forward(3600)
    assert stops(estimated(world, config)) == {}
    clock.forward(24 * 3600)
    assert stops(estimated(world, config, limit=10)) == {"hourly_limit": Chance.LIKELY}


# Over HTTP


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres, **ON, platform_credits_per_month=5) as made:
        yield made


def test_everybody_who_sees_agents_may_ask_and_nothing_changes(api: Api) -> None:
    config = a_config(api.world.database, api.ours.manager)
    tables = (
        "agent_runs",
        "usage_entries",
        "usage_months",
        "limit_counters",
        "audit_entries",
        "outbox_events",
    )
    count = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)  # noqa: S608
    before = rows(api.world.database, api.ours.manager, count)
    told: Any = None
    for role in Role:
        said = api.send(
            "POST", f"/v1/agents/{config}/estimate", api.ours.people[role], body={"input": {"limit": 4}}
        )
        told = data_of(said)
    assert rows(api.world.database, api.ours.manager, count) == before
    assert told.pop("operations") == [
        {
            "provider": "apollo",
            "operation": "search_companies",
            "model": None,
            "payer": "platform",
            "likelyCalls": 1,
            "callsAtMost": 20,
            "likelyCredits": 1,
            "creditsAtMost": 20,
            "likelyDollars": 0,
            "dollarsAtMost": 0,
        },
        {
            "provider": "apollo",
            "operation": "enrich_company",
            "model": None,
            "payer": "platform",
            "likelyCalls": 4,
            "callsAtMost": 4,
            "likelyCredits": 4,
            "creditsAtMost": 4,
            "likelyDollars": 0,
            "dollarsAtMost": 0,
        },
    ]
    assert told == {
        "basedOn": "config",
        "runs": 0,
        "items": 4,
        "likelyCalls": 5,
        "callsAtMost": 24,
        "likelyCredits": 5,
        "creditsAtMost": 24,
        "likelyDollars": 0,
        "dollarsAtMost": 0,
        "dollarsUnknown": None,
        "likelySeconds": None,
        "stops": [
            {
                "code": "budget_platform_credits",
                "chance": "possible",
                "message": "5 credits of your plan's 5 credits are left; the run likely takes 5 credits,"
                " at most 24 credits.",
            }
        ],
    }


def test_the_body_may_be_left_out_where_a_runs_input_may(api: Api) -> None:
    config = a_config(api.world.database, api.ours.manager)
    said = api.send("POST", f"/v1/agents/{config}/estimate", api.ours.rep)
    assert data_of(said)["items"] == 3
    drafter = a_config(api.world.database, api.ours.manager, agent_type="email_drafter", config=SENDER)
    said = api.send("POST", f"/v1/agents/{drafter}/estimate", api.ours.rep)
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "/input/contactIds")


def test_an_input_that_does_not_fit_is_refused_as_a_runs_is(api: Api) -> None:
    config = a_config(api.world.database, api.ours.manager)
    for given in ({"limit": 0}, {"limit": 101}, {"bogus": 1}):
        asked = api.send("POST", f"/v1/agents/{config}/estimate", api.ours.rep, body={"input": given})
        ran = api.send("POST", "/v1/runs", api.ours.manager, body={"configId": config, "input": given})
        assert asked.status_code == ran.status_code == 422
        assert error_of(asked)["details"] == error_of(ran)["details"]


def test_another_customers_agent_is_not_there(api: Api) -> None:
    config = a_config(api.world.database, api.theirs.manager)
    assert api.send("POST", f"/v1/agents/{config}/estimate", api.ours.manager).status_code == 404
