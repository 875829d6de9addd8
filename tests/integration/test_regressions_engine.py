"""What once went wrong in the engine, each with the sequence that showed it."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.api.agents import AgentChange, change_agent
from chalicelib.db.queries import approvals
from chalicelib.db.queries import runs as queries
from chalicelib.domain.access import engine_for
from chalicelib.domain.approvals import Decision
from chalicelib.domain.companies import Company, CompanyPage, CompanyStub, IdealCustomer
from chalicelib.domain.errors import Conflict, Invalid, ProviderBusy
from chalicelib.domain.ids import new_id
from chalicelib.domain.money import Charge
from chalicelib.domain.providers import Caller
from chalicelib.domain.runs import OLDEST, Trigger
from chalicelib.services import agents
from chalicelib.services.approvals.decide import Verdict, decide_one
from chalicelib.services.approvals.effects import apply_due
from chalicelib.services.crm import Reader
from chalicelib.services.outbox import Relay
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from chalicelib.services.sweep import Sweep
from local.postgres import Postgres
from tests.builders import a_config, a_run, an_item, rows, wait_until_somebody_waits
from tests.conftest import World, a_tenant
from tests.fakes.providers import ScriptedCompanies, ScriptedModel


def the_run(world: World, run_id: str) -> Any:
    (run,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    return run


def busy(_call: str) -> None:
    raise ProviderBusy("Apollo.io is busy.", retry_after=timedelta(seconds=1))


def test_a_claim_that_waited_works_on_the_run_that_committed_meanwhile(world: World) -> None:
    """The run commits while the claim waits for the queue: taken, it was not in the claim's own snapshot, so
    that nobody worked on it until its lease ran out.
    """
    config = a_config(world.database, world.ours.manager)
    visited: list[object] = []
    worker = threading.Thread(target=lambda: visited.append(world.visit()))
    with world.database.enter(world.ours.manager) as work:
        run = start.start(work, agent_type=None, config_id=config, inputs={}, trigger=Trigger.MANUAL)
        work.session.execute(text("SELECT ring()"))
        worker.start()
        wait_until_somebody_waits(world.database)
    worker.join(20)
    assert visited == [run.id]
    assert the_run(world, run.id).status == "completed"


def test_a_claim_that_began_before_a_run_was_accepted_still_rings_for_it(world: World) -> None:
    """The second run found the bell rung and sent nothing; a claim that began earlier and cleared the bell took
    the run for one of the future.
    """
    config = a_config(world.database, world.ours.manager)
    first = a_run(world.database, world.ours.manager, config_id=config)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.session.execute(text("SELECT 1"))
        a_run(world.database, world.ours.manager, config_id=config)
        assert len(world.signals.rings) == 1
        row = queries.claim(work.session, token=new_id("RunId"), limit=5, enabled=True, sinks=["eventbridge"])
    assert (row.id, row.rings) == (first, True)


def test_a_takeover_is_counted_though_its_worker_only_waits(world: World) -> None:
    """The visit that took a dead worker's run over wrote the count back as it was before."""
    run_id = a_run(world.database, world.ours.manager)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        queries.claim(work.session, token=new_id("RunId"), limit=5, enabled=True, sinks=["eventbridge"])
    rows(
        world.database, world.ours.manager, "UPDATE agent_runs SET lease_expires_at = app_now() RETURNING id"
    )
    world.visit(Providers(ScriptedCompanies(before=busy), ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.failures) == ("pending", 1)


def test_many_runs_that_only_have_to_end_are_ended_a_hundred_a_visit(world: World) -> None:
    """One claim ended them all, which for many is longer than a statement may take, and then never happens."""
    config = a_config(world.database, world.ours.manager)
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO agent_runs (id, customer_id, agent_type, trigger, input, config, agent_version,"
        " approval_expiry_hours, created_at, due_at, queue_at)"
        " SELECT new_id('run'), customer_id, agent_type, trigger, input, config, agent_version,"
        " approval_expiry_hours, created_at - interval '80 hours', due_at - interval '1 hour',"
        " queue_at - interval '80 hours' FROM agent_runs, generate_series(1, 150) RETURNING id",
    )
    world.signals.rings.clear()
    assert world.visit() is None
    left = rows(world.database, world.ours.manager, "SELECT id FROM agent_runs WHERE status = 'pending'")
    assert len(left) == 51
    assert len(world.signals.rings) == 1
    assert world.visit() == run_id


def test_a_run_asked_to_stop_does_not_wait_for_its_provider_first(world: World) -> None:
    """Cancelled during a call whose provider then asked for an hour, it went back to the queue for that hour."""
    run_id = a_run(world.database, world.ours.manager)

    def cancelled_meanwhile(_call: str) -> None:
        with world.database.enter(world.ours.manager) as work:
            start.cancel(work, run_id)
        raise ProviderBusy("Apollo.io is busy.", retry_after=timedelta(hours=1))

    world.visit(Providers(ScriptedCompanies(before=cancelled_meanwhile), ScriptedModel()))
    assert the_run(world, run_id).status == "cancelled"
    ended = rows(
        world.database,
        world.ours.manager,
        "SELECT id FROM outbox_events WHERE event_type = 'agent.run.cancelled'",
    )
    assert len(ended) == 1


@pytest.mark.parametrize("wait", [timedelta(days=36_500), timedelta.max])
def test_no_provider_keeps_a_run_waiting_for_ever(world: World, wait: timedelta) -> None:
    """A run is too old after 72 hours, which a claim sees; due in a hundred years, it was never claimed."""

    def for_ever(_call: str) -> None:
        raise ProviderBusy("Apollo.io says: " + "later, " * 60, retry_after=wait)

    run_id = a_run(world.database, world.ours.manager)
    world.visit(Providers(ScriptedCompanies(before=for_ever), ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.due_at - run.created_at < OLDEST + timedelta(minutes=1)) == ("pending", True)


def test_what_a_model_writes_can_always_be_stored(world: World) -> None:
    """A NUL in an answer was refused by the database with the whole checkpoint, its siblings' results included,
    and the run stood still until its lease ran out, five times over.
    """
    (contact,) = rows(
        world.database,
        world.ours.manager,
        "WITH a AS (INSERT INTO accounts (id, customer_id, name, domain)"
        " VALUES (new_id('acc'), :c, 'X', 'x.example') RETURNING id)"
        " INSERT INTO contacts (id, customer_id, account_id, first_name, last_name, email)"
        " SELECT new_id('con'), :c, id, 'Ada', 'L', 'ada@x.example' FROM a RETURNING id",
        c=world.ours.customer_id,
    )
    sender = {"productValue": "Saves a lot of time", "senderName": "Sam", "senderTitle": "SDR"}
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=sender)
    run_id = a_run(world.database, world.ours.manager, config_id=config, contactIds=[contact.id])
    answer = {"subject": "A question", "body": "Hello Ada\0, shall \ud800 we talk?", "factsUsed": []}
    world.visit(Providers(ScriptedCompanies(), ScriptedModel(answer)))
    assert the_run(world, run_id).status == "completed"
    (item,) = rows(world.database, world.ours.manager, "SELECT content FROM approval_items")
    assert item.content["body"] == "Hello Ada, shall  we talk?"


def test_the_longest_domain_and_request_id_there_are_fit(world: World) -> None:
    """A step's key holds the domain, and both were too long for their columns."""
    domain = ".".join(["a" * 61] * 4)[:245] + ".example"
    assert len(domain) == 253

    class FarAway(ScriptedCompanies):
        def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
            caller.meter.add(Charge(credits=1, request_id="r" * 1000, model="m" * 1000))
            return CompanyPage((CompanyStub("org1", "Far away", domain),), 1, 1, 1)

        def enrich(self, caller: Caller, domain: str) -> Company | None:
            return None

    run_id = a_run(world.database, world.ours.manager)
    world.visit(Providers(FarAway(), ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.items_succeeded) == ("completed", 1)


def test_what_the_database_refuses_counts_as_a_failure(world: World) -> None:
    """The run stood `running` until its lease ran out; a failure is counted and backed off at once. The call that
    could not be recorded stays booked.
    """
    run_id = a_run(world.database, world.ours.manager)

    def spoil(call: str) -> None:
        if call == "search:1":
            rows(
                world.database,
                world.ours.manager,
                "INSERT INTO agent_run_steps (customer_id, run_id, key, status, input_hash)"
                " VALUES (:c, :run, :key, 'succeeded', 'x') RETURNING key",
                c=world.ours.customer_id,
                run=run_id,
                key=call,
            )

    world.visit(Providers(ScriptedCompanies(before=spoil), ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.failures) == ("pending", 1)
    (entry,) = rows(world.database, world.ours.manager, "SELECT status FROM usage_entries")
    assert entry.status == "unknown"


def sweep(world: World) -> dict[str, int]:
    return Sweep(world.database, Relay(world.database, [])).every_minute(lambda: timedelta(minutes=5))


def forget_the_bells(world: World) -> None:
    for tenant in (world.ours, world.theirs):
        rows(world.database, tenant.manager, "UPDATE tenant_queues SET rung_at = NULL RETURNING customer_id")


def test_one_tenants_busy_queue_does_not_keep_the_sweep(world: World) -> None:
    """It waited for the queue's lock until the lock's timeout, and gave up with everything else undone."""
    a_run(world.database, world.ours.manager)
    a_run(world.database, world.theirs.manager)
    forget_the_bells(world)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.session.execute(text("SELECT FROM tenant_queues FOR UPDATE"))
        assert sweep(world)["rung"] == 1


def test_the_sweep_rings_only_where_that_does_something(world: World) -> None:
    """Tenants who are switched off, or have no slot free, were rung each minute for nothing and came first among
    the 500 of a sweep.
    """
    for tenant in (world.ours, world.theirs):
        a_run(world.database, tenant.manager)
    forget_the_bells(world)
    rows(world.database, world.ours.manager, "UPDATE customers SET agents_enabled = false RETURNING id")
    assert sweep(world)["rung"] == 1
    rows(world.database, world.ours.manager, "UPDATE customers SET agents_enabled = true RETURNING id")
    assert sweep(world)["rung"] == 1


def test_an_agent_that_many_runs_wait_for_can_be_disabled(world: World) -> None:
    """Ending ten thousand in the request took as long as a statement may; workers end what is beyond a few hundred."""
    config = a_config(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager, config_id=config)
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO agent_runs (id, customer_id, agent_config_id, agent_type, trigger, input, config, agent_version,"
        " approval_expiry_hours) SELECT new_id('run'), customer_id, agent_config_id, agent_type, trigger, input,"
        " config, agent_version, approval_expiry_hours FROM agent_runs, generate_series(1, 549) RETURNING id",
    )
    world.visit()
    world.signals.rings.clear()
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=1, changes={"enabled": False})
    waiting = "SELECT id FROM agent_runs WHERE status = 'pending'"
    assert len(rows(world.database, world.ours.manager, waiting)) == 49
    assert len(world.signals.rings) <= 1
    world.visit()
    assert rows(world.database, world.ours.manager, waiting) == []


def test_times_and_keys_are_found_by_their_index(
    world: World, postgres: Postgres, database_name: str
) -> None:
    """Beside a policy the planner takes COALESCE for leaky, so that no index on a time was used; and a lead's key
    was looked for in all of a tenant's items.
    """
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO approval_items (id, customer_id, agent_type, item_type, title, content, dedupe_key, content_hash,"
        " expires_at, status, reviewed_by, reviewed_at, effective_at)"
        " SELECT new_id('apr'), :c, 'lead_source', 'lead_import', 'T', '{}', 'lead:' || n, 'h',"
        " app_now() + interval '1 day', CASE mod(n, 2) WHEN 0 THEN 'pending' ELSE 'approved' END, :u, app_now(),"
        " app_now() + interval '1 day' FROM generate_series(1, 4000) n RETURNING id",
        c=world.ours.customer_id,
        u=world.ours.manager.user_id,
    )
    postgres.execute("ANALYZE approval_items", database=database_name)
    wanted = {
        "approval_items_expiry_idx": "expires_at <= app_now() AND status = 'pending'",
        "approval_items_due_idx": "effective_at <= app_now() AND status = 'approved' AND applied_at IS NULL",
        "approval_items_dedupe_idx": "dedupe_key = ANY('{lead:1,lead:2}') AND status <> 'expired'",
    }
    for index, condition in wanted.items():
        with world.database.enter(world.ours.manager) as work:
            plan = work.session.scalars(
                text(
                    f"EXPLAIN SELECT id FROM approval_items WHERE customer_id = :c AND {condition}"  # noqa: S608
                    " ORDER BY effective_at LIMIT 100"
                ),
                {"c": world.ours.customer_id},
            ).all()
        assert any(index in line for line in plan), plan
        assert any("Index Cond" in line and condition.split()[0] in line for line in plan), plan


def test_the_sweep_finds_whose_items_are_due(world: World) -> None:
    """Ours has expired, theirs takes effect, a third tenant's waits."""
    third = a_tenant(world.database, "Third")
    for tenant in (world.ours, world.theirs, third):
        item_id = an_item(world.database, tenant.manager)
        if tenant is world.theirs:
            with world.database.enter(tenant.manager) as work:
                decide_one(work, Verdict(item_id, 1), Decision.APPROVE)
    rows(world.database, world.ours.manager, "UPDATE approval_items SET expires_at = app_now() RETURNING id")
    with world.database.system() as session:
        assert set(approvals.tenants_with_work(session)) == {
            world.ours.customer_id,
            world.theirs.customer_id,
        }
    figures = sweep(world)
    assert (figures["applied"], figures["expired"]) == (1, 1)


def test_known_domains_are_accounts_and_leads_that_wait_or_were_decided(world: World) -> None:
    for domain in ("account", "waits", "rejected", "expired"):
        item_id = an_item(world.database, world.ours.manager, domain=f"{domain}.example")
        if domain in ("account", "rejected"):
            verdict = Decision.APPROVE if domain == "account" else Decision.REJECT
            with world.database.enter(world.ours.manager) as work:
                decide_one(work, Verdict(item_id, 1), verdict)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE approval_items SET status = 'expired' WHERE dedupe_key = 'lead:expired.example' RETURNING id",
    )
    apply_due(world.database, world.ours.customer_id)
    asked = [f"{name}.example" for name in ("account", "waits", "rejected", "expired", "new")]
    with world.database.enter(world.ours.manager) as work:
        known = Reader(work).known_domains(asked)
    assert known == ["account.example", "rejected.example", "waits.example"]


def test_a_disabled_agents_run_is_not_accepted_again(world: World) -> None:
    """It was accepted, and cancelled by the next claim without a word."""
    config = a_config(world.database, world.ours.manager)
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.settle()
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=1, changes={"enabled": False})
    with pytest.raises(Conflict, match="disabled"), world.database.enter(world.ours.manager) as work:
        start.replay(work, run_id, from_checkpoints=False)


def test_a_run_done_again_does_not_bring_an_old_rule_back(world: World) -> None:
    """Its items were approved by the rule of then, though the agent's items need a person now."""
    config = a_config(world.database, world.ours.manager, approval_required=False)
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.settle()
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=1, changes={"approval_required": True})
    with world.database.enter(world.ours.manager) as work:
        assert start.replay(work, run_id, from_checkpoints=False).approval_required


def test_what_cannot_be_empty_is_pointed_at_by_the_clients_name_for_it(world: World) -> None:
    config = a_config(world.database, world.ours.manager)
    body = AgentChange.model_validate_json('{"version": 1, "approvalRequired": null}')
    with pytest.raises(Invalid) as refused, world.database.enter(world.ours.manager) as work:
        change_agent(work, config, body)
    assert refused.value.pointer == "/approvalRequired"
