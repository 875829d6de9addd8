"""A key goes all the ways a key can go; then everything that anybody can read is searched for it.

Searched: what is logged by anybody at DEBUG, with the variables of our frames where there is a traceback; standard
output and error; every column of every row; every event published; every answer over HTTP. In the clear, in base64
(at any offset), in hexadecimal, as JSON escapes, percent-encoded, and backwards.
"""

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NoReturn

import httpx
import pytest

from chalicelib.api.http import Request, answer
from chalicelib.db.models.edge import IntegrationCredential
from chalicelib.db.models.every import Base
from chalicelib.domain.access import Role
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.integrations import Options
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.domain.secrets import DataKey, Place, Secret
from chalicelib.integrations.accounts import Accounts
from chalicelib.integrations.oidc.verifier import TokenVerifier
from chalicelib.integrations.vault import vault_of
from chalicelib.integrations.vault.envelope import Envelopes
from chalicelib.integrations.vault.keyfile import KeyFile
from chalicelib.services.integrations import Integrations
from chalicelib.services.keys import Keys
from chalicelib.services.outbox import Relay
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from local.postgres import Postgres
from local.processes import ROOT
from sandbox.faults import KINDS
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import MINUTE
from tests.integration.http_world import DECLARED, Api, NobodysIssuer, Parts, an_api, name_of, token
from tests.integration.test_flow_control import SENDER

OPENAI_KEY = "sandbox-openai-key-Canary7f3e91d0c2Qz"
APOLLO_KEY = "paid-plan-key-Canary51bb08e6a4Qz"
WRONG_KEY = "nobodys-key-Canaryd94f6a17c3Qz"
PLATFORM_KEY = "sandbox-apollo-key-Canary0a6c2e55b9Qz"
KEYS = (OPENAI_KEY, APOLLO_KEY, WRONG_KEY, PLATFORM_KEY)


def spelled(key: str) -> dict[str, str]:
    """Ways in which a key may be written."""
    raw = key.encode()
    middles = {}
    for offset in range(
        3
    ):  # base64 of a text that holds the key somewhere: the part that only the key decides
        told = base64.b64encode(b"\0" * offset + raw).decode()
        middles[f"base64 at {offset}"] = told[4 if offset else 0 : len(told) - 4]
    return {
        "clear": key,
        **middles,
        "hexadecimal": raw.hex(),
        "json escapes": "".join(f"\\u{byte:04x}" for byte in raw),
        "percent": "".join(f"%{byte:02x}" for byte in raw),
        "backwards": key[::-1],
    }


@dataclass(slots=True)
class Evidence:
    """All that was said, and where."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def note(self, where: str, what: object) -> None:
        self.said.append((where, what if isinstance(what, str) else str(what)))

    def hits(self) -> list[tuple[str, str]]:
        found = []
        for key in KEYS:
            for name, text in spelled(key).items():
                for spelling in {text, text.lower()} if name in {"hexadecimal", "percent"} else {text}:
                    found += [
                        (where, name)
                        for where, what in self.said
                        if spelling in (what.lower() if name in {"hexadecimal", "percent"} else what)
                        or spelling.replace("+", "-").replace("/", "_") in what
                    ]
        return found


class Talkative(logging.Handler):
    """Writes down all there is in a record, and of a traceback the variables of our frames."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(logging.NOTSET)
        self._evidence = evidence

    def emit(self, record: logging.LogRecord) -> None:
        self._evidence.note("log", f"{record.getMessage()} {vars(record)!r}")
        if record.exc_info and record.exc_info[1] is not None:
            self._evidence.note("traceback", whole(record.exc_info[1]))


