"""What the app needs to answer somebody: a migrated PostgreSQL, an issuer with a key, a person, some runs."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from sqlalchemy import Connection, make_url, text

from chalicelib.db.driver import create
from chalicelib.domain.access import Role
from chalicelib.domain.ids import new_id
from local.postgres import APP, OWNER, SYSTEM, Postgres, throwaway
from migrations import runner

RUNS: Final = 20
PATH: Final = "/v1/runs"
DATABASE: Final = "bench"
ISSUER: Final = "https://issuer.example"

_CLIENT: Final = "console"
_KEY_ID: Final = "bench"

_RUN: Final = text(
    "INSERT INTO agent_runs (id, customer_id, agent_type, agent_version, status, trigger, input, output,"
    " config, approval_expiry_hours, requested_by, items_processed, items_succeeded, items_total, attempt,"
    " current_step, started_at, completed_at)"
    " VALUES (:id, :customer, 'lead_source', '1', 'completed', 'manual', '{}', '{}',"
    " '{}', 72, :user, 25, 25, 25, 1, 'search:page-1', now() - interval '40 s', now())"
)


@dataclass(frozen=True, slots=True)
class Installation:
    """A database with a signed-in person in it, and what a process needs to serve them."""

    postgres: Postgres
    people: Sequence[str]  # their subjects; each is a customer's only user, and the first one is signed in
    token: str
    jwks_url: str
    token_of: Callable[[str], str]  # of any subject

    @property
    def all_seeing_url(self) -> str:
        """The database as its superuser, for a reference that knows no tenants."""
        return self.postgres.url(self.postgres.superuser, DATABASE)

    def environ(self, *, database_port: int | None = None) -> dict[str, str]:
        """The app's whole environment.

        Args:
            database_port: of a proxy before the database.
        """
        urls = {
            "DATABASE_URL": self.postgres.url(APP, DATABASE),
            "DATABASE_SYSTEM_URL": self.postgres.url(SYSTEM, DATABASE),
        }
        port = database_port or self.postgres.port
        return {
            **{name: _at_port(url, port) for name, url in urls.items()},
            "OIDC_ISSUER": ISSUER,
            "OIDC_JWKS_URL": self.jwks_url,
            "OIDC_CLIENT_ID": _CLIENT,
        }

    def event(self) -> dict[str, Any]:
        """The signed-in request as API Gateway (REST) hands it to the function."""
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self.token}", "Host": "bench"}
        return {
            "resource": PATH,
            "path": PATH,
            "httpMethod": "GET",
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "stageVariables": None,
            "requestContext": {
                "resourcePath": PATH,
                "httpMethod": "GET",
                "path": PATH,
                "stage": "api",
                "requestId": "00000000-0000-4000-8000-000000000000",
                "identity": {"sourceIp": "127.0.0.1"},
            },
            "body": None,
            "isBase64Encoded": False,
        }


@contextmanager
def installed(*, customers: int = 1) -> Iterator[Installation]:
    """A server with PostgreSQL's own durability, tenants of one person each, twenty runs of the first's.

    It is gone afterwards.
    """
    people = [f"somebody-{number}" for number in range(customers)]
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token_of(subject: str) -> str:
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "client_id": _CLIENT,
            "token_use": "access",
            "exp": int(time.time() + timedelta(hours=1).total_seconds()),
        }
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": _KEY_ID})

    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys = {"keys": [{**public, "kid": _KEY_ID, "use": "sig", "alg": "RS256"}]}
    with throwaway(settings={}) as postgres, _published(keys) as jwks_url:
        postgres.create_database(DATABASE)
        runner.upgrade(postgres.url(OWNER, DATABASE))
        _seed(postgres, people)
        yield Installation(postgres, people, token_of(people[0]), jwks_url, token_of)


def _seed(postgres: Postgres, people: Sequence[str]) -> None:
    across, app = create(postgres.url(SYSTEM, DATABASE)), create(postgres.url(APP, DATABASE))
    with across.begin() as connection:
        (customer, user), *_ = [_a_customer(connection, subject) for subject in people]
    with app.begin() as connection:
        connection.execute(text("SELECT enter_tenant(:customer)"), {"customer": customer})
        connection.execute(
            _RUN, [{"id": new_id("RunId"), "customer": customer, "user": user} for _ in range(RUNS)]
        )
    across.dispose()
    app.dispose()
    postgres.execute("ANALYZE", database=DATABASE)


def _a_customer(connection: Connection, subject: str) -> tuple[str, str]:
    """A new customer's id, and that of its only user."""
    customer, user = new_id("CustomerId"), new_id("UserId")
    connection.execute(text("INSERT INTO customers (id, name) VALUES (:id, 'A customer')"), {"id": customer})
    connection.execute(
        text(
            "INSERT INTO users (id, customer_id, issuer, subject, email, name, role, status)"
            " VALUES (:id, :customer, :issuer, :subject, 'somebody@example.com', 'Somebody', :role,"
            " 'active')"
        ),
        {
            "id": user,
            "customer": customer,
            "issuer": ISSUER,
            "subject": subject,
            "role": Role.MANAGER.value,
        },
    )
    return customer, user


@contextmanager
def _published(keys: Mapping[str, Any]) -> Iterator[str]:
    """The address of a server that tells the issuer's public keys."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Told, json.dumps(keys).encode()))
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/keys"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Told(BaseHTTPRequestHandler):
    def __init__(self, body: bytes, *args: Any) -> None:
        self._body = body
        super().__init__(*args)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self._body)))
        self.end_headers()
        self.wfile.write(self._body)

    def log_message(self, *_: Any) -> None:
        """Say nothing on the terminal."""


def _at_port(url: str, port: int) -> str:
    return make_url(url).set(port=port).render_as_string(hide_password=False)
