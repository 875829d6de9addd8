"""Whose key a run's calls are made with, and what becomes of a run whose key is refused, changed or sealed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from chalicelib.db.driver import create
from chalicelib.domain.access import Role
from chalicelib.domain.ids import RunId
from chalicelib.domain.integrations import Options, Provider
from chalicelib.domain.money import ModelPrice, Payer
from chalicelib.domain.secrets import Secret
from chalicelib.integrations.accounts import Accounts
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.integrations.vault import vault_of
from chalicelib.services.integrations import Integrations, remove
from chalicelib.services.keys import Keys
from chalicelib.services.runs.execute import Engine
from local.postgres import Postgres
from sandbox.server import Sandbox
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import MINUTE, Tenant, World
from tests.fakes.flight_counter import FlightCounter
from tests.integration.test_flow_control import SENDER

APOLLO_KEY = "paid-plan-key-of-ours"
OPENAI_KEY = "sandbox-openai-key-of-ours"
PLATFORM = "sandbox-apollo-key"


@pytest.fixture(scope="module")
def providers() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@dataclass(slots=True)
class Place:
    """A world whose runs use real clients, against the sandbox."""

    world: World
    sandbox: Sandbox
    keys: Keys
    integrations: Integrations

    @property
    def ours(self) -> Tenant:
        return self.world.ours

    def save(self, provider: Provider, key: str, version: int = 0, **options: Any) -> None:
        self.integrations.save(
            self.ours.people[Role.ADMIN],
            provider,
            version=version,
            key=Secret(key),
            options=Options(**options),
        )

    def visit(self) -> list[RunId]:
        engine = Engine(self.world.database, self.keys.providers, stay=timedelta())
        return engine.visit(self.ours.customer_id, lambda: MINUTE)

    def run(self, companies: int = 1) -> str:
        manager = self.ours.manager
        config = a_config(
            self.world.database, manager, config={"industries": ["logistics"], "batchSize": companies}
        )
        return a_run(self.world.database, manager, config_id=config)

    def row(self, run_id: str) -> Any:
        (row,) = rows(
            self.world.database, self.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id
        )
        return row

    def credential(self, provider: Provider = Provider.APOLLO) -> Any:
        (row,) = rows(
            self.world.database,
            self.ours.manager,
            "SELECT * FROM integration_credentials WHERE provider = :p",
            p=provider.value,
        )
        return row

    def callers(self) -> set[str]:
        """The last four characters of the keys that paid for a search or an enrichment."""
        return {entry.key_last4 for entry in self.sandbox.ledger.entries() if "health" not in entry.path}


@pytest.fixture
def place(world: World, providers: Sandbox, tmp_path: Path) -> Iterator[Place]:
    settings = replace(
        world.database.settings,
        openai_base_url=providers.openai_url,
        apollo_base_url=providers.apollo_url,
        apollo_api_key=PLATFORM,
        vault="keyfile",
        vault_key_file=str(tmp_path / "vault.key"),
    )
    world = world.with_settings(
        **{name: getattr(settings, name) for name in type(settings).__dataclass_fields__ if name != "queues"}
    )
    vault = vault_of(settings)
    providers.ledger.reset()
    yield Place(
        world,
        providers,
        Keys(world.database, vault, Accounts(settings)),
        Integrations(world.database, vault, Accounts(settings)),
    )
    providers.faults.clear()


# Whose


def test_without_a_key_of_ones_own_the_plans_platform_key_is_used(place: Place) -> None:
    run_id = place.run()
    place.visit()
    assert place.row(run_id).status == "completed"
    assert place.callers() == {PLATFORM[-4:]}
    assert payers(place) == {"platform"}


def test_a_key_of_ones_own_is_used_and_the_ledger_says_whose(place: Place) -> None:
    place.save(Provider.APOLLO, APOLLO_KEY, calls_per_minute=77)
    run_id = place.run()
    place.visit()
    assert place.row(run_id).status == "completed"
    assert place.callers() == {APOLLO_KEY[-4:]}
    assert payers(place) == {"tenant"}
    terms = place.keys.providers(place.ours.customer_id).terms["apollo"]
    assert (terms.payer, terms.credential, terms.calls_per_minute) == (
        Payer.TENANT,
        place.credential().id,
        77,
    )


def test_one_key_is_for_companies_and_people(place: Place) -> None:
    place.save(Provider.APOLLO, APOLLO_KEY)
    made = place.keys.providers(place.ours.customer_id)
    assert isinstance(made.companies, ApolloClient)
    assert made.people is made.companies


def test_a_failed_key_of_ones_own_is_used_and_its_error_told_never_the_platforms(place: Place) -> None:
    """Seen red with a failed row treated as none."""
    place.save(Provider.APOLLO, APOLLO_KEY)
    run_id = place.run()
    with trouble(place, path="/api/v1", kind="bad_key"):
        place.visit()
    row = place.row(run_id)
    assert (row.status, row.error_code) == ("failed", "credential_rejected")
    assert "does not know this API key" in row.error
    assert place.credential().status == "failed"
    again = place.run()
    place.visit()
    assert place.row(again).status == "completed", "the key is tried: the provider may take it again"
    assert place.callers() == {APOLLO_KEY[-4:]}
    assert place.credential().status == "failed", "until somebody verifies it"
    shown = place.integrations.verify(place.ours.people[Role.ADMIN], Provider.APOLLO)
    assert shown.credential is not None
    assert shown.credential.status == "active"


def test_a_plan_without_the_platforms_key_says_what_to_do(
    place: Place, postgres: Postgres, database_name: str
) -> None:
    postgres.execute("UPDATE customers SET plan = 'growth'", database=database_name)
    run_id = place.run()
    place.visit()
    row = place.row(run_id)
    assert (row.status, row.error_code) == ("failed", "not_configured")
    assert row.error == "No Apollo.io API key configured. An administrator can add one under Integrations."
    assert place.callers() == set()


def test_where_nobody_has_a_key_the_run_says_so(place: Place) -> None:
    run_id = a_run(
        place.world.database,
        place.ours.manager,
        config_id=a_config(
            place.world.database, place.ours.manager, agent_type="email_drafter", config=SENDER
        ),
        contactIds=[a_contact(place.world.database, place.ours.manager)],
    )
    place.visit()
    assert (
        place.row(run_id).error
        == "No OpenAI API key configured. An administrator can add one under Integrations."
    )


def test_a_removed_key_is_the_platforms_turn_again(place: Place) -> None:
    place.save(Provider.APOLLO, APOLLO_KEY)
    with place.world.database.enter(place.ours.people[Role.ADMIN]) as work:
        remove(work, Provider.APOLLO, version=1)
    place.run()
    place.visit()
    assert place.callers() == {PLATFORM[-4:]}


def test_declared_prices_and_options_become_the_terms_and_the_model(place: Place) -> None:
    mine = ModelPrice(Decimal("1.5"), Decimal(0), Decimal(2))
    place.save(Provider.OPENAI, OPENAI_KEY, model="gpt-4.1", max_tokens=50, price=mine, temperature=0.0)
    found = place.keys.providers(place.ours.customer_id)
    assert found.terms["openai"].price == mine
    assert found.terms["openai"].most_tokens_out == 4050
    model: Any = found.model
    assert (model.model, model.max_tokens, model.temperature, model.allowed) == ("gpt-4.1", 50, 0.0, None)
    place.save(Provider.OPENAI, OPENAI_KEY, 1, model="gpt-4.1")
    assert place.keys.providers(place.ours.customer_id).terms["openai"].price is None


# Warm


def test_rows_are_read_in_one_flight_a_visit_and_keys_opened_once(place: Place, postgres: Postgres) -> None:
    place.save(Provider.APOLLO, APOLLO_KEY)
    place.save(Provider.OPENAI, OPENAI_KEY)
    with FlightCounter(postgres.port) as counter:
        url = make_url(place.world.database.settings.database_url).set(port=counter.port)
        counted = create(url, pool_pre_ping=False)
        keys = Keys(replace(place.world.database, app=counted), place.keys.vault, place.keys.accounts)
        first = keys.providers(place.ours.customer_id)
        counter.reset()
        second = keys.providers(place.ours.customer_id)
        counted.dispose()
        assert counter.flights == 1
    assert first.companies is second.companies
    assert first.model is second.model


# Changed and refused


def test_a_key_changed_under_a_running_run_is_loaded_once_and_the_call_made_again(place: Place) -> None:
    """Seen red with `renews` answering False."""
    place.save(Provider.APOLLO, APOLLO_KEY)
    run_id = place.run(companies=6)
    old = place.keys.providers(place.ours.customer_id)
    engine = Engine(place.world.database, lambda _customer: old)
    place.save(Provider.APOLLO, "paid-plan-key-new1", 1)
    place.sandbox.faults.add({"path": "/api/v1", "kind": "bad_key", "times": 1})
    engine.visit(place.ours.customer_id, lambda: MINUTE)
    assert place.row(run_id).status == "completed"
    assert place.credential().status == "active"
    assert place.callers() >= {"new1"}
    entries = rows(place.world.database, place.ours.manager, "SELECT status, error_code FROM usage_entries")
    assert [(e.status, e.error_code) for e in entries if e.error_code] == [
        ("released", "credential_rejected")
    ]


@pytest.mark.parametrize("after", [1, 3])
def test_a_refused_key_that_nobody_changed_fails_the_run_at_once(place: Place, after: int) -> None:
    """At the first call, and in the middle of a map."""
    place.save(Provider.APOLLO, APOLLO_KEY)
    run_id = place.run(companies=6)
    path = "/api/v1/mixed_companies" if after == 1 else "/api/v1/organizations"
    place.sandbox.ledger.reset()
    with trouble(place, path=path, kind="bad_key"):
        place.visit()
    row = place.row(run_id)
    assert (row.status, row.error_code) == ("failed", "credential_rejected")
    credential = place.credential()
    assert (credential.status, credential.version) == ("failed", 1)
    assert credential.failure_reason == row.error
    events = rows(
        place.world.database,
        place.ours.manager,
        "SELECT payload FROM outbox_events WHERE event_type = 'integration.credential.failed'",
    )
    assert [event.payload for event in events] == [
        {"credentialId": credential.id, "provider": "apollo", "status": "failed"}
    ]
    assert len(place.sandbox.ledger.entries()) <= 9, "a refused key is not tried for ever"


def test_a_refusal_of_the_old_key_does_not_mark_the_new_one(place: Place) -> None:
    """Seen red with the version left out of the note's condition."""
    place.save(Provider.APOLLO, APOLLO_KEY)
    seen = place.keys.providers(place.ours.customer_id).held
    place.save(Provider.APOLLO, "paid-plan-key-new1", 1)
    place.keys._note_refusal(place.ours.customer_id, Provider.APOLLO, seen["apollo"], "no")
    assert place.credential().status == "active"