def whole(error: BaseException) -> str:
    """The chain, with the variables of our frames."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    link: traceback.TracebackException | None = told
    while link is not None:
        for frame in link.stack:
            if "/chalicelib/" not in frame.filename:
                frame.locals = None  # a library's frames are its own
        link = link.__cause__ or link.__context__
    return "".join(told.format())


@contextmanager
def heard(evidence: Evidence) -> Iterator[None]:
    """Everything that any logger says."""
    handler, loggers = Talkative(evidence), (logging.getLogger(), logging.getLogger("chalicelib"))
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield
    for logger, level in before:
        logger.removeHandler(handler)
        logger.setLevel(level)


@dataclass(slots=True)
class Sink:
    """Where events are published."""

    evidence: Evidence
    name: str = "eventbridge"

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        for event in events:
            self.evidence.note("event", json.dumps(event.cloud_event))
        return [None] * len(events)


@dataclass(slots=True)
class Way:
    """What a key goes through."""

    api: Api
    evidence: Evidence
    keys: Keys
    postgres: Postgres

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        said = self.api.send(method, path, self.api.ours.people[Role.ADMIN], body=body)
        self.evidence.note("answer", f"{said.status_code} {said.headers} {said.text}")
        return said

    def engine(self) -> Engine:
        return Engine(self.api.world.database, self.keys.providers, sleep=lambda _seconds: None)

    def runs(self) -> list[str]:
        """A run of each agent, pending; no rate window is full."""
        self.postgres.execute("DELETE FROM rate_buckets", database=self.api.database_name)
        database, manager = self.api.world.database, self.api.ours.manager
        drafts = a_config(database, manager, agent_type="email_drafter", config=SENDER)
        leads = a_config(database, manager, config={"industries": ["logistics"], "batchSize": 2})
        return [
            a_run(database, manager, config_id=leads),
            a_run(database, manager, config_id=drafts, contactIds=[a_contact(database, manager)]),
        ]

    def work(self, engine: Engine | None = None) -> None:
        """Visit until nothing is due, whatever comes of it; what waits is due at once, twice."""
        for _ in range(2):
            while (engine or self.engine()).visit(self.api.ours.customer_id, lambda: MINUTE):
                pass
            rows(
                self.api.world.database,
                self.api.ours.manager,
                "UPDATE agent_runs SET due_at = app_now() WHERE status = 'pending' RETURNING id",
            )


@pytest.fixture
def way(postgres: Postgres) -> Iterator[Way]:
    evidence = Evidence()
    with an_api(postgres, apollo_api_key=PLATFORM_KEY) as api, heard(evidence):
        settings = api.world.database.settings
        yield Way(api, evidence, Keys(api.world.database, vault_of(settings), Accounts(settings)), postgres)


@pytest.mark.slow
def test_a_key_is_nowhere_but_in_its_envelope(
    way: Way, postgres: Postgres, capfd: pytest.CaptureFixture[str]
) -> None:
    """Seen red with the key added to the audit entry, to a log line, and to the refusal's message."""
    before_there_are_keys(way)
    save_and_verify(way)
    run_and_fail(way)
    die_in_a_call(way)
    meet_bugs(way)
    publish(way)
    look_into_the_database(way, postgres)
    printed = capfd.readouterr()
    way.evidence.note("standard output", printed.out)
    way.evidence.note("standard error", printed.err)
    show_what_can_be_shown(way)

    kinds = {where.split(" ")[0] for where, _ in way.evidence.said}
    assert kinds == {"log", "traceback", "answer", "event", "table", "standard", "worker", "repr"}
    assert sum(where == "traceback" for where, _ in way.evidence.said) >= 3
    sealed = [what for where, what in way.evidence.said if where == "table integration_credentials"]
    assert len(sealed) == 2, "the envelopes are there"
    assert way.evidence.hits() == []


def test_the_search_finds_what_is_there() -> None:
    """In each spelling, also in the middle of something else."""
    for key in KEYS:
        for name, text in spelled(key).items():
            evidence = Evidence()
            evidence.note("log", f'{{"x":"y{text}z"}}')
            assert evidence.hits(), name
        for offset in range(4):
            evidence = Evidence()
            evidence.note("table", base64.b64encode(b"." * offset + key.encode() + b"tail").decode())
            assert evidence.hits(), offset
        upper = Evidence()
        upper.note("log", key.encode().hex().upper())
        assert upper.hits()
    assert Evidence([("log", "nothing")]).hits() == []


def test_what_is_planted_is_found_where_it_is(way: Way, postgres: Postgres) -> None:
    """In a log, a traceback's variable, a row, an event, an answer."""
    rows(
        way.api.world.database,
        way.api.ours.manager,
        "UPDATE customers SET name = :key WHERE id = :id RETURNING id",
        key=OPENAI_KEY,
        id=way.api.ours.customer_id,
    )
    look_into_the_database(way, postgres)
    logging.getLogger("chalicelib.planted").info("planted", extra={"field": APOLLO_KEY})
    try:
        Envelopes(Exploding(KeyFile(None))).seal(Bare(WRONG_KEY), Place("c", "p", "i"))  # type: ignore[arg-type]
    except RuntimeError:
        logging.getLogger("anybody").exception("planted")
    assert {(where, name) for where, name in way.evidence.hits() if name == "clear"} == {
        ("table customers", "clear"),
        ("log", "clear"),
        ("traceback", "clear"),
    }


