"""The one-machine stack: its parts against real servers, and the whole as a person starts it."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from chalicelib.db.driver import create
from chalicelib.domain.ids import is_id
from chalicelib.settings import Settings
from local import databases, seed
from local.aws import Aws, Cloud, QueueNames
from local.clock import Clock, scheduled_event
from local.databases import Addresses
from local.invocation import Context
from local.people import MANAGER, NORTHWIND, OTHER_MANAGER, PEOPLE, TENANTS
from local.poller import Mapped, Poller
from local.postgres import OWNER, Postgres
from local.processes import Program, StackError
from local.settings import clean, for_the_app
from local.stack import Stack

QUEUES = QueueNames("bevyly-runs", "bevyly-runs-dead", "bevyly-relay", "bevyly-effects", "bevyly-events")


def until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended (one that nobody has waited for yet counts)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}


# Parts: AWS, the poller, the clock


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    log_file = tmp_path_factory.mktemp("aws") / "aws.log"
    program = Program("AWS stand-in", ["-m", "local.aws"], environ=clean(os.environ), log_file=log_file)  # noqa: TID251 - passed on
    try:
        yield Aws(program.wait()["url"])
    finally:
        program.stop()


@pytest.fixture(scope="module")
def cloud(aws: Aws) -> Cloud:
    return aws.prepare(QUEUES, "bevyly", PEOPLE)


@pytest.fixture
def queue(aws: Aws, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh queue with a dead-letter queue, like the runs'."""
    sqs = aws.client("sqs")
    name = f"q{abs(hash(request.node.name))}"
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": redrive})
    yield name
    for each in (name, f"{name}-dead"):
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=each)["QueueUrl"])


class Polled:
    """A queue with a poller on it and a handler that remembers."""

    def __init__(
        self, aws: Aws, queue: str, handler: Callable[[dict[str, Any], Context], Any], *, batch_size: int = 1
    ) -> None:
        self.sqs = aws.client("sqs")
        self.url = self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        self.stopping = threading.Event()
        mapped = Mapped(queue, "execute_run", handler, batch_size, concurrency=2)
        self.poller = Poller(self.sqs, [mapped], self.stopping, retry_seconds=0)
        self.poller.start()

    def send(self, body: str, **attributes: str) -> None:
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=typed)

    def depth(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        said = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(number) for number in said["Attributes"].values())


def test_a_handler_gets_the_event_that_lambda_gives(aws: Aws, queue: str) -> None:
    events: list[tuple[dict[str, Any], Context, int]] = []

    def remember(event: dict[str, Any], context: Context) -> None:
        events.append((event, context, context.get_remaining_time_in_millis()))

    polled = Polled(aws, queue, remember)
    polled.send('{"customerId": "x"}', traceId="t-1")
    until(lambda: events and polled.depth() == 0)
    polled.poller.stop(1)
    [(event, context, left)] = events
    [record] = event["Records"]
    assert set(record) == {
        *("messageId", "receiptHandle", "body", "attributes", "messageAttributes"),
        *("md5OfBody", "eventSource", "eventSourceARN", "awsRegion"),
    }
    assert record["body"] == '{"customerId": "x"}'
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"].endswith(f":{queue}")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"]["traceId"]["stringValue"] == "t-1"
    assert context.function_name == "execute_run"
    assert context.aws_request_id
    assert 290_000 < left <= 300_000


def test_a_failed_message_comes_again_and_ends_in_the_dead_letter_queue(aws: Aws, queue: str) -> None:
    seen: list[str] = []

    def fail(event: dict[str, Any], _context: Context) -> None:
        seen.append(event["Records"][0]["attributes"]["ApproximateReceiveCount"])
        raise ValueError("no")

    polled = Polled(aws, queue, fail)
    polled.send("unreadable")
    dead = polled.sqs.get_queue_url(QueueName=f"{queue}-dead")["QueueUrl"]
    found: list[Any] = []

    def buried() -> list[Any]:
        found.extend(polled.sqs.receive_message(QueueUrl=dead).get("Messages", []))
        return found

    until(buried)
    polled.poller.stop(1)
    assert [message["Body"] for message in found] == ["unreadable"]
    assert seen == ["1", "2"]


