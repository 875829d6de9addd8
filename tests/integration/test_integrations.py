"""A tenant's own keys over HTTP: saved, verified, removed, and never shown."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from chalicelib.domain.access import Actor, Role
from chalicelib.domain.integrations import Provider
from chalicelib.domain.secrets import Place, Secret
from chalicelib.integrations.accounts import Accounts
from chalicelib.integrations.vault import vault_of
from chalicelib.services.integrations import Integrations, list_all
from local.postgres import Postgres
from tests.builders import rows
from tests.conftest import Tenant, a_tenant
from tests.integration.apollo_world import Reply, ScriptedServer
from tests.integration.http_world import Api, an_api, code_of, data_of, error_of

OPENAI_KEY = "sandbox-openai-key-of-theirs"
APOLLO_KEY = "paid-plan-key-of-theirs"


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres, provider_private_hosts=("127.0.0.1",)) as made:
        yield made


@pytest.fixture
def tenant(api: Api) -> Iterator[Tenant]:
    """One of this test's own; the providers have no trouble."""
    yield a_tenant(api.world.database, "Somebody")
    api.providers.faults.clear()


def admin(tenant: Tenant) -> Actor:
    return tenant.people[Role.ADMIN]


def put(api: Api, tenant: Tenant, provider: str = "openai", **body: Any) -> httpx.Response:
    return api.send("PUT", f"/v1/integrations/{provider}", admin(tenant), body={"version": 0, **body})


def shown(api: Api, tenant: Tenant, provider: str = "openai") -> Any:
    listed = data_of(api.send("GET", "/v1/integrations", tenant.manager))
    assert [entry["provider"] for entry in listed] == ["openai", "apollo"]
    return next(entry for entry in listed if entry["provider"] == provider)


def row_of(api: Api, tenant: Tenant, provider: str = "openai") -> Any:
    found = rows(
        api.world.database,
        tenant.manager,
        "SELECT * FROM integration_credentials WHERE provider = :provider",
        provider=provider,
    )
    return found[0] if found else None


def opened(api: Api, tenant: Tenant, provider: str = "openai") -> Secret:
    row = row_of(api, tenant, provider)
    vault = vault_of(api.world.database.settings)
    return vault.open(row.credentials, Place(tenant.customer_id, provider, row.id))


def told_of(api: Api, tenant: Tenant) -> list[tuple[str, Any]]:
    events = rows(
        api.world.database,
        tenant.manager,
        "SELECT event_type, payload FROM outbox_events WHERE event_type LIKE 'integration.%' ORDER BY position",
    )
    return [(event.event_type.removeprefix("integration.credential."), event.payload) for event in events]


# What the account has left


def test_an_accounts_credits_and_calls_are_told_by_the_provider(api: Api, tenant: Tenant) -> None:
    """Apollo's own word after a call of ours, in our operations' names."""
    data_of(put(api, tenant, "apollo", apiKey=APOLLO_KEY))
    before = data_of(api.send("GET", "/v1/integrations/apollo/account", tenant.manager))
    assert before["credits"]["left"] > 0
    assert {line["operation"] for line in before["calls"]} >= {"search_companies", "enrich_company"}
    httpx.get(
        f"{api.providers.apollo_url}/organizations/enrich",
        params={"domain": api.providers.world.companies[0].domain},
        headers={"x-api-key": APOLLO_KEY},
    )
    after = data_of(api.send("GET", "/v1/integrations/apollo/account", tenant.manager))
    assert after["credits"]["left"] == before["credits"]["left"] - 1


def test_who_has_no_account_or_asks_one_that_tells_nothing_is_told_so(api: Api, tenant: Tenant) -> None:
    missing = api.send("GET", "/v1/integrations/apollo/account", tenant.manager)
    assert (missing.status_code, code_of(missing)) == (404, "not_found")
    silent = api.send("GET", "/v1/integrations/openai/account", tenant.manager)
    assert (silent.status_code, code_of(silent)) == (422, "not_told")
    refused = api.send("GET", "/v1/integrations/apollo/account", tenant.rep)
    assert refused.status_code == 403


