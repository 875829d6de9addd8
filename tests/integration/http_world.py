"""The API over real HTTP for tests: a server on loopback, tokens that the real verifier checks, a real database.

A module has one of its own:

    @pytest.fixture(scope="module")
    def api(postgres: Postgres) -> Iterator[Api]:
        with an_api(postgres) as made:
            yield made
"""

import functools
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Final, NewType
from urllib.parse import quote

import httpx
import jwt
import pytest
from chalice.app import Chalice
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from chalicelib.api import http, routes
from chalicelib.api.http import Route
from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.access import Actor
from chalicelib.domain.errors import NotSignedIn
from chalicelib.domain.ids import PREFIXES, is_id, new_id
from chalicelib.domain.ports import Challenge, SignedIn
from chalicelib.integrations.accounts import Accounts
from chalicelib.integrations.oidc.verifier import TokenVerifier
from chalicelib.integrations.vault import vault_of
from chalicelib.services.integrations import Integrations
from chalicelib.settings import Settings
from local.front import Front, Site
from local.postgres import Postgres
from sandbox.server import Sandbox
from tests.builders import A_PROFILE, a_config, a_run, an_item, rows
from tests.conftest import Tenant, World, a_tenant
from tests.fakes.signals import RememberedSignals

DECLARED: Final[tuple[Route, ...]] = tuple(routes.declared())
"""Every route of the product; those that tests declare are not among them."""

ISSUER: Final = "https://issuer.example"
CLIENT: Final = "client"
TRIES: Final = 1_000_000

_numbers = count(1)


# The server


@dataclass(frozen=True, slots=True)
class Parts:
    """What `http.Context` asks for."""

    settings: Settings
    database: Database
    verifier: TokenVerifier
    issuer: "NobodysIssuer"
    signals: RememberedSignals
    integrations: Integrations


class NobodysIssuer:
    """Knows nobody: signing in is another test's business."""

    def sign_in(self, email: str, password: str) -> SignedIn | Challenge:
        raise NotSignedIn("The e-mail or the password is wrong.", code="wrong_credentials")

    def answer_challenge(self, email: str, session: str, new_password: str) -> SignedIn:
        raise NotSignedIn("The session is over.", code="wrong_credentials")

    def refresh(self, refresh_token: str) -> SignedIn:
        raise NotSignedIn("Your sign-in has ended. Sign in again.", code="session_over")

    def sign_out(self, refresh_token: str) -> None:
        pass


@dataclass(slots=True)
class Clock:
    """The moment that requests believe in; the database's own while it is None."""

    moment: datetime | None = None

    def __call__(self) -> datetime | None:
        return self.moment


@dataclass(frozen=True, slots=True)
class Api:
    """A running API, the providers it asks, and the two tenants who use it."""

    world: World
    providers: Sandbox
    client: httpx.Client
    clock: Clock
    database_name: str

    @property
    def ours(self) -> Tenant:
        return self.world.ours

    @property
    def theirs(self) -> Tenant:
        return self.world.theirs

    def send(
        self,
        method: str,
        path: str,
        by: Actor | None = None,
        *,
        body: Any = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> httpx.Response:
        """One request; `path` and `query` as they stand in the address, `raw` instead of a JSON `body`."""
        sent = dict(headers or {})
        if by is not None:
            assert by.user_id is not None
            sent.setdefault("Authorization", f"Bearer {token(by.user_id)}")
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        return self.client.request(method, f"{path}?{query}" if query else path, content=raw, headers=sent)

    def call(self, declared: Route, by: Actor | None = None, *, ids: "Ids | None" = None) -> httpx.Response:
        """A valid request to a route, with ids that nobody has unless they are given."""
        return self.send(declared.method, path_of(declared, ids or {}), by, body=body_of(declared))


@contextmanager
def an_api(postgres: Postgres, *more: Route, **changes: object) -> Iterator[Api]:
    """The product, and `more` routes of a test's own, served; `changes` are settings that differ."""
    name = f"http_{next(_numbers)}"
    postgres.create_database(name, template="template_bevyly")
    with _keys_served() as jwks_url, tempfile.TemporaryDirectory() as place, Sandbox() as providers:
        settings = Settings.from_environ(
            {
                "DATABASE_URL": postgres.url("bevyly_app", name),
                "DATABASE_SYSTEM_URL": postgres.url("bevyly_system", name),
                "OIDC_ISSUER": ISSUER,
                "OIDC_JWKS_URL": jwks_url,
                "OIDC_CLIENT_ID": CLIENT,
                "SIGN_IN_ATTEMPTS_PER_15_MINUTES": str(TRIES),
                "VAULT": "keyfile",
                "VAULT_KEY_FILE": f"{place}/vault.key",
                "OPENAI_BASE_URL": providers.openai_url,
                "APOLLO_BASE_URL": providers.apollo_url,
            }
        )
        settings = replace(settings, **changes)  # type: ignore[arg-type]
        signals = RememberedSignals()
        engines = (
            create(settings.database_url, pool_size=20),
            create(settings.database_system_url, pool_size=5),
        )
        clock = Clock()
        world = World(Database(*engines, settings, signals, clock), signals, engines)
        world.ours, world.theirs = a_tenant(world.database, "Ours"), a_tenant(world.database, "Theirs")
        app = Chalice(app_name="bevyly-agents")
        integrations = Integrations(world.database, vault_of(settings), Accounts(settings))
        parts = Parts(
            settings,
            world.database,
            TokenVerifier.of(settings),
            NobodysIssuer(),
            signals,
            integrations,
        )
        routes.register(app, parts)
        http.register(app, more, parts)
        front = Front(0).start(app, Site(Path("/nonexistent"), ""))
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{front.port}/api", timeout=30, trust_env=False
            ) as client:
                yield Api(world, providers, client, clock, name)
        finally:
            front.stop()
            for engine in engines:
                engine.dispose()
    postgres.drop_database(name)