# Sealed


def test_with_the_vault_out_runs_wait_and_go_on(place: Place, tmp_path: Path) -> None:
    """Seen red with the vault's Unavailable let through: it ends the run."""
    place.save(Provider.APOLLO, APOLLO_KEY)
    run_id = place.run()
    place.sandbox.ledger.reset()
    (tmp_path / "vault.key").chmod(0o644)
    place.visit()
    row = place.row(run_id)
    assert (row.status, row.failures) == ("pending", 0)
    assert "cannot be opened just now" in row.wait_reason
    assert place.callers() == set(), "neither in the clear nor with the platform's"
    (tmp_path / "vault.key").chmod(0o600)
    rows(place.world.database, place.ours.manager, "UPDATE agent_runs SET due_at = app_now() RETURNING id")
    place.visit()
    assert place.row(run_id).status == "completed"


def test_a_key_that_does_not_open_ends_the_run_in_words(place: Place) -> None:
    place.save(Provider.APOLLO, APOLLO_KEY)
    rows(
        place.world.database,
        place.ours.manager,
        "UPDATE integration_credentials SET credentials = overlay(credentials placing 'AAAA' from"
        " length(credentials) - 8) RETURNING id",
    )
    run_id = place.run()
    place.visit()
    row = place.row(run_id)
    assert (row.status, row.error_code) == ("failed", "key_unreadable")
    assert row.error.endswith("Save the key again.")
    assert place.credential().status == "failed"


def payers(place: Place) -> set[str]:
    found = rows(place.world.database, place.ours.manager, "SELECT payer FROM usage_entries")
    return {row.payer for row in found}


@contextmanager
def trouble(place: Place, **fault: Any) -> Iterator[None]:
    place.sandbox.faults.add(fault)
    yield
    place.sandbox.faults.clear()