def test_a_key_without_the_scope_is_told_which_it_needs(api: Api, tenant: Tenant) -> None:
    data_of(put(api, tenant, "apollo", apiKey=APOLLO_KEY))
    api.providers.faults.add({"path": "/api/v1/usage_stats/*", "kind": "free_plan"})
    said = api.send("GET", "/v1/integrations/apollo/account", tenant.manager)
    assert said.status_code == 502
    assert "Apollo.io" in error_of(said)["message"]


# Saving


def test_before_anything_is_saved_both_providers_are_listed(api: Api, tenant: Tenant) -> None:
    for provider, name in (("openai", "OpenAI"), ("apollo", "Apollo.io")):
        entry = shown(api, tenant, provider)
        assert (entry["name"], entry["connected"], entry["usedKey"]) == (name, False, "none")
        assert (entry["version"], entry["status"], entry["lastFour"]) == (0, None, None)


@pytest.mark.parametrize(("provider", "key"), [("openai", OPENAI_KEY), ("apollo", APOLLO_KEY)])
def test_a_key_is_verified_saved_and_never_shown(api: Api, tenant: Tenant, provider: str, key: str) -> None:
    said = put(api, tenant, provider, apiKey=f" {key}\n")
    saved = data_of(said)
    assert key not in said.text
    assert (saved["connected"], saved["usedKey"], saved["status"]) == (True, "tenant", "active")
    assert (saved["lastFour"], saved["failureReason"], saved["version"]) == (key[-4:], None, 1)
    assert saved["lastVerifiedAt"] is not None
    assert shown(api, tenant, provider) == saved
    assert opened(api, tenant, provider) == Secret(key)
    row = row_of(api, tenant, provider)
    assert key not in str(row)
    assert told_of(api, tenant) == [
        ("saved", {"credentialId": row.id, "provider": provider, "status": "active"})
    ]
    (entry,) = rows(
        api.world.database, tenant.manager, "SELECT * FROM audit_entries WHERE action = 'integration.saved'"
    )
    assert (entry.target_id, entry.user_id) == (row.id, admin(tenant).user_id)
    assert entry.details == {"provider": provider, "fields": ["api_key"]}
    assert entry.request_id == said.headers["x-request-id"]


def test_a_key_that_the_provider_refuses_is_not_saved_and_the_old_one_stays(api: Api, tenant: Tenant) -> None:
    """Seen red with the provider's refusal passed over."""
    said = put(api, tenant, apiKey="a-wrong-key")
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "/apiKey")
    assert "OpenAI does not know this API key" in error_of(said)["message"]
    assert row_of(api, tenant) is None
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    before = row_of(api, tenant)
    said = put(api, tenant, apiKey="another-wrong-key", version=1)
    assert said.status_code == 422
    assert row_of(api, tenant) == before


@pytest.mark.parametrize("provider", ["openai", "apollo"])
def test_a_provider_that_cannot_be_asked_is_a_503_and_the_old_key_stays(
    api: Api, tenant: Tenant, provider: str
) -> None:
    key = {"openai": OPENAI_KEY, "apollo": APOLLO_KEY}[provider]
    data_of(put(api, tenant, provider, apiKey=key))
    before = row_of(api, tenant, provider)
    with broken(api, {"openai": "/v1/models", "apollo": "/api/v1/auth/health"}[provider]):
        for said in (
            put(api, tenant, provider, apiKey=f"{key}-2", version=1),
            api.send("POST", f"/v1/integrations/{provider}/verify", admin(tenant)),
        ):
            assert (said.status_code, code_of(said)) == (503, "provider_trouble")
            assert int(said.headers["Retry-After"]) >= 1
    assert row_of(api, tenant, provider) == before