# The ways


def before_there_are_keys(way: Way) -> None:
    for path, key in (("openai", WRONG_KEY), ("apollo", WRONG_KEY), ("bland", OPENAI_KEY)):
        assert way.send("PUT", f"/v1/integrations/{path}", {"version": 0, "apiKey": key}).status_code == 422
    for body in (
        {"version": 0, "apiKey": OPENAI_KEY, "unknown": OPENAI_KEY},
        {"version": 0, "apiKey": [OPENAI_KEY]},
        {"version": OPENAI_KEY, "apiKey": OPENAI_KEY},
        {"version": 0, "apiKey": OPENAI_KEY, "options": {"tokenParameter": OPENAI_KEY}},
        {"version": 0, "apiKey": f"{OPENAI_KEY} {OPENAI_KEY}"},
        {"version": 0, "apiKey": OPENAI_KEY * 40},
        {"version": 0, "apiKey": OPENAI_KEY, "options": {"baseUrl": f"https://{OPENAI_KEY}@x.example/v1"}},
    ):
        assert way.send("PUT", "/v1/integrations/openai", body).status_code == 422
    assert way.send("PUT", "/v1/integrations/openai", {"version": 1, "apiKey": OPENAI_KEY}).status_code == 409
    way.runs()
    way.work()


def save_and_verify(way: Way) -> None:
    for provider, key in (("openai", OPENAI_KEY), ("apollo", APOLLO_KEY)):
        where = f"/v1/integrations/{provider}"
        assert way.send("PUT", where, {"version": 0, "apiKey": key}).status_code == 200
        assert way.send("POST", f"{where}/verify").status_code == 200
        assert way.send("PUT", where, {"version": 1, "apiKey": WRONG_KEY}).status_code == 422
        for fault in (
            {"kind": "bad_key"},
            {"status": 500},
            {"status": 429},
            {"kind": "refused"},
            {"kind": "not_json"},
        ):
            way.api.providers.faults.add({"path": "*", **fault})
            way.send("POST", f"{where}/verify")
            way.send("PUT", where, {"version": 1, "apiKey": key})
            way.api.providers.faults.clear()
    way.send("GET", "/v1/integrations")
    way.send("GET", "/v1/events")


def run_and_fail(way: Way) -> None:
    """Once as it should be, once with each thing that may go wrong at a provider."""
    way.runs()
    way.work()
    for fault in [{"kind": kind} for kind in KINDS if kind != "hang"] + [
        {"status": s} for s in (403, 404, 429, 500)
    ]:
        run_ids = way.runs()
        way.api.providers.faults.add({"path": "*", **fault})
        way.work()
        way.api.providers.faults.clear()
        for run_id in run_ids:
            way.send("GET", f"/v1/runs/{run_id}")
        rows(
            way.api.world.database,
            way.api.ours.manager,
            "UPDATE agent_runs SET status = 'failed' WHERE status = 'pending' RETURNING id",
        )
    statuses = rows(way.api.world.database, way.api.ours.manager, "SELECT DISTINCT status FROM agent_runs")
    assert {row.status for row in statuses} == {"completed", "failed"}
    way.send("POST", "/v1/integrations/openai/verify")
    way.send("POST", "/v1/integrations/apollo/verify")


WORKER = """
import logging, os, signal, sys
from datetime import timedelta
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from chalicelib import faults
from chalicelib.bootstrap import context
faults.install(lambda p: os.kill(os.getpid(), signal.SIGKILL) if p is faults.Point.AFTER_CALL else None)
while context().engine.visit(sys.argv[1], lambda: timedelta(minutes=5)):
    pass
"""


def die_in_a_call(way: Way) -> None:
    """A worker as in production, which is killed with its first call's answer in hand; another one goes on."""
    settings = way.api.world.database.settings
    way.runs()
    environ = {
        "PATH": os.environ["PATH"],  # noqa: TID251 - of a process of ours
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "LOG_LEVEL": "DEBUG",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "DATABASE_URL": settings.database_url,
        "DATABASE_SYSTEM_URL": settings.database_system_url,
        "OIDC_ISSUER": "x",
        "OIDC_JWKS_URL": "x",
        "OIDC_CLIENT_ID": "x",
        "VAULT": "keyfile",
        "VAULT_KEY_FILE": settings.vault_key_file or "",
        "OPENAI_BASE_URL": settings.openai_base_url,
        "APOLLO_BASE_URL": settings.apollo_base_url,
        "APOLLO_API_KEY": PLATFORM_KEY,
        "PLATFORM_DOLLARS_PER_MONTH": "none",
    }
    command = [sys.executable, "-c", WORKER, way.api.ours.customer_id]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    way.evidence.note("worker", done.stdout)
    way.evidence.note("worker", done.stderr)
    assert done.stdout
    rows(
        way.api.world.database,
        way.api.ours.manager,
        "UPDATE agent_runs SET lease_expires_at = app_now() WHERE status = 'running' RETURNING id",
    )
    way.work()


