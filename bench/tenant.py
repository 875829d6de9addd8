"""What a benchmark drives in its own process: a tenant in a migrated database, and an agent of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import text

from chalicelib.agents import registry
from chalicelib.agents.base import Agent, AgentModel, Category, RunContext
from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.access import Actor, Role
from chalicelib.domain.ids import CustomerId, RunId, UserId, new_id
from chalicelib.domain.money import Payer, Terms
from chalicelib.domain.providers import CompanySource
from chalicelib.domain.runs import Trigger
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from chalicelib.settings import Settings
from local.postgres import APP, OWNER, SYSTEM, Postgres
from migrations import runner
from tests.fakes.providers import ScriptedModel
from tests.fakes.signals import RememberedSignals

FUNCTION_LEFT: Final = timedelta(minutes=5)
NO_LIMIT: Final = 2_000_000_000


class Nothing(AgentModel):
    """No fields."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer whose manager starts runs, and the worker that does them."""

    database: Database
    manager: Actor

    def accept(self, agent_type: str) -> RunId:
        with self.database.enter(self.manager) as work:
            run = start.start(work, agent_type=agent_type, config_id=None, inputs={}, trigger=Trigger.MANUAL)
        return RunId(run.id)

    def visit(self, providers: Providers) -> list[RunId]:
        """What a worker does with one doorbell message."""
        engine = Engine(self.database, lambda _customer: providers)
        return engine.visit(self.manager.customer_id, lambda: FUNCTION_LEFT)


def ungated(companies: CompanySource) -> Providers:
    """Providers whose calls pass every gate: each is asked, and none refuses."""
    terms = Terms(payer=Payer.TENANT, calls_per_minute=NO_LIMIT)
    return Providers(companies, ScriptedModel(), terms={"apollo": terms})


@contextmanager
def a_tenant(postgres: Postgres, name: str) -> Iterator[Tenant]:
    """A new database of this name, migrated, and one customer with a manager in it. A function's pool of one."""
    postgres.create_database(name)
    runner.upgrade(postgres.url(OWNER, name))
    settings = Settings.from_environ(
        {
            "DATABASE_URL": postgres.url(APP, name),
            "DATABASE_SYSTEM_URL": postgres.url(SYSTEM, name),
            "OIDC_ISSUER": "https://issuer.example",
            "OIDC_JWKS_URL": "https://issuer.example/keys",
            "OIDC_CLIENT_ID": "console",
            "PLATFORM_CREDITS_PER_MONTH": "none",
            "PLATFORM_DOLLARS_PER_MONTH": "none",
        }
    )
    app, across = create(settings.database_url), create(settings.database_system_url)
    manager = Actor(CustomerId(new_id("CustomerId")), UserId(new_id("UserId")), Role.MANAGER)
    with across.begin() as connection:
        connection.execute(
            text("INSERT INTO customers (id, name) VALUES (:id, 'A customer')"), {"id": manager.customer_id}
        )
        connection.execute(
            text(
                "INSERT INTO users (id, customer_id, email, name, role, status)"
                " VALUES (:id, :customer, 'somebody@example.com', 'Somebody', 'MANAGER', 'active')"
            ),
            {"id": manager.user_id, "customer": manager.customer_id},
        )
    try:
        yield Tenant(Database(app, across, settings, RememberedSignals()), manager)
    finally:
        app.dispose()
        across.dispose()


@contextmanager
def registered(agent_type: str, run: Callable[[RunContext, Any, Any], None]) -> Iterator[None]:
    """An agent that this process alone knows, and only meanwhile."""
    agent = Agent(
        type=agent_type,
        name="A benchmark's agent",
        description="Does what is measured.",
        icon="Timer",
        category=Category.PROSPECTING,
        version="1",
        config=Nothing,
        input=Nothing,
        run=run,
    )
    shipped = registry.AGENTS
    registry.AGENTS = MappingProxyType({**shipped, agent_type: agent})
    try:
        yield
    finally:
        registry.AGENTS = shipped
