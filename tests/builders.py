"""Things that tests need, with the values that matter to be said and the rest chosen."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from chalicelib.agents.base import Proposal
from chalicelib.db.work import Database
from chalicelib.domain.access import Actor, engine_for
from chalicelib.domain.approvals import Priority
from chalicelib.domain.content import LeadImport
from chalicelib.domain.ids import AgentConfigId, ApprovalItemId, RunId, new_id
from chalicelib.domain.runs import Trigger
from chalicelib.services import agents
from chalicelib.services.approvals.propose import Origin, propose
from chalicelib.services.runs import start

A_PROFILE: dict[str, Any] = {"industries": ["logistics"], "locations": ["Germany"]}


def a_config(
    database: Database, actor: Actor, *, agent_type: str = "lead_source", **said: Any
) -> AgentConfigId:
    with database.enter(actor) as work:
        values: dict[str, Any] = {"name": "An agent", "config": {**A_PROFILE, "batchSize": 3}, **said}
        return AgentConfigId(agents.create(work, agent_type=agent_type, **values).id)


def a_run(
    database: Database, actor: Actor, *, config_id: AgentConfigId | None = None, **inputs: Any
) -> RunId:
    """An accepted run of a lead source."""
    config_id = config_id or a_config(database, actor)
    with database.enter(actor) as work:
        run = start.start(work, agent_type=None, config_id=config_id, inputs=inputs, trigger=Trigger.MANUAL)
        return RunId(run.id)


def past_runs(database: Database, actor: Actor, told: Sequence[Mapping[str, Any]]) -> list[str]:
    """Runs that were, each with the columns that matter, born in this order; ids in the same order."""
    defaults = {
        "agent_config_id": None,
        "agent_type": "lead_source",
        "status": "completed",
        "trigger": "manual",
        "agent_version": "1",
        "created_at": "2026-03-01T08:00:00Z",
        "started_at": None,
        "completed_at": None,
        "items_processed": 0,
        "items_succeeded": 0,
        "items_failed": 0,
    }
    given = [{"id": new_id("RunId"), **defaults, **columns} for columns in told]
    rows(
        database,
        actor,
        "INSERT INTO agent_runs (id, customer_id, agent_config_id, agent_type, status, trigger, input, config,"
        " agent_version, approval_expiry_hours, created_at, started_at, completed_at, items_processed,"
        " items_succeeded, items_failed, lease_token)"
        " SELECT id, :customer, agent_config_id, agent_type, status, trigger, '{}', '{}', agent_version, 72, created_at,"
        " started_at, completed_at, items_processed, items_succeeded, items_failed,"
        " CASE WHEN status = 'running' THEN 'a token' END"
        " FROM jsonb_populate_recordset(NULL::agent_runs, CAST(:told AS jsonb)) RETURNING id",
        customer=actor.customer_id,
        told=json.dumps(given, default=str),
    )
    return [str(run["id"]) for run in given]


def a_long_history(
    database: Database, actor: Actor, configs: Mapping[AgentConfigId, str], *, many: int, begin: datetime
) -> None:
    """A run a minute of these agents, each given with its type, in turn, a second long; a quarter failed, one in a thousand was scheduled.

    The n-th has the id `run_0…n`, in 25 digits.
    """
    rows(
        database,
        actor,
        "INSERT INTO agent_runs (id, customer_id, agent_config_id, agent_type, status, trigger, input, config,"
        " agent_version, approval_expiry_hours, created_at, started_at, completed_at)"
        " SELECT 'run_0' || lpad(n::text, 25, '0'), :customer,"
        " (CAST(:configs AS text[]))[1 + mod(n, :count)], (CAST(:types AS text[]))[1 + mod(n, :count)],"
        " CASE mod(n, 4) WHEN 3 THEN 'failed' ELSE 'completed' END,"
        " CASE mod(n, 1000) WHEN 1 THEN 'scheduled' ELSE 'api' END,"
        " '{}', '{}', '1', 72, born, born, born + interval '1 second'"
        " FROM (SELECT n, CAST(:begin AS timestamptz) + n * interval '1 minute' AS born"
        " FROM generate_series(1, :many) n) AS minutes RETURNING id",
        customer=actor.customer_id,
        configs=list(configs),
        types=list(configs.values()),
        count=len(configs),
        begin=begin,
        many=many,
    )


def an_item(
    database: Database,
    actor: Actor,
    *,
    domain: str | None = None,
    priority: Priority = Priority.NORMAL,
    flags: tuple[dict[str, str], ...] = (),
    owner: Actor | None = None,
    approval_required: bool = True,
) -> ApprovalItemId:
    """A pending lead, born as agents' proposals are."""
    domain = domain or f"{new_id('AccountId')[4:]}.example"
    run_id = a_run(database, actor)
    proposal = Proposal(
        content=LeadImport(name=f"Company {domain}", domain=domain, employee_count=50),
        title=f"Import {domain}",
        dedupe_key=f"lead:{domain}",
        evidence={},
        priority=priority,
        flags=flags,
    )
    origin = Origin(
        run_id=run_id,
        agent_type="lead_source",
        config_id=None,
        owner_id=(owner or actor).user_id,
        starter_id=actor.user_id,
        expiry=timedelta(hours=72),
        approval_required=approval_required,
        causation={},
    )
    with database.enter(engine_for(actor.customer_id)) as work:
        (birth,) = propose(work, origin, [proposal])
        work.session.flush()
    assert birth.item_id is not None, birth.skipped
    return birth.item_id


def rows(database: Database, actor: Actor, sql: str, **parameters: Any) -> list[Any]:
    """What a tenant's tables say."""
    with database.enter(engine_for(actor.customer_id)) as work:
        return list(work.session.execute(text(sql), parameters).all())


def a_contact(database: Database, actor: Actor) -> str:
    """A contact with an address, at an account of their own."""
    account_id, contact_id = new_id("AccountId"), new_id("ContactId")
    rows(
        database,
        actor,
        "INSERT INTO accounts (id, customer_id, name, domain) VALUES (:id, :customer, 'A company', :domain) RETURNING id",
        id=account_id,
        customer=actor.customer_id,
        domain=f"{account_id[4:]}.example",
    )
    rows(
        database,
        actor,
        "INSERT INTO contacts (id, customer_id, account_id, first_name, last_name, email)"
        " VALUES (:id, :customer, :account, 'Ada', 'Example', :email) RETURNING id",
        id=contact_id,
        customer=actor.customer_id,
        account=account_id,
        email=f"{contact_id}@company.example",
    )
    return contact_id


def wait_until_somebody_waits(database: Database) -> None:
    """Until a transaction stands in line for a lock."""
    for _ in range(400):
        with database.system() as session:
            if session.execute(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")).scalar_one():
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits")
