"""Demo data: two customers, their people, and something for the agents to work on.

It goes in through the roles the product has, so row-level security holds for it too. What is there stays as
it is: people and accounts may be changed between two starts.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, text

from chalicelib.agents import email_drafter, lead_source
from chalicelib.agents.base import AgentModel
from local.people import (
    MANAGER,
    NORTHWIND,
    OTHER_MANAGER,
    PEOPLE,
    REP_NORTH,
    REP_SOUTH,
    TENANTS,
    Person,
    Tenant,
    fixed_id,
)

if TYPE_CHECKING:
    from sandbox.world import Company, World

CENTRAL_EUROPE: Final = ("Germany", "Austria", "Switzerland", "Poland", "Netherlands")
LOGISTICS: Final = "logistics & supply chain"
MOST_CONTACTS: Final = 3
MOST_SIGNALS: Final = 3

LEADS: Final = lead_source.Config(
    industries=["logistics"],
    employee_count=lead_source.Range(min=50, max=1_000),
    locations=list(CENTRAL_EUROPE),
    batch_size=5,
)
MAILS: Final = email_drafter.Config(
    product_value="Warehouse robots that pick and carry, rented by the month and working within a week",
    sender_name=REP_NORTH.name,
    sender_title="Account Executive",
    pain_points=["Too few people for the night shift", "Peaks that come faster than hiring"],
)
OTHER_LEADS: Final = lead_source.Config(industries=["retail"], locations=["Netherlands"], batch_size=5)

_ENTER = text("SELECT enter_tenant(:customer)")
_CUSTOMER = text(
    "INSERT INTO customers (id, name, plan, time_zone, undo_window_seconds)"
    " VALUES (:id, :name, :plan, :time_zone, :undo) ON CONFLICT DO NOTHING"
)
_USER = text(
    "INSERT INTO users (id, customer_id, email, name, role, status)"
    " VALUES (:id, :customer, :email, :name, :role, 'active') ON CONFLICT DO NOTHING"
)
_LINK = text(
    "UPDATE users SET issuer = :issuer, subject = :subject WHERE customer_id = :customer AND id = :id"
)
_KNOWN = text("SELECT true FROM agent_configs WHERE customer_id = :customer AND id = :id")
_ACCOUNT = text(
    "INSERT INTO accounts (id, customer_id, name, domain, industry, employee_count, annual_revenue, city,"
    " country, description, technologies, linkedin_url, source, source_ref, owner_id)"
    " VALUES (:id, :customer, :name, :domain, :industry, :employees, :revenue, :city, :country, :about,"
    " CAST(:technologies AS jsonb), :linkedin, 'import', :ref, :owner)"
)
_CONTACT = text(
    "INSERT INTO contacts (id, customer_id, account_id, first_name, last_name, title, seniority, department,"
    " email, email_status, linkedin_url, source, source_ref)"
    " VALUES (:id, :customer, :account, :first, :last, :title, :seniority, :department, :email,"
    " :email_status, :linkedin, 'import', :ref)"
)
_SIGNAL = text(
    "INSERT INTO intent_signals (id, customer_id, account_id, kind, title, source, observed_at)"
    " VALUES (:id, :customer, :account, :kind, :title, 'import', :observed_at)"
)
_CONFIG = text(
    "INSERT INTO agent_configs (id, customer_id, agent_type, name, config, time_zone, owner_id, created_by)"
    " VALUES (:id, :customer, :type, :name, CAST(:config AS jsonb), :time_zone, :owner, :owner)"
)


def seed(app: Engine, system: Engine, *, issuer: str, subjects: Mapping[str, str]) -> bool:
    """Make what is missing and link everybody to their sign-in of this start. True the first time.

    Args:
        app: an engine of bevyly_app.
        system: an engine of bevyly_system.
        issuer: who signs the tokens.
        subjects: each e-mail's `sub` at the issuer.
    """
    with system.begin() as connection:
        _people(connection, issuer, subjects)
    fresh = False
    for tenant in TENANTS:
        with app.begin() as connection:
            connection.execute(_ENTER, {"customer": tenant.id})
            # The tenant's data came in one transaction, the configuration with it.
            known = connection.execute(_KNOWN, {"customer": tenant.id, "id": _config_id(tenant, "leads")})
            if known.one_or_none() is None:
                _work(connection, tenant)
                fresh = True
    return fresh


def _people(connection: Connection, issuer: str, subjects: Mapping[str, str]) -> None:
    for tenant in TENANTS:
        given = {"plan": tenant.plan, "time_zone": tenant.time_zone, "undo": tenant.undo_window_seconds}
        connection.execute(_CUSTOMER, {"id": tenant.id, "name": tenant.name, **given})
    for person in PEOPLE:
        who = {"id": person.id, "customer": person.tenant.id}
        about = {"email": person.email, "name": person.name, "role": person.role.value}
        connection.execute(_USER, {**who, **about})
        connection.execute(_LINK, {**who, "issuer": issuer, "subject": subjects[person.email]})


def _work(connection: Connection, tenant: Tenant) -> None:
    from sandbox.world import build_world  # noqa: PLC0415 - a second, the first time only

    world = build_world()
    if tenant is NORTHWIND:
        chosen = [*_logistics(world, 9), *_others(world, 5)]
        _accounts(connection, world, tenant, chosen, [REP_NORTH, REP_SOUTH])
        _config(
            connection,
            MANAGER,
            "leads",
            agent="lead_source",
            name="Logistics in Central Europe",
            config=LEADS,
        )
        _config(
            connection,
            MANAGER,
            "mails",
            agent="email_drafter",
            name="First e-mail to a warehouse",
            config=MAILS,
        )
    else:
        _accounts(connection, world, tenant, _others(world, 9)[5:], [OTHER_MANAGER])
        _config(
            connection,
            OTHER_MANAGER,
            "leads",
            agent="lead_source",
            name="Retail in the Netherlands",
            config=OTHER_LEADS,
        )


def _logistics(world: "World", count: int) -> list["Company"]:
    """Companies that the ready-made profile fits, a few of many: an agent passes over them."""
    fitting = (
        company
        for company in _interesting(world)
        if company.industry == LOGISTICS
        and company.country in CENTRAL_EUROPE
        and LEADS.employee_count.between().holds(company.employees)
    )
    # Every other one, so that the search meets known and new companies on one page.
    return list(itertools.islice(fitting, 0, 2 * count, 2))[:count]


def _others(world: "World", count: int) -> list["Company"]:
    fitting = (company for company in _interesting(world) if company.industry != LOGISTICS)
    return list(itertools.islice(fitting, count))


def _interesting(world: "World") -> Iterator["Company"]:
    """With news to open with and at least two people to write to."""
    for company in world.companies:
        reachable = [person for person in world.people_of[company.id] if person.email_status == "verified"]
        if company.signals and len(reachable) > 1:
            yield company


def _accounts(
    connection: Connection,
    world: "World",
    tenant: Tenant,
    companies: Sequence["Company"],
    owners: Sequence[Person],
) -> None:
    accounts, contacts, signals = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for company, owner in zip(companies, itertools.cycle(owners), strict=False):
        account = fixed_id("AccountId", f"{tenant.key}:{company.domain}")
        here = {"customer": tenant.id, "account": account}
        accounts.append(
            {
                "id": account,
                "customer": tenant.id,
                "name": company.name,
                "domain": company.domain,
                "industry": company.industry,
                "employees": company.employees,
                "revenue": company.revenue,
                "city": company.city,
                "country": company.country,
                "about": company.about,
                "technologies": json.dumps([technology.uid for technology in company.technologies]),
                "linkedin": company.linkedin_url,
                "ref": company.id,
                "owner": owner.id,
            }
        )
        reachable = [person for person in world.people_of[company.id] if person.email_status == "verified"]
        contacts += [
            {
                **here,
                "id": fixed_id("ContactId", f"{tenant.key}:{person.email}"),
                "first": person.first_name,
                "last": person.last_name,
                "title": person.title,
                "seniority": person.seniority,
                "department": person.department,
                "email": person.email,
                "email_status": person.email_status,
                "linkedin": person.linkedin_url,
                "ref": person.id,
            }
            for person in reachable[:MOST_CONTACTS]
        ]
        signals += [
            {
                **here,
                "id": fixed_id("SignalId", f"{tenant.key}:{company.domain}:{place}"),
                "kind": signal.kind,
                "title": signal.sentence,
                "observed_at": datetime.combine(signal.on, time(9), UTC),
            }
            for place, signal in enumerate(company.signals[:MOST_SIGNALS])
        ]
    for statement, rows in ((_ACCOUNT, accounts), (_CONTACT, contacts), (_SIGNAL, signals)):
        connection.execute(statement, rows)


def _config(
    connection: Connection, owner: Person, key: str, *, agent: str, name: str, config: AgentModel
) -> None:
    connection.execute(
        _CONFIG,
        {
            "id": _config_id(owner.tenant, key),
            "customer": owner.tenant.id,
            "type": agent,
            "name": name,
            "config": config.model_dump_json(by_alias=True),
            "time_zone": owner.tenant.time_zone,
            "owner": owner.id,
        },
    )


def _config_id(tenant: Tenant, key: str) -> str:
    return fixed_id("AgentConfigId", f"{tenant.key}:{key}")