def test_options_change_without_the_key_and_the_key_without_the_options(api: Api, tenant: Tenant) -> None:
    options = {
        "model": "gpt-4.1",
        "tokenParameter": "max_tokens",
        "temperature": 0.3,
        "maxTokens": 700,
        "price": {"tokensIn": 0.5, "tokensCached": 0, "tokensOut": 1.25},
        "callsPerMinute": 30,
    }
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    saved = data_of(put(api, tenant, options=options, version=1))
    assert {name: value for name, value in saved["options"].items() if value is not None} == options
    assert (saved["version"], saved["lastFour"]) == (2, OPENAI_KEY[-4:])
    again = data_of(put(api, tenant, apiKey=f"{OPENAI_KEY}-2", version=2))
    assert again["options"] == saved["options"]
    assert opened(api, tenant) == Secret(f"{OPENAI_KEY}-2")
    (_, entry, _) = rows(
        api.world.database,
        tenant.manager,
        "SELECT details FROM audit_entries WHERE action = 'integration.saved' ORDER BY id",
    )
    assert entry.details["fields"] == [
        "calls_per_minute",
        "max_tokens",
        "model",
        "price",
        "temperature",
        "token_parameter",
    ]


def test_a_model_that_the_key_does_not_know_is_said(api: Api, tenant: Tenant) -> None:
    said = put(api, tenant, apiKey=OPENAI_KEY, options={"model": "gpt-none"})
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "/options/model")
    assert "gpt-none" in error_of(said)["message"]


def test_a_saved_key_is_not_sent_to_another_base_url(api: Api, tenant: Tenant) -> None:
    """Who may change options could else have the key sent to a server of their own. Seen red without that rule."""
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    with ScriptedServer(Reply.json({"data": []})) as elsewhere:
        said = put(api, tenant, options={"baseUrl": f"{elsewhere.url}/v1"}, version=1)
        assert (said.status_code, code_of(said)) == (422, "key_needed")
        assert elsewhere.received == []


def test_a_server_of_ones_own_needs_no_real_key_and_no_list_of_models(api: Api, tenant: Tenant) -> None:
    options = {"model": "llama", "tokenParameter": "max_tokens"}
    for reply in (
        Reply(404),
        Reply.json({"data": [{"id": "llama:latest"}]}),
        Reply.json({"object": "list"}),
    ):
        with ScriptedServer(reply) as own:
            told = {**options, "baseUrl": f"{own.url}/v1/"}
            version = shown(api, tenant)["version"]
            saved = data_of(put(api, tenant, apiKey="ollama", options=told, version=version))
            assert saved["options"]["baseUrl"] == f"{own.url}/v1"
            assert saved["lastFour"] is None
            assert own.received[0].path == "/v1/models"
    with ScriptedServer(Reply(200, b"<html>")) as website:
        told = {**options, "baseUrl": website.url}
        version = shown(api, tenant)["version"]
        said = put(api, tenant, apiKey="ollama", options=told, version=version)
        assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "/options/baseUrl")


@pytest.mark.parametrize(
    ("provider", "body", "pointer"),
    [
        ("openai", {}, "/apiKey"),
        ("openai", {"apiKey": ""}, "/apiKey"),
        ("openai", {"apiKey": "two words"}, "/apiKey"),
        ("openai", {"apiKey": "ä"}, "/apiKey"),
        ("openai", {"apiKey": "x" * 1001}, "/apiKey"),
        ("openai", {"apiKey": 5}, "/apiKey"),
        ("openai", {"apiKey": "x", "options": {"baseUrl": "https://169.254.169.254/v1"}}, "/options/baseUrl"),
        ("openai", {"apiKey": "x", "options": {"baseUrl": "http://10.0.0.1/v1"}}, "/options/baseUrl"),
        ("openai", {"apiKey": "x", "options": {"temperature": 3}}, "/options/temperature"),
        ("openai", {"apiKey": "x", "options": {"maxTokens": 0}}, "/options/maxTokens"),
        ("openai", {"apiKey": "x", "options": {"tokenParameter": "n"}}, "/options/tokenParameter"),
        (
            "openai",
            {
                "apiKey": "x",
                "options": {"model": "m", "price": {"tokensIn": -1, "tokensCached": 0, "tokensOut": 0}},
            },
            "/options/price/tokensIn",
        ),
        ("openai", {"apiKey": "x", "status": "active"}, "/status"),
        ("apollo", {"apiKey": "x", "options": {"model": "m"}}, "/options/model"),
        ("apollo", {"apiKey": "x", "options": {"baseUrl": "https://x.example"}}, "/options/baseUrl"),
        ("bland", {"apiKey": "x"}, "provider"),
    ],
)
def test_these_are_refused_with_a_pointer(
    api: Api, tenant: Tenant, provider: str, body: Any, pointer: str
) -> None:
    said = put(api, tenant, provider, **body)
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, pointer), said.text
    assert row_of(api, tenant, provider) is None


