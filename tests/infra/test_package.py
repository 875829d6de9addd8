"""The package as it is deployed: built, unpacked, booted by AWS's runtime client, function by function.

The events beside this file have the shape that AWS documents; customers, tokens and ids are filled in. PostgreSQL and
HTTP are real, SQS and EventBridge are moto's, the providers are the sandbox. No AWS account has run it.
"""

import fcntl
import json
import platform
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app import app
from bench.installation import Installation, installed
from chalicelib.domain.access import Role, engine_for
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import ApprovalItemId, new_credential_id, new_id
from chalicelib.domain.secrets import Place, Secret
from chalicelib.integrations.vault import vault_of
from chalicelib.settings import Settings
from infra import checks
from infra.emulator.function import Answer, Configuration, Function, interpreter, unpack
from infra.functions import API_HANDLER, of_app
from infra.package.archive import Sizes
from infra.package.build import REPORT, ZIP, build
from infra.package.target import PYTHON, Architecture
from infra.rendering import StageFile
from local.aws import CREDENTIALS, Aws, QueueNames
from local.people import PEOPLE
from local.postgres import OWNER
from local.settings import APOLLO_KEY, OPENAI_KEY
from migrations import runner
from sandbox.server import Sandbox
from tests.builders import a_config, a_contact, a_run, an_item, rows
from tests.conftest import World, a_world
from tests.infra.asked import Grants, Heard, allowed, heard, used_by_lambda
from tests.infra.test_package_parts import SERVICES

EVENTS = Path(__file__).with_name("events")
CHALICE = Path(sys.executable).with_name("chalice")
HERE = Architecture.ARM64 if platform.machine() in {"aarch64", "arm64"} else Architecture.X86_64
THERE = next(other for other in Architecture if other is not HERE)
MACHINES = {Architecture.X86_64: 0x3E, Architecture.ARM64: 0xB7}  # as an ELF header says it
SENDER = {"productValue": "Plans routes in minutes", "senderName": "Sam", "senderTitle": "SDR"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.version_info[:2] != PYTHON,
        reason="The functions run on Python 3.13; only that can build the package and start it.",
    ),
]


@dataclass(frozen=True, slots=True)
class Package:
    """A built one."""

    stage: Path
    zip: Path
    report: dict[str, Any]


@pytest.fixture(scope="session")
def packages(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Architecture], Package]:
    """Builds one when it is asked for; once, however many processes the tests run in."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base

    def package(architecture: Architecture) -> Package:
        place = shared / "packages" / architecture
        with locked(shared / "packages.lock"):
            if not (place / REPORT).exists():
                build(architecture, place.parent)
        return Package(place / "stage", place / ZIP, json.loads((place / REPORT).read_text()))

    return package


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def package(packages: Callable[[Architecture], Package]) -> Package:
    return packages(HERE)


@pytest.fixture(scope="session")
def unpacked(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As under /var/task: nobody may write there."""
    return unpack(package.zip, tmp_path_factory.mktemp("unpacked") / "task")


@dataclass(frozen=True, slots=True)
class Deployed:
    """What `chalice package` says it would deploy."""

    zip: Path
    functions: dict[str, Configuration]  # by the handler's name in app.py