# Tokens


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def token(subject: str) -> str:
    """An access token for a person, good for an hour."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": subject,
        "client_id": CLIENT,
        "token_use": "access",
        "iat": now,
        "exp": now + 3600,
    }
    return jwt.encode(claims, _key(), algorithm="RS256", headers={"kid": "one"})


@contextmanager
def _keys_served() -> Iterator[str]:
    public = RSAAlgorithm.to_jwk(_key().public_key(), as_dict=True)
    document = json.dumps({"keys": [{**public, "kid": "one", "alg": "RS256", "use": "sig"}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/keys"
        server.shutdown()
        serving.join()


# A valid request for every route

Ids = Mapping[str, str]
"""A path's ids by their kind."""

_APPROVAL: Final = {"version": 1}
_SEEN: Final = {"items": [{"id": new_id("ApprovalItemId"), "version": 1}]}

BODIES: Final[Mapping[str, Any]] = {
    "POST /v1/agents": {
        "agentType": "lead_source",
        "name": "An agent",
        "config": A_PROFILE,
        "ownerId": new_id("UserId"),
    },
    "PATCH /v1/agents/{config_id}": {"version": 1, "name": "Another name", "ownerId": new_id("UserId")},
    "DELETE /v1/agents/{config_id}": {"version": 1},
    "POST /v1/agents/{config_id}/estimate": {"input": {"limit": 3}},
    "PUT /v1/integrations/{provider}": {"version": 0, "apiKey": "sandbox-openai-key-1"},
    "DELETE /v1/integrations/{provider}": {"version": 1},
    "PUT /v1/budgets": {"version": 0, "monthlyCredits": 500, "monthlyDollars": 20.5},
    "POST /v1/approvals/{item_id}/approve": _APPROVAL,
    "POST /v1/approvals/{item_id}/reject": {"version": 1, "reason": "no fit", "reasonCode": "wrong_profile"},
    "POST /v1/approvals/{item_id}/revert": {"version": 2},
    "POST /v1/approvals/bulk/approve": _SEEN,
    "POST /v1/approvals/bulk/reject": {**_SEEN, "reason": "no fit"},
    "POST /v1/auth/login": {"email": "rep@ours.example", "password": "a guess"},
    "POST /v1/auth/challenge": {
        "email": "rep@ours.example",
        "session": "x" * 20,
        "newPassword": "a password",
    },
    "POST /v1/contacts": {
        "accountId": new_id("AccountId"),
        "firstName": "Ada",
        "lastName": "Byron",
        "title": "Countess",
        "email": "ada@them.example",
    },
    "POST /v1/runs": {"configId": new_id("AgentConfigId"), "input": {"limit": 3}, "trigger": "manual"},
    "POST /v1/runs/{run_id}/replay": {"fromCheckpoints": False},
}
"""By method and path: a body that breaks no rule. Its ids are nobody's; `with_ids` puts others in their place."""


def name_of(declared: Route) -> str:
    return f"{declared.method} {declared.path}"


def body_of(declared: Route) -> Any:
    """A valid body for the route, None where it takes none. A new route with a body needs a line in BODIES."""
    if declared.body is None and declared.consumes is None:
        return None
    if name_of(declared) not in BODIES:
        pytest.fail(f"{name_of(declared)} takes a body: give BODIES in {__file__} a valid one.")
    return BODIES[name_of(declared)]


def with_ids(document: Any, put: Callable[[str], str]) -> Any:
    """The document with `put(kind)` in the place of each id."""
    if isinstance(document, dict):
        return {name: with_ids(inner, put) for name, inner in document.items()}
    if isinstance(document, list):
        return [with_ids(inner, put) for inner in document]
    kind = kind_of_id(document)
    return document if kind is None else put(kind)


def kind_of_id(value: Any) -> str | None:
    """The kind of an id, None for what is none."""
    return next((kind for kind in PREFIXES if isinstance(value, str) and is_id(kind, value)), None)


def kinds_of(declared: Route) -> list[str]:
    """The kinds of the path's ids."""
    return [kind.__name__ for kind in declared.path_kinds.values() if isinstance(kind, NewType)]