class Bare(str):
    """A secret as a plain text would show, for what is planted."""

    __slots__ = ()

    def reveal(self) -> str:
        return str(self)


class Exploding(KeyFile):
    """A keeper of keys with a bug."""

    def new_data_key(self, place: Place) -> DataKey:
        raise RuntimeError("a bug while a key is sealed")

    def unwrap(self, *_: object) -> NoReturn:
        raise RuntimeError("a bug while a key is opened")


class Careless(Accounts):
    """A check with a bug."""

    __slots__ = ()

    def check(self, provider: object, key: Secret, options: Options) -> None:
        super().check(provider, key, options)  # type: ignore[arg-type]
        raise RuntimeError("a bug after a key was checked")


def meet_bugs(way: Way) -> None:
    """With the key in scope: while it is checked, sealed, opened for a route and for a run, and in a call."""
    database = way.api.world.database
    settings = database.settings
    exploding = Envelopes(Exploding(way.keys.vault.keys.path))  # type: ignore[attr-defined]
    for integrations in (
        Integrations(database, exploding, Accounts(settings)),
        Integrations(database, vault_of(settings), Careless(settings)),
    ):
        parts = Parts(
            settings,
            database,
            TokenVerifier.of(settings),
            NobodysIssuer(),
            way.api.world.signals,
            integrations,
        )
        told = call(way, parts, "PUT", {"version": 1, "apiKey": OPENAI_KEY})
        assert told.status == 500
        way.evidence.note("answer", told.body)
        way.evidence.note("answer", call(way, parts, "POST").body)
    way.runs()
    way.work(Engine(database, Keys(database, exploding, Accounts(settings)).providers))

    def with_a_bug(customer_id: CustomerId) -> Providers:
        real = way.keys.providers(customer_id)

        class Companies:
            def search(self, *given: object, **named: object) -> NoReturn:
                held = [real.companies, real.model, given, named]
                raise RuntimeError(f"a bug in a call: {held!r}")

            enrich = enrich_many = search

        return replace(real, companies=Companies())

    way.runs()
    way.work(Engine(database, with_a_bug))


def call(way: Way, parts: Parts, method: str, body: Any = None) -> Any:
    """A route, without a wire, with these parts."""
    declared = next(
        known for known in DECLARED if name_of(known).startswith(f"{method} /v1/integrations/{{provider}}")
    )
    who = way.api.ours.people[Role.ADMIN].user_id
    headers = {"authorization": f"Bearer {token(str(who))}", "content-type": "application/json"}
    raw = b"" if body is None else json.dumps(body).encode()
    return answer(declared, Request(method, {"provider": "openai"}, {}, headers, raw), parts)


def publish(way: Way) -> None:
    relay = Relay(way.api.world.database, [Sink(way.evidence)])
    while relay.drain(lambda: timedelta(minutes=5)):
        pass


def look_into_the_database(way: Way, postgres: Postgres) -> None:
    """Every column of every row, as text and as JSON."""
    for name in Base.metadata.tables:
        for told in postgres.execute(
            f"SELECT t::text || ' ' || to_jsonb(t)::text FROM {name} t",  # noqa: S608 - our own tables
            database=way.api.database_name,
        ):
            way.evidence.note(f"table {name}", told[0])


def show_what_can_be_shown(way: Way) -> None:
    """Whatever somebody may print."""
    database = way.api.world.database
    providers = way.keys.providers(way.api.ours.customer_id)
    (row,) = rows(
        database, way.api.ours.manager, "SELECT * FROM integration_credentials WHERE provider = 'openai'"
    )
    shown = [providers, providers.model, providers.companies, way.keys, way.keys._warm, way.keys._platform]
    shown += [database.settings, database, Secret(OPENAI_KEY), row, IntegrationCredential(credentials="x")]
    for thing in shown:
        way.evidence.note("repr", f"{thing!r} {thing}")
