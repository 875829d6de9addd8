"""What every test may use: a real PostgreSQL, a fresh migrated database, two tenants."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import hypothesis
import pytest
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import text

from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.access import Actor, Role
from chalicelib.domain.ids import CustomerId, UserId, new_id
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from chalicelib.settings import Settings
from local.postgres import Postgres, throwaway
from migrations import runner
from tests.fakes.pooler import pooler, through
from tests.fakes.providers import scripted
from tests.fakes.signals import RememberedSignals
from tests.fakes.worker import Nursery

_numbers = count(1)

hypothesis.settings.register_profile("explore")

MINUTE = timedelta(minutes=5)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of this process's own, with a migrated template."""
    with throwaway() as server:
        server.ensure_roles()
        server.create_database("template_bevyly")
        runner.upgrade(server.url("bevyly_owner", "template_bevyly"))
        yield server


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Workers of this process's own, that can be killed."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def database_name(postgres: Postgres) -> Iterator[str]:
    """A fresh database of this test's own."""
    with a_database(postgres) as name:
        yield name


@contextmanager
def a_database(postgres: Postgres) -> Iterator[str]:
    """A fresh one, for as long as the block lasts."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name, template="template_bevyly")
    yield name
    postgres.drop_database(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pooler", help="a PgBouncer; the product's connections then go through it, in transaction mode"
    )


@pytest.fixture(scope="session")
def pooler_port(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[int | None]:
    """Of the pooler that this run was asked to go through, if any."""
    program = request.config.getoption("--pooler")
    if program is None:
        yield None
        return
    with pooler(program, postgres, size=30) as port:
        yield port


@pytest.fixture
def settings(postgres: Postgres, database_name: str, pooler_port: int | None) -> Settings:
    made = settings_of(postgres, database_name)
    if pooler_port is None:
        return made
    return dataclasses.replace(
        made,
        database_url=through(made.database_url, pooler_port),
        database_system_url=through(made.database_system_url, pooler_port),
    )


def settings_of(postgres: Postgres, database: str) -> Settings:
    return Settings.from_environ(
        {
            "DATABASE_URL": postgres.url("bevyly_app", database),
            "DATABASE_SYSTEM_URL": postgres.url("bevyly_system", database),
            "OIDC_ISSUER": "https://issuer.example",
            "OIDC_JWKS_URL": "https://issuer.example/keys",
            "OIDC_CLIENT_ID": "client",
            "PLATFORM_DOLLARS_PER_MONTH": "none",  # what the scripted model costs is nobody's to know
        }
    )


@dataclass(slots=True)
class Tenant:
    """A customer and one person of each role."""

    customer_id: CustomerId
    people: dict[Role, Actor]

    @property
    def manager(self) -> Actor:
        return self.people[Role.MANAGER]

    @property
    def rep(self) -> Actor:
        return self.people[Role.SALES_REP]


@dataclass(slots=True)
class World:
    """A database with two tenants, and a way to act in it."""

    database: Database
    signals: RememberedSignals
    engines: tuple[SqlEngine, SqlEngine]
    ours: Tenant = field(init=False)
    theirs: Tenant = field(init=False)

    def engine(self, providers: Providers | None = None) -> Engine:
        given = providers or scripted()
        return Engine(self.database, lambda _customer: given, stay=timedelta())

    def visit(self, providers: Providers | None = None, tenant: Tenant | None = None) -> str | None:
        """What a worker does with one doorbell message when it does not stay for a second run."""
        visited = self.engine(providers).visit((tenant or self.ours).customer_id, lambda: MINUTE)
        return visited[0] if visited else None

    def settle(self, providers: Providers | None = None) -> int:
        """Visit until nothing is to do. Returns the visits."""
        visits = 0
        while self.visit(providers) is not None:
            visits += 1
            assert visits < 1000, "it does not settle"
        return visits

    def with_settings(self, **changes: object) -> "World":
        """The same world under other settings."""
        changed = dataclasses.replace(self.database.settings, **changes)  # type: ignore[arg-type]
        world = World(dataclasses.replace(self.database, settings=changed), self.signals, self.engines)
        world.ours, world.theirs = self.ours, self.theirs
        return world


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    with a_world(settings) as made:
        yield made


@contextmanager
def a_world(settings: Settings) -> Iterator[World]:
    """Two tenants in an empty database, and no clock but the database's own."""
    signals = RememberedSignals()
    app = create(settings.database_url, pool_size=20)
    across = create(settings.database_system_url, pool_size=20)
    made = World(Database(app, across, settings, signals), signals, (app, across))
    made.ours, made.theirs = a_tenant(made.database, "Ours"), a_tenant(made.database, "Theirs")
    yield made
    app.dispose()
    across.dispose()


def a_tenant(database: Database, name: str, *, undo_window_seconds: int = 0) -> Tenant:
    """A customer with one active person of each role."""
    customer_id = CustomerId(new_id("CustomerId"))
    people = {
        role: Actor(
            customer_id,
            UserId(new_id("UserId")),
            role,
            f"{name} {role.value}",
            f"{role.value.lower()}@{name.lower()}.example",
        )
        for role in Role
    }
    with database.system() as session:
        session.execute(
            text("INSERT INTO customers (id, name, undo_window_seconds) VALUES (:id, :name, :window)"),
            {"id": customer_id, "name": name, "window": undo_window_seconds},
        )
        for actor in people.values():
            session.execute(
                text(
                    "INSERT INTO users (id, customer_id, issuer, subject, email, name, role, status)"
                    " VALUES (:id, :customer, 'https://issuer.example', :id, :email, :name, :role, 'active')"
                ),
                {
                    "id": actor.user_id,
                    "customer": customer_id,
                    "email": actor.email,
                    "name": actor.name,
                    "role": actor.role.value if actor.role else None,
                },
            )
    return Tenant(customer_id, people)