@pytest.fixture(scope="session")
def deployed(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return chalice_package(package.stage, tmp_path_factory.mktemp("deployed"))


def chalice_package(stage: Path, out: Path) -> Deployed:
    policy = stage / ".chalice" / "policy-prod.json"
    if not policy.exists():
        policy.write_text('{"Version": "2012-10-17", "Statement": []}')
    done = subprocess.run(
        [str(CHALICE), "package", "--stage", "prod", str(out)],
        cwd=stage,
        env={"PATH": "/usr/bin:/bin", "AWS_DEFAULT_REGION": "eu-central-1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    resources = json.loads((out / "sam.json").read_text())["Resources"]
    functions = {
        properties["Handler"].rpartition(".")[2]: Configuration(
            handler=properties["Handler"],
            name=name,
            timeout=timedelta(seconds=properties["Timeout"]),
            memory_mb=properties["MemorySize"],
        )
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
        for properties in [resource["Properties"]]
    }
    runtimes = {
        (resource["Properties"]["Runtime"], *resource["Properties"]["Architectures"])
        for resource in resources.values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    assert len(runtimes) == 1
    assert runtimes.pop()[0] == "python3.13"
    return Deployed(out / "deployment.zip", functions)


# What there is to deploy


def test_chalice_takes_the_zip_that_was_built(package: Package, deployed: Deployed) -> None:
    assert deployed.zip.read_bytes() == package.zip.read_bytes()


def test_a_zip_of_chalices_own_making_holds_the_same_files(package: Package, tmp_path: Path) -> None:
    """Should the name not fit, Chalice zips the staging folder itself."""
    stage = tmp_path / "stage"
    subprocess.run(["cp", "-r", str(package.stage), str(stage)], check=True)
    subprocess.run(["rm", "-r", str(stage / ".chalice" / "deployments")], check=True)
    chalices = chalice_package(stage, tmp_path / "out").zip
    assert contents(chalices) == contents(package.zip)


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name) for name in names}


def test_the_same_tree_makes_the_same_bytes(package: Package, tmp_path: Path) -> None:
    again = build(HERE, tmp_path)
    assert again.sha256 == package.report["sha256"]
    assert again.zip.read_bytes() == package.zip.read_bytes()


def test_every_source_has_bytecode_that_is_never_checked(package: Package) -> None:
    held = contents(package.zip)
    sources = [name for name in held if name.endswith(".py")]
    assert len(sources) > 1500
    for name in sources:
        folder, _, file = name.rpartition("/")
        bytecode = held.get(f"{folder}/__pycache__/{file[:-3]}.cpython-313.pyc".lstrip("/"))
        assert bytecode is not None, name
        assert int.from_bytes(bytecode[4:8], "little") == 0b01, name  # by hash, unchecked (PEP 552)


def test_the_package_is_small_and_says_what_is_in_it(package: Package) -> None:
    sizes = Sizes.of(package.zip)
    assert sizes.zip_mb <= 30
    assert package.report["zip_mb"] == sizes.zip_mb
    assert len(sizes.biggest) == 10


def test_a_package_for_the_other_processor_is_for_that_and_else_the_same(
    packages: Callable[[Architecture], Package], package: Package
) -> None:
    here, there = contents(package.zip), contents(packages(THERE).zip)
    for held, architecture in ((here, HERE), (there, THERE)):
        compiled = [body for name, body in held.items() if name.endswith(".so")]
        assert len(compiled) > 5
        assert {int.from_bytes(body[18:20], "little") for body in compiled} == {MACHINES[architecture]}
    assert {name for name in here if name.endswith(".py")} == {name for name in there if name.endswith(".py")}


# Functions


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with installed() as made:
        yield made


@pytest.fixture(scope="module")
def ear() -> Iterator[Heard]:
    with heard() as made:
        yield made


@pytest.fixture(scope="module")
def aws(ear: Heard) -> Aws:
    made = Aws(ear.address)
    made.prepare(
        QueueNames("bevyly-runs", "bevyly-runs-dead", "bevyly-relay", "bevyly-effects", "bevyly-events"),
        "bevyly",
        PEOPLE,
    )
    return made


@pytest.fixture(scope="module")
def environ(installation: Installation, aws: Aws) -> Iterator[dict[str, str]]:
    """All that a function's owner sets. The stage is local: elsewhere an issuer on this machine is refused."""
    with Sandbox() as sandbox:
        yield {
            **installation.environ(),
            "AWS_ENDPOINT_URL": aws.endpoint,
            "OPENAI_API_KEY": OPENAI_KEY,
            "OPENAI_BASE_URL": sandbox.openai_url,
            "OPENAI_PRICES": "gpt-6-luna=0.10/0.50",
            "OPENAI_PRICES_AS_OF": "2026-11-01",
            "VAULT": "kms",
            "VAULT_KMS_KEY_ID": aws.client("kms").create_key()["KeyMetadata"]["KeyId"],
            "APOLLO_API_KEY": APOLLO_KEY,
            "APOLLO_BASE_URL": sandbox.apollo_url,
        }


@pytest.fixture
def there(environ: dict[str, str]) -> Iterator[World]:
    """Two fresh tenants in the functions' database."""
    with a_world(Settings.from_environ(environ)) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Boot:
    """Starts a function from the package and hands it its recorded event. It signs with its name."""

    package: Path
    deployed: Deployed
    environ: dict[str, str]
    folder: Path

    def __call__(self, name: str, **told: str) -> Answer:
        (answer,) = self.each(name, self.event(name, **told))
        return answer

    def event(self, name: str, **told: str) -> dict[str, Any]:
        event = (EVENTS / f"{name}.json").read_text()
        for key, value in told.items():
            event = event.replace(f"{{{{{key.upper()}}}}}", value)
        assert "{{" not in event
        return dict(json.loads(event))

    def each(self, name: str, *events: dict[str, Any]) -> list[Answer]:
        """One start for them all."""
        given = self.deployed.functions[name]
        environ = {**self.environ, "AWS_ACCESS_KEY_ID": name}
        configuration = Configuration(given.handler, given.name, given.timeout, given.memory_mb, environ)
        with Function(self.package, configuration, log_file=self.log_file(name)) as function:
            answers = [function.invoke(event) for event in events]
        for answer in answers:
            assert answer.ok, f"{answer.error_type}: {answer.error}\n{self.log(name)}"
        return answers

    def log_file(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log(self, name: str) -> list[dict[str, Any]]:
        """Without the metrics, which stand between the lines."""
        lines = [
            json.loads(line) if line.startswith("{") else {"level": "?", "message": line}
            for line in self.log_file(name).read_text().splitlines()
        ]
        return [line for line in lines if "_aws" not in line]


@pytest.fixture
def boot(unpacked: Path, deployed: Deployed, environ: dict[str, str], tmp_path: Path) -> Boot:
    return Boot(unpacked, deployed, environ, tmp_path)


def test_there_is_an_event_for_every_function(deployed: Deployed) -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == set(deployed.functions)


def test_the_api_answers_a_signed_in_request_of_api_gateways(boot: Boot, installation: Installation) -> None:
    answer = boot("app", token=installation.token)
    assert answer.payload["statusCode"] == 200
    told = json.loads(answer.payload["body"])
    assert [len(told["data"]), told["pagination"]["total"]] == [5, 20]
    (line,) = boot.log("app")
    assert (line["message"], line["status"]) == ("request answered", 200)


def test_a_doorbell_executes_a_run_that_asks_apollo(boot: Boot, there: World) -> None:
    run_id = a_run(there.database, there.ours.manager)
    boot("execute_run", customer_id=there.ours.customer_id)
    (run,) = rows(there.database, there.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    assert (run.status, run.error, run.items_succeeded) == ("completed", None, 3)


def test_an_event_starts_a_run_and_a_doorbell_has_it_ask_openai(boot: Boot, there: World) -> None:
    manager, created = there.ours.manager, EventType.CONTACT_CREATED
    a_config(there.database, manager, agent_type="email_drafter", config=SENDER, event_types=[created.value])
    contact = a_contact(there.database, manager)
    with there.database.enter(engine_for(manager.customer_id)) as work:
        work.emit(Event(created, "contact", contact, {"contactId": contact}))
    (event,) = rows(
        there.database, manager, "SELECT id FROM outbox_events WHERE aggregate_id = :id", id=contact
    )
    answer = boot("start_event_runs", customer_id=manager.customer_id, event_id=event.id)
    assert answer.payload == {"batchItemFailures": []}
    (run,) = rows(there.database, manager, "SELECT * FROM agent_runs")
    assert (run.status, run.trigger) == ("pending", "event")
    boot("execute_run", customer_id=manager.customer_id)
    (run,) = rows(there.database, manager, "SELECT * FROM agent_runs")
    assert (run.status, run.error, run.items_succeeded) == ("completed", None, 1)
    (item,) = rows(there.database, manager, "SELECT content FROM approval_items")
    assert item.content["subject"]


def test_the_relay_publishes_on_the_bus(boot: Boot, there: World) -> None:
    a_run(there.database, there.ours.manager)
    boot("relay_events")
    told = rows(there.database, there.ours.manager, "SELECT status FROM event_deliveries")
    assert {delivery.status for delivery in told} == {"delivered"}


def test_a_dead_message_is_recorded_and_its_tenant_rung(boot: Boot, there: World, aws: Aws) -> None:
    sqs = aws.client("sqs")
    queue = sqs.get_queue_url(QueueName="bevyly-runs")["QueueUrl"]
    sqs.purge_queue(QueueUrl=queue)
    boot("bury_run", customer_id=there.ours.customer_id)
    assert [line["message"] for line in boot.log("bury_run")] == ["a message is dead"]
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2)["Messages"]
    assert [json.loads(message["Body"]) for message in messages] == [{"customerId": there.ours.customer_id}]


def test_the_operators_function_rewraps_what_kms_has_a_newer_key_for(
    boot: Boot, there: World, environ: dict[str, str], aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that a tenant saved under another KMS key is under the current one afterwards, and opens."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    older = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
    settings = Settings.from_environ(environ)
    place = Place(there.ours.customer_id, "apollo", new_credential_id())
    sealed = vault_of(replace(settings, vault_kms_key_id=older)).seal(Secret("a-tenants-key-1"), place)
    rows(
        there.database,
        there.ours.manager,
        "INSERT INTO integration_credentials (id, customer_id, provider, credentials, last_four)"
        " VALUES (:id, :customer, 'apollo', :sealed, 'ey-1') RETURNING id",
        id=place.credential_id,
        customer=there.ours.customer_id,
        sealed=sealed,
    )
    answer = boot("rotate_keys")
    assert (answer.payload["rewrapped"], answer.payload["next"]) == (1, None)
    (row,) = rows(there.database, there.ours.manager, "SELECT credentials FROM integration_credentials")
    assert row.credentials != sealed
    assert vault_of(settings).open(row.credentials, place) == Secret("a-tenants-key-1")


def test_the_operators_function_lets_somebody_in(boot: Boot, there: World, environ: dict[str, str]) -> None:
    """Time zones are known in the package. The second time it finds what is there."""
    subject = new_id("UserId")
    made = boot("add_person", customer=subject, subject=subject).payload
    assert (made["madeCustomer"], made["madeUser"]) == (True, True)
    with there.database.begin(environ["OIDC_ISSUER"], subject) as work:
        assert (work.actor.customer_id, work.actor.user_id) == (made["customerId"], made["userId"])
    again = boot("add_person", customer=subject, subject=subject).payload
    assert again == {**made, "madeCustomer": False, "madeUser": False}
    assert {line["level"] for line in boot.log("add_person")} <= {"INFO", "DEBUG"}


@pytest.mark.parametrize("name", ["apply_decisions", "run_due_schedules", "sweep_minute"])
def test_what_has_nothing_to_do_says_nothing_bad(boot: Boot, there: World, name: str) -> None:
    boot(name, customer_id=there.ours.customer_id)
    assert [line for line in boot.log(name) if line["level"] not in {"INFO", "DEBUG"}] == []


# What they ask of AWS


@dataclass(frozen=True, slots=True)
class Working:
    """Lets each function do all of its work that AWS has a part in."""

    boot: Boot
    world: World
    token: str  # of our administrator
    newer_key: str  # of KMS

    def all_of_them(self) -> None:
        database, manager = self.world.database, self.world.ours.manager
        config, item = a_config(database, manager), self.a_proposal()
        self.api(
            (
                "PUT",
                "/v1/integrations/{provider}",
                {"provider": "apollo"},
                {"apiKey": APOLLO_KEY, "version": 0},
            ),
            ("POST", "/v1/integrations/{provider}/verify", {"provider": "apollo"}, None),
            ("POST", "/v1/runs", {}, {"configId": config}),
            ("POST", "/v1/approvals/{item_id}/approve", {"item_id": item}, {"version": 1}),
        )
        self.start("execute_run")
        self.start("relay_events")
        self.sql("UPDATE approval_items SET effective_at = now() WHERE id = :id RETURNING id", id=item)
        self.start("apply_decisions")
        self.start("bury_run")
        self.start("start_event_runs", event_id=self.an_event())
        scheduled = a_config(database, manager, schedule="*/15 * * * *")
        self.sql("UPDATE agent_configs SET next_due_at = now() WHERE id = :id RETURNING id", id=scheduled)
        self.start("run_due_schedules")
        old = a_run(database, manager)
        self.sql(
            "UPDATE agent_runs SET created_at = now() - interval '100 h' WHERE id = :id RETURNING id", id=old
        )
        self.start("sweep_minute")
        self.start("rotate_keys", VAULT_KMS_KEY_ID=self.newer_key)
        newcomer = new_id("UserId")
        self.boot("add_person", customer=newcomer, subject=newcomer)

    def start(self, name: str, *, event_id: str = "", **environ: str) -> None:
        boot = replace(self.boot, environ={**self.boot.environ, **environ})
        self.nobody_has_rung()
        boot(name, customer_id=self.world.ours.customer_id, event_id=event_id)

    def api(self, *requests: tuple[str, str, dict[str, str], dict[str, Any] | None]) -> None:
        sent = self.boot.event("app", token=self.token)
        headers = {
            **sent["multiValueHeaders"],
            "Content-Type": ["application/json"],
            "Idempotency-Key": ["once"],
        }
        events = [
            {
                **sent,
                "resource": resource,
                "path": resource.format(**parameters),
                "httpMethod": method,
                "headers": {name: values[0] for name, values in headers.items()},
                "multiValueHeaders": headers,
                "queryStringParameters": None,
                "multiValueQueryStringParameters": None,
                "pathParameters": parameters or None,
                "requestContext": {**sent["requestContext"], "resourcePath": resource, "httpMethod": method},
                "body": None if body is None else json.dumps(body),
            }
            for method, resource, parameters, body in requests
        ]
        self.nobody_has_rung()
        for answer in self.boot.each("app", *events):
            assert answer.payload["statusCode"] in {200, 202}, answer.payload["body"]

    def nobody_has_rung(self) -> None:
        """A ring that is not answered yet is not repeated."""
        self.sql("UPDATE tenant_queues SET rung_at = NULL WHERE customer_id = :customer RETURNING 1")

    def a_proposal(self) -> ApprovalItemId:
        """Which takes effect some time after it is approved."""
        self.sql("UPDATE customers SET undo_window_seconds = 600 WHERE id = :customer RETURNING id")
        return an_item(self.world.database, self.world.ours.manager)

    def an_event(self) -> str:
        """For which an agent waits."""
        database, manager, created = self.world.database, self.world.ours.manager, EventType.CONTACT_CREATED
        a_config(database, manager, agent_type="email_drafter", config=SENDER, event_types=[created.value])
        contact = a_contact(database, manager)
        with database.enter(engine_for(manager.customer_id)) as work:
            work.emit(Event(created, "contact", contact, {"contactId": contact}))
        (event,) = self.sql("SELECT id FROM outbox_events WHERE aggregate_id = :id", id=contact)
        return str(event.id)

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        manager = self.world.ours.manager
        return rows(
            self.world.database, manager, statement, **{"customer": manager.customer_id, **parameters}
        )


def test_each_role_allows_what_its_function_asks_aws_for_and_nothing_else(
    boot: Boot, there: World, installation: Installation, ear: Heard, subtests: pytest.Subtests
) -> None:
    """Whoever adds a grant lets its function use it in `Working`. Seen red with grants taken away and with others given,
    by the role and by a policy attached to it.
    """
    token = installation.token_of(str(there.ours.people[Role.ADMIN].user_id))
    newer = Aws(ear.address).client("kms").create_key()["KeyMetadata"]["KeyId"]
    Working(boot, there, token, newer).all_of_them()
    assert ear.conditions == {
        ("credential", "customer", "provider"),
        (Settings.from_environ(boot.environ).event_source,),
    }
    functions = of_app(app, "prod")
    made = checks.installation(StageFile.of("prod"), functions)
    for function in functions:
        asked: Grants = ear.asked.get("app" if function.name == API_HANDLER else function.name, set())
        with subtests.test(msg=function.name):
            assert allowed(made, function) == asked | used_by_lambda(function, traced=True)


# What is left out


IMPORTS = """
import importlib, json, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import app, chalicelib
for module in pkgutil.walk_packages(chalicelib.__path__, "chalicelib."):
    importlib.import_module(module.name)
import boto3, openai, httpx, zoneinfo
from jwt.algorithms import RSAAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from aws_lambda_powertools import Logger, Metrics, Tracer, logging, metrics
from importlib.metadata import version
httpx.Client().close()
openai.OpenAI(api_key="none").chat.completions
assert boto3.session.Session().get_credentials().method == "env"  # as on Lambda: no other service is asked for them
assert set(boto3.session.Session().get_available_services()) == set(json.loads(sys.argv[2]))
for service in json.loads(sys.argv[2]):
    client = boto3.client(service, region_name="eu-central-1")
    assert client.meta.service_model.operation_names
zoneinfo.reset_tzpath(())
assert zoneinfo.ZoneInfo("Europe/Berlin").key == "Europe/Berlin"
assert version("pydantic")
elsewhere = {
    name: module.__file__
    for name, module in sys.modules.items()
    if getattr(module, "__file__", None) and not module.__file__.startswith((sys.argv[1], sys.base_prefix))
}
assert set(elsewhere) <= {"__main__"}, elsewhere
uncached = [
    name for name, module in sys.modules.items()
    if (getattr(module, "__file__", None) or "").startswith(sys.argv[1]) and module.__file__.endswith(".py")
    and not (module.__cached__ or "").startswith(sys.argv[1])
]
assert not uncached, uncached
print("all there")
"""


def in_the_package(unpacked: Path, program: str, *arguments: str, **environ: str) -> str:
    """What a program says that sees the package, the bare interpreter, and nothing else."""
    done = subprocess.run(
        [interpreter(), "-S", "-s", "-P", "-c", program, str(unpacked), *arguments],
        env={"PYTHONDONTWRITEBYTECODE": "1", "AWS_LAMBDA_FUNCTION_NAME": "function", **environ},
        cwd=unpacked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_that_is_imported_late_is_there(unpacked: Path, environ: dict[str, str]) -> None:
    environ = {**environ, **CREDENTIALS}
    assert "all there" in in_the_package(unpacked, IMPORTS, json.dumps(SERVICES), **environ)


def test_the_package_migrates_an_empty_database(unpacked: Path, installation: Installation) -> None:
    installation.postgres.create_database("empty")
    url = installation.postgres.url(OWNER, "empty")
    program = "import sys; sys.path.insert(0, sys.argv[1]); from migrations import runner; runner.upgrade(sys.argv[2])"
    in_the_package(unpacked, program, url)
    runner.check(url)  # raises when the models say what no revision has done
    installation.postgres.drop_database("empty")