@pytest.mark.parametrize(("batch_size", "dead"), [(10, ["bad"]), (1, [])])
def test_only_the_message_that_is_reported_comes_again_and_only_of_a_batch(
    aws: Aws, queue: str, batch_size: int, dead: list[str]
) -> None:
    """Where the response type is not asked for, Lambda deletes what is reported too."""
    seen: list[str] = []

    def work(event: dict[str, Any], _context: Context) -> Any:
        seen.extend(record["body"] for record in event["Records"])
        bad = [record["messageId"] for record in event["Records"] if record["body"] == "bad"]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in bad]}

    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    bodies = ["good", "bad", "better"]
    sqs.send_message_batch(
        QueueUrl=url, Entries=[{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]
    )
    polled = Polled(aws, queue, work, batch_size=batch_size)
    buried = sqs.get_queue_url(QueueName=f"{queue}-dead")["QueueUrl"]
    until(lambda: polled.depth() == 0)
    polled.poller.stop(1)
    found = sqs.receive_message(QueueUrl=buried, MaxNumberOfMessages=10).get("Messages", [])
    assert [message["Body"] for message in found] == dead
    assert sorted(seen) == sorted(bodies + dead)


def test_a_handler_at_work_is_told_that_its_time_is_up_when_the_stack_stops(aws: Aws, queue: str) -> None:
    started, ended = threading.Event(), threading.Event()

    def work(_event: dict[str, Any], context: Context) -> None:
        started.set()
        while context.get_remaining_time_in_millis() > 0:
            time.sleep(0.01)
        ended.set()

    polled = Polled(aws, queue, work)
    polled.send("long")
    assert started.wait(10)
    polled.poller.stop(2)
    assert ended.is_set()


def test_the_clock_fires_at_once_and_again_also_after_a_failure() -> None:
    fired: list[dict[str, Any]] = []
    stopping = threading.Event()

    def fail(event: dict[str, Any], _context: Context) -> None:
        fired.append(event)
        raise ValueError("no")

    clock = Clock([("sweep_minute", fail)], stopping, period_seconds=0.05)
    clock.start()
    until(lambda: len(fired) >= 3)
    clock.stop(1)
    assert set(fired[0]) == set(scheduled_event("x"))
    assert fired[0]["detail-type"] == "Scheduled Event"


def test_every_event_on_the_bus_reaches_the_subscriber(aws: Aws, cloud: Cloud) -> None:
    entry = {"EventBusName": "bevyly", "Source": "bevyly.agents", "DetailType": "any", "Detail": '{"a": 1}'}
    assert aws.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    said = aws.client("sqs").receive_message(QueueUrl=cloud.subscriber_queue_url, WaitTimeSeconds=5)
    assert json.loads(said["Messages"][0]["Body"])["detail"] == {"a": 1}


# Demo data and databases


@pytest.fixture
def ways_in(settings: Settings) -> Iterator[tuple[Engine, Engine]]:
    app, system = create(settings.database_url), create(settings.database_system_url)
    yield app, system
    app.dispose()
    system.dispose()


def counts(postgres: Postgres, database: str) -> dict[str, int]:
    tables = (
        "customers",
        "users",
        "tenant_queues",
        "accounts",
        "contacts",
        "intent_signals",
        "agent_configs",
    )
    return {
        table: postgres.execute(f"SELECT count(*) FROM {table}", database=database)[0][0]  # noqa: S608 - constants
        for table in tables
    }


def test_demo_data_is_made_once_and_people_are_linked_at_each_start(
    ways_in: tuple[Engine, Engine], postgres: Postgres, database_name: str
) -> None:
    app, system = ways_in
    assert seed.seed(app, system, issuer="i", subjects={p.email: f"1-{p.email}" for p in PEOPLE})
    first = counts(postgres, database_name)
    postgres.execute("UPDATE accounts SET name = 'Renamed'", database=database_name)

    assert not seed.seed(app, system, issuer="i", subjects={p.email: f"2-{p.email}" for p in PEOPLE})
    assert counts(postgres, database_name) == first
    assert first["accounts"] == 16
    assert first["agent_configs"] == 3
    names = postgres.execute("SELECT DISTINCT name FROM accounts", database=database_name)
    assert names == [["Renamed"]]
    with app.begin() as connection:
        asked = {"issuer": "i", "subject": f"2-{MANAGER.email}", "now": ""}
        entered = connection.execute(text("SELECT * FROM enter(:issuer, :subject, :now)"), asked).one()
    assert (entered.user_id, entered.customer_id, entered.role) == (MANAGER.id, NORTHWIND.id, "MANAGER")


def test_the_demos_ids_have_the_products_shape() -> None:
    assert all(is_id("UserId", person.id) for person in PEOPLE)
    assert all(is_id("CustomerId", tenant.id) for tenant in TENANTS)


def test_a_database_of_something_else_is_refused(postgres: Postgres, database_name: str) -> None:
    url = postgres.url(OWNER, database_name)
    databases.refuse_foreign(Addresses(url, url, url))
    postgres.execute("UPDATE alembic_version SET version_num = 'theirs'", database=database_name)
    with pytest.raises(StackError, match="something else"):
        databases.refuse_foreign(Addresses(url, url, url))


def test_a_database_with_customers_of_somebody_is_refused(
    postgres: Postgres, database_name: str, ways_in: tuple[Engine, Engine], settings: Settings
) -> None:
    assert seed.seed(*ways_in, issuer="i", subjects={p.email: p.email for p in PEOPLE})
    owner = postgres.url(OWNER, database_name)
    addresses = Addresses(settings.database_url, settings.database_system_url, owner)
    databases.refuse_foreign(addresses)
    postgres.execute("INSERT INTO customers (id, name) VALUES ('x', 'Theirs')", database=database_name)
    with pytest.raises(StackError, match="not the demo's"):
        databases.refuse_foreign(addresses)


def test_a_database_named_by_halves_is_explained() -> None:
    assert databases.in_environment({}) is None
    with pytest.raises(StackError, match="DATABASE_OWNER_URL"):
        databases.in_environment({"DATABASE_URL": "x", "DATABASE_SYSTEM_URL": "y"})


def test_what_a_deploying_shell_holds_does_not_lead_the_app_elsewhere(cloud: Cloud) -> None:
    shell = {
        "AWS_PROFILE": "prod",
        "AWS_ENDPOINT_URL_SQS": "https://sqs.example",
        "AWS_SESSION_TOKEN": "t",
        "EDGE_SECRET": "s",
        "STAGE": "prod",
        "APOLLO_API_KEY": "real",
    }
    where = Addresses("app", "system", "owner")
    got = for_the_app(
        shell,
        origin="http://127.0.0.1:1",
        database=where,
        cloud=cloud,
        sandbox="http://sandbox",
        directory=Path("/place"),
    )
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL_SQS", "AWS_SESSION_TOKEN", "EDGE_SECRET"} & set(got)
    assert got["STAGE"] == "local"
    assert got["APOLLO_API_KEY"] == "real"
    assert "APOLLO_BASE_URL" not in got
    assert got["OPENAI_BASE_URL"] == "http://sandbox/v1"
    assert got["VAULT_KEY_FILE"] == "/place/vault.key"


# The whole


def sign_in(stack: Stack, email: str) -> httpx.Response:
    person = stack.person(email)
    said = {"email": person["email"], "password": person["password"]}
    return httpx.post(f"{stack.api}/auth/login", json=said, headers={"Origin": stack.url}, timeout=10)


@pytest.mark.slow
def test_the_stack_starts_lets_people_in_stops_and_starts_again_after_a_kill(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "place")
    stack.start()
    pids = [stack.pid, *stack.info["pids"].values()]
    try:
        assert (stack.directory / "stack.json").stat().st_mode & 0o777 == 0o600
        token = sign_in(stack, MANAGER.email).json()["data"]["accessToken"]
        me = httpx.get(f"{stack.api}/me", headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert MANAGER.email in me.text
        assert sign_in(stack, OTHER_MANAGER.email).status_code == 200
        with pytest.raises(StackError, match="runs already"):
            Stack(stack.directory).start()

        os.kill(stack.pid, signal.SIGKILL)
        until(lambda: all(gone(pid) for pid in pids))
    finally:
        stack.stop()

    stack.start()
    pids = [stack.pid, *stack.info["pids"].values()]
    try:
        assert sign_in(stack, MANAGER.email).status_code == 200
    finally:
        begun = time.monotonic()
        code = stack.stop()
    assert code == 0
    assert time.monotonic() - begun < 5
    assert all(gone(pid) for pid in pids)
    assert not (stack.directory / "stack.json").exists()