def test_bland_is_reserved_and_other_names_are_nobodys(api: Api, tenant: Tenant) -> None:
    said = api.send("POST", "/v1/integrations/bland/verify", admin(tenant))
    assert (said.status_code, code_of(said)) == (422, "reserved")
    assert put(api, tenant, "another", apiKey="x").status_code == 404


# Two at once


def test_of_two_who_save_at_once_the_second_is_told(api: Api, tenant: Tenant) -> None:
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    said = put(api, tenant, apiKey=f"{OPENAI_KEY}-2")
    assert (said.status_code, code_of(said), error_of(said)["details"]) == (
        409,
        "stale_version",
        {"version": 1},
    )


@pytest.mark.parametrize("before", [0, 1])
def test_while_the_provider_is_asked_somebody_else_saves(api: Api, tenant: Tenant, before: int) -> None:
    """Seen red with the version left out of the second transaction's UPDATE."""
    if before:
        data_of(put(api, tenant, apiKey=OPENAI_KEY))
    ready = threading.Barrier(2)

    class Meeting(Accounts):
        """Asks the provider when both are there."""

        __slots__ = ()

        def check(self, *given: Any) -> None:
            ready.wait(10)
            Accounts.check(self, *given)

    database = api.world.database
    slow = Integrations(database, vault_of(database.settings), Meeting(database.settings))
    refused = list[BaseException]()

    def save(key: str) -> None:
        try:
            slow.save(admin(tenant), Provider.OPENAI, version=before, key=Secret(key), options=None)
        except Exception as error:  # noqa: BLE001 - looked at below
            refused.append(error)

    threads = [threading.Thread(target=save, args=(f"{OPENAI_KEY}-{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [getattr(error, "code", error) for error in refused] == ["stale_version"]
    assert shown(api, tenant)["version"] == before + 1
    assert opened(api, tenant).reveal() in {f"{OPENAI_KEY}-{n}" for n in range(2)}


def test_no_transaction_is_open_while_the_provider_is_asked(api: Api, tenant: Tenant) -> None:
    """Seen red with the check inside the second transaction."""
    database = api.world.database
    in_use = list[int]()

    class Looking(Accounts):
        __slots__ = ()

        def check(self, *given: Any) -> None:
            in_use.append(database.app.pool.checkedout())  # type: ignore[attr-defined]
            Accounts.check(self, *given)

    looking = Integrations(database, vault_of(database.settings), Looking(database.settings))
    looking.save(admin(tenant), Provider.OPENAI, version=0, key=Secret(OPENAI_KEY), options=None)
    looking.verify(admin(tenant), Provider.OPENAI)
    assert in_use == [0, 0]


# Verifying and removing


def test_verifying_says_what_the_provider_says_now(api: Api, tenant: Tenant) -> None:
    assert api.send("POST", "/v1/integrations/openai/verify", admin(tenant)).status_code == 404
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    with broken(api, "/v1/models", kind="bad_key"):
        failed = data_of(api.send("POST", "/v1/integrations/openai/verify", admin(tenant)))
    assert (failed["status"], failed["usedKey"], failed["version"]) == ("failed", "tenant", 1)
    assert "does not know this API key" in failed["failureReason"]
    mended = data_of(api.send("POST", "/v1/integrations/openai/verify", admin(tenant)))
    assert (mended["status"], mended["failureReason"]) == ("active", None)
    assert mended["lastVerifiedAt"] >= failed["lastVerifiedAt"]
    assert [kind for kind, _ in told_of(api, tenant)] == ["saved", "failed", "verified"]


def test_removing_forgets_the_key(api: Api, tenant: Tenant) -> None:
    where = "/v1/integrations/openai"
    assert api.send("DELETE", where, admin(tenant), body={"version": 1}).status_code == 404
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    stale = api.send("DELETE", where, admin(tenant), body={"version": 2})
    assert (stale.status_code, code_of(stale)) == (409, "stale_version")
    assert api.send("DELETE", where, admin(tenant), body={"version": 1}).status_code == 204
    assert row_of(api, tenant) is None
    assert shown(api, tenant)["connected"] is False
    assert [kind for kind, _ in told_of(api, tenant)] == ["saved", "deleted"]


def test_another_tenants_key_is_not_there(api: Api, tenant: Tenant) -> None:
    other = a_tenant(api.world.database, "Other")
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    assert shown(api, other)["connected"] is False
    assert api.send("POST", "/v1/integrations/openai/verify", admin(other)).status_code == 404
    assert api.send("DELETE", "/v1/integrations/openai", admin(other), body={"version": 1}).status_code == 404
    assert shown(api, tenant)["connected"] is True


def test_an_envelope_of_another_row_does_not_open(api: Api, tenant: Tenant) -> None:
    """Swapped in the database, by whoever could: between tenants, and between providers."""
    other = a_tenant(api.world.database, "Other")
    for whose in (tenant, other):
        data_of(put(api, whose, apiKey=OPENAI_KEY))
    stolen = row_of(api, other).credentials
    rows(
        api.world.database,
        tenant.manager,
        "UPDATE integration_credentials SET credentials = :stolen WHERE provider = 'openai' RETURNING id",
        stolen=stolen,
    )
    said = data_of(api.send("POST", "/v1/integrations/openai/verify", admin(tenant)))
    assert said["status"] == "failed"
    assert "cannot be opened" in said["failureReason"]
    said = put(api, tenant, options={"model": "gpt-4.1"}, version=1)
    assert (said.status_code, code_of(said)) == (422, "key_unreadable")
    assert data_of(put(api, tenant, apiKey=OPENAI_KEY, version=1))["status"] == "active"


def test_with_the_vault_out_key_routes_answer_503(api: Api, tenant: Tenant) -> None:
    data_of(put(api, tenant, apiKey=OPENAI_KEY))
    path = api.world.database.settings.vault_key_file
    assert path is not None
    with an_unreadable(path):
        for said in (
            put(api, tenant, apiKey=f"{OPENAI_KEY}-2", version=1),
            put(api, tenant, "apollo", apiKey=APOLLO_KEY),
        ):
            assert (said.status_code, code_of(said)) == (503, "vault_unavailable")
        assert data_of(api.send("GET", "/v1/integrations", tenant.manager))
    assert row_of(api, tenant, "apollo") is None
    assert opened(api, tenant) == Secret(OPENAI_KEY)


@pytest.mark.parametrize(
    ("plan", "key", "used"),
    [("starter", "k", "platform"), ("starter", None, "none"), ("growth", "k", "none")],
)
def test_without_a_key_of_ones_own_the_plan_decides(
    api: Api, tenant: Tenant, postgres: Postgres, *, plan: str, key: str | None, used: str
) -> None:
    postgres.execute(
        f"UPDATE customers SET plan = '{plan}' WHERE id = '{tenant.customer_id}'",  # noqa: S608 - of this test
        database=api.database_name,
    )
    database = api.world.database
    given = replace(database, settings=replace(database.settings, openai_api_key=key))
    with given.enter(tenant.manager) as work:
        found = {integration.provider: integration.source for integration in list_all(work)}
    assert found == {Provider.OPENAI: used, Provider.APOLLO: "none"}


@contextmanager
def broken(api: Api, path: str, **fault: Any) -> Iterator[None]:
    """The sandbox's provider has trouble for a while; a 500 unless said otherwise."""
    api.providers.faults.add({"path": path, **(fault or {"status": 500})})
    yield
    api.providers.faults.clear()


@contextmanager
def an_unreadable(path: str) -> Iterator[None]:
    """The key file is others' to read for a while, and so is refused."""
    Path(path).chmod(0o644)
    yield
    Path(path).chmod(0o600)