def kinds_in_body(declared: Route) -> list[str]:
    """The kinds of the ids in the route's valid body."""
    found: list[str] = []

    def note(kind: str) -> str:
        found.append(kind)
        return ""

    with_ids(BODIES.get(name_of(declared)), note)
    return found


def path_of(declared: Route, ids: Ids) -> str:
    """The route's path with these ids by kind, percent-encoded already; fresh ones for the others."""
    path = declared.path
    for name, kind in declared.path_kinds.items():
        if isinstance(kind, NewType):
            segment = ids.get(kind.__name__) or new_id(kind.__name__)
        elif issubclass(kind, StrEnum):
            segment = str(next(iter(kind)))
        else:
            segment = "something"
        path = path.replace("{" + name + "}", quote(segment, safe="%"))
    return path


# Things that exist, by the kind of their id


def an_account(world: World, tenant: Tenant) -> str:
    (row,) = rows(
        world.database,
        tenant.manager,
        "INSERT INTO accounts (id, customer_id, name, domain) VALUES (:id, :customer, 'A company', :domain)"
        " RETURNING id",
        id=new_id("AccountId"),
        customer=tenant.customer_id,
        domain=f"{new_id('AccountId')[4:]}.example",
    )
    return str(row.id)


def a_contact(world: World, tenant: Tenant, account_id: str | None = None) -> str:
    (row,) = rows(
        world.database,
        tenant.manager,
        "INSERT INTO contacts (id, customer_id, account_id, first_name, last_name)"
        " VALUES (:id, :customer, :account, 'Ada', 'Byron') RETURNING id",
        id=new_id("ContactId"),
        customer=tenant.customer_id,
        account=account_id or an_account(world, tenant),
    )
    return str(row.id)


def an_email(world: World, tenant: Tenant) -> str:
    account_id = an_account(world, tenant)
    (row,) = rows(
        world.database,
        tenant.manager,
        "INSERT INTO outreach_emails (id, customer_id, account_id, contact_id, approval_item_id, to_address,"
        " subject, body, content_hash)"
        " VALUES (:id, :customer, :account, :contact, :item, 'ada@them.example', 'Hello', 'Dear Ada', 'x')"
        " RETURNING id",
        id=new_id("EmailId"),
        customer=tenant.customer_id,
        account=account_id,
        contact=a_contact(world, tenant, account_id),
        item=an_item(world.database, tenant.manager),
    )
    return str(row.id)


def an_event(world: World, tenant: Tenant) -> str:
    """One that is parked, so that it can be sent again."""
    config_id = a_config(world.database, tenant.manager)
    (event,) = rows(
        world.database,
        tenant.manager,
        "SELECT id FROM outbox_events WHERE aggregate_id = :config",
        config=config_id,
    )
    rows(
        world.database,
        tenant.manager,
        "UPDATE event_deliveries SET status = 'parked' WHERE event_id = :event RETURNING event_id",
        event=event.id,
    )
    return str(event.id)


EXISTING: Final[Mapping[str, tuple[str, Callable[[World, Tenant], str]]]] = {
    "AccountId": ("accounts", an_account),
    "AgentConfigId": ("agent_configs", lambda world, tenant: a_config(world.database, tenant.manager)),
    "ApprovalItemId": ("approval_items", lambda world, tenant: an_item(world.database, tenant.manager)),
    "ContactId": ("contacts", a_contact),
    "EmailId": ("outreach_emails", an_email),
    "EventId": ("outbox_events", an_event),
    "RunId": ("agent_runs", lambda world, tenant: a_run(world.database, tenant.manager)),
    "UserId": ("users", lambda _, tenant: str(tenant.rep.user_id)),
}
"""For each kind of id its table, and how one of a tenant's comes to be."""


def existing(kind: str) -> tuple[str, Callable[[World, Tenant], str]]:
    """The kind's line in EXISTING. A new kind in a path needs one."""
    if kind not in EXISTING:
        pytest.fail(f"Paths hold a {kind}: give EXISTING in {__file__} a way to make one.")
    return EXISTING[kind]


def path_to(api: Api, declared: Route, tenant: Tenant) -> str:
    """The route's path to something that this tenant has; what it has to have for that is made."""
    return path_of(declared, {kind: existing(kind)[1](api.world, tenant) for kind in kinds_of(declared)})


# What came back


def error_of(said: httpx.Response) -> Any:
    """The failure's `error`, whose form is checked on the way."""
    body = said.json()
    assert body["success"] is False
    assert (
        {"code", "message", "requestId"}
        <= body["error"].keys()
        <= {"code", "message", "details", "requestId"}
    )
    return body["error"]


def code_of(said: httpx.Response) -> str | None:
    """The failure's code, None for a success."""
    return None if said.is_success else str(error_of(said)["code"])


def data_of(said: httpx.Response) -> Any:
    """The success's `data`."""
    assert said.is_success, said.text
    body = said.json()
    assert body["success"] is True
    return body["data"]
