"""`make deploy`, `make person`, `make rollback`, `make destroy` against moto: the templates, the real `chalice deploy`, the
migrations in the emulator, the public address by TLS. tests/infra/cloud_server.py says where moto is patched.

One stage lives through it all, since each chapter takes seconds. What must hold is a function after its chapter, and is
reported by its name.
"""

import base64
import inspect
import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import pytest

from app import app
from infra.deploy.bucket import LOCK, Bucket, locked
from infra.deploy.cloud import Cloud, DeployError
from infra.deploy.destroy import destroy
from infra.deploy.gateway import ANSWERS
from infra.deploy.given import Given
from infra.deploy.people import VARIABLES, add_person
from infra.deploy.preflight import Preflight, PreflightError
from infra.deploy.stacks import Stack, Stacks
from infra.deploy.steps import Options, deploy, rollback
from infra.functions import ROOT, of_app
from infra.package.target import PackageError
from infra.rendering import StageFile, template_text
from tests.infra.cloud_server import ACCOUNT, REGION
from tests.infra.deploying import STAGE, Stage, a_stage, tiny_package

pytestmark = pytest.mark.slow

FAILURES: Final = {
    "infra": "resource of bevyly-dev-messaging",
    "infra, before the stack": "cloudformation CreateChangeSet bevyly-dev-functions",
    "migrations": "migrate/invocations",
    "proxy": "cloudformation CreateChangeSet bevyly-dev-proxy",
    "config": "secretsmanager GetSecretValue",
    "functions": "lambda POST /2015-03-31/event-source-mappings",
    "functions, after the API was made": "apigateway POST /restapis/.*/deployments",
    "answers": "apigateway PUT /restapis/.*/gatewayresponses/",
    "edge": "cloudformation CreateChangeSet bevyly-dev-edge",
    "observability": "cloudformation CreateChangeSet bevyly-dev-observability",
    "console": "s3 PUT /.*/index.html",
    "checks": "logs DescribeLogGroups",
    "smoke": "edge GET /api/v1/readyz",
}
"""What is refused, once, in the first deploy: a step and a call that it makes."""
LOOKED_AT_BEFORE: Final = {"config": 6}
"""So many such calls belong to the preflight."""

QUEUES: Final = ("runs", "runs-dead", "relay", "effects", "events")
RENAMED: Final = (
    "maximum_concurrency=2)\ndef bury_run(",
    'maximum_concurrency=2, name="bury_run")\ndef bury_message(',
)


@dataclass(slots=True)
class Chapter:
    """What was seen when a chapter was over."""

    lines: list[str]
    changes: list[str]
    functions: dict[str, Any]
    mappings: dict[str, Any]
    rules: dict[str, Any]
    apis: list[str]
    state: Any
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, stage: Stage, **more: Any) -> "Chapter":
        calls = stage.calls()
        changes = stage.changes(calls)
        awslambda, events = stage.client("lambda"), stage.client("events")
        names = [each["FunctionName"] for each in awslambda.list_functions()["Functions"]]
        functions = {name: awslambda.get_function_configuration(FunctionName=name) for name in names}
        mappings = awslambda.list_event_source_mappings()["EventSourceMappings"]
        rules = {
            each["Name"]: {**each, "Targets": events.list_targets_by_rule(Rule=each["Name"])["Targets"]}
            for each in events.list_rules()["Rules"]
        }
        lines = list(stage.lines)
        stage.lines.clear()
        return cls(
            lines,
            changes,
            functions,
            {each["EventSourceArn"].rpartition(":")[2]: each for each in mappings},
            {name: each for name, each in rules.items() if "ScheduleExpression" in each},
            [each["id"] for each in stage.client("apigateway").get_rest_apis()["items"]],
            stage.state(),
            {
                "mappings": len(mappings),
                "invocations": [each for each in calls if each.endswith("/invocations")],
                **more,
            },
        )


# How the story is told

STORY: Final[list[Callable[..., Any]]] = []


def told(part: Callable[..., Any]) -> Callable[..., Any]:
    """A chapter, or what must hold of the chapters so far, which it takes by their names. In this file's order."""
    STORY.append(part)
    return part


def test_the_life_of_a_stage(tmp_path: Path, subtests: pytest.Subtests) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        a_stage(tmp_path, tiny_package(tmp_path / "package"), patch) as made,
    ):
        page = made.folder / "dist"
        (page / "assets").mkdir(parents=True)
        (page / "index.html").write_text("<html>")
        (page / "assets" / "index-B3xk92Lq.js").write_text("1")
        seen: dict[str, Any] = {"stage": made}
        for part in STORY:
            needed = {name: seen[name] for name in inspect.signature(part).parameters}
            if "return" in part.__annotations__ and part.__annotations__["return"] is None:
                with subtests.test(msg=part.__name__):
                    part(**needed)
            else:
                seen[part.__name__] = part(**needed)


# The first deploy, which fails at every step once


@told
def deployed(stage: Stage) -> Chapter:
    sqs = stage.client("sqs")
    somebodys = sqs.create_queue(QueueName="bevyly-dev-runs")["QueueUrl"]
    stage.fail("kms DescribeKey")
    stage.changes()
    with pytest.raises(PreflightError) as looked:
        deploy(stage.options())
    assert stage.changes() == []
    sqs.delete_queue(QueueUrl=somebodys)
    stage.lines.clear()
    failures, half_made = {}, {}
    for step, call in FAILURES.items():
        stage.fail(call, after=LOOKED_AT_BEFORE.get(step, 0))
        with pytest.raises(DeployError) as failed:
            deploy(stage.options())
        failures[step] = (str(failed.value), list(stage.lines))
        if step == "functions, after the API was made":
            half_made = Chapter.of(stage).mappings
        stage.lines.clear()
    deploy(stage.options())
    s3 = stage.client("s3")
    kept = {
        each["Key"]: s3.get_object(Bucket=stage.bucket, Key=each["Key"])["Body"].read()
        for each in s3.list_objects_v2(Bucket=stage.bucket)["Contents"]
    }
    (api,) = [each["id"] for each in stage.client("apigateway").get_rest_apis()["items"]]
    gateway = stage.client("apigateway")
    (console,) = [each["Name"] for each in s3.list_buckets()["Buckets"] if "console" in each["Name"]]
    page = {
        each["Key"]: s3.head_object(Bucket=console, Key=each["Key"])
        for each in s3.list_objects_v2(Bucket=console)["Contents"]
    }
    policies = {
        name: stage.client("lambda").get_policy(FunctionName=f"bevyly-agents-dev{name}")["Policy"]
        for name in ("", "-run_due_schedules", "-sweep_minute")
    }
    reserved = {
        each["FunctionName"]: stage.client("lambda")
        .get_function_concurrency(FunctionName=each["FunctionName"])
        .get("ReservedConcurrentExecutions")
        for each in stage.client("lambda").list_functions()["Functions"]
    }
    return Chapter.of(
        stage,
        failures=failures,
        kept=kept,
        api=gateway.get_rest_api(restApiId=api),
        answers=gateway.get_gateway_responses(restApiId=api)["items"],
        page=page,
        policies=policies,
        reserved=reserved,
        secrets=_passwords(stage),
        half_made=half_made,
        looked=looked.value.problems,
    )


def _passwords(stage: Stage) -> list[str]:
    client = stage.client("secretsmanager")
    found = []
    for each in client.list_secrets()["SecretList"]:
        said = json.loads(client.get_secret_value(SecretId=each["ARN"])["SecretString"])
        found += [value for key, value in said.items() if key in {"password", "value"} and len(value) > 8]
    return found


@told
def what_aws_would_refuse_late_is_told_first(deployed: Chapter) -> None:
    """Each look by itself; test_looks.py has them all. Seen red without them: the stack `messaging` fails."""
    refused, taken = deployed.more["looked"]
    assert refused.startswith("AWS refuses a look: ")
    assert "no stack bevyly-dev-messaging, and yet there is queue bevyly-dev-runs," in taken


@told
def a_failure_names_its_step(deployed: Chapter) -> None:
    for step, (message, _) in deployed.more["failures"].items():
        assert message.startswith(step.partition(",")[0] + ":")


@told
def a_failed_stack_is_told_with_the_resources_own_reason_and_made_anew(deployed: Chapter) -> None:
    message, _ = deployed.more["failures"]["infra"]
    assert "ROLLBACK_COMPLETE" in message
    assert "The test lets it fail" in message


@told
def what_was_done_before_a_failure_is_not_done_again(deployed: Chapter) -> None:
    """Seen red with a state that forgets its steps."""
    _, lines = deployed.more["failures"]["smoke"]
    done = {line.split()[0] for line in lines if " done at " in line}
    assert done == {
        "infra",
        "migrations",
        "proxy",
        "observability",
        "console",
    }


@told
def a_deploy_that_failed_anywhere_makes_nothing_twice(deployed: Chapter) -> None:
    """Seen red without the record that is made from what exists: a second API, second mappings."""
    assert len(deployed.apis) == 1
    assert deployed.more["mappings"] == len(QUEUES)
    assert "no record of what exists" in " ".join(
        deployed.more["failures"]["functions, after the API was made"][1]
    )


@told
def the_pooler_comes_after_the_roles_that_it_signs_in_as(deployed: Chapter) -> None:
    """CloudFormation waits until it has. Seen red with the stack among those before the migrations: never made."""
    _, lines = deployed.more["failures"]["proxy"]
    assert [line for line in lines if "bevyly_app: made" in line]


@told
def a_first_deploy_that_does_not_answer_is_told_without_a_release_to_go_back_to(deployed: Chapter) -> None:
    message, _ = deployed.more["failures"]["smoke"]
    assert "there is no release to go back to" in message


@told
def old_code_serves_when_the_migration_fails(deployed: Chapter) -> None:
    message, lines = deployed.more["failures"]["migrations"]
    assert "migration could not be started" in message
    assert not [line for line in lines if line.startswith("functions")]


@told
def every_function_is_as_app_py_and_the_configuration_say(deployed: Chapter) -> None:
    given = StageFile.of(STAGE)
    functions = of_app(app, STAGE)
    names = {each.deployed_name(STAGE) for each in functions} | {"bevyly-agents-dev-migrate"}
    assert set(deployed.functions) == names
    for each in functions:
        there = deployed.functions[each.deployed_name(STAGE)]
        handler = "app.app" if each.name == "api_handler" else f"app.{each.name}"
        assert there["Handler"] == handler
        assert there["Timeout"] == each.timeout_seconds
        assert there["Runtime"] == "python3.13"
        assert f"{each.words}Role" in there["Role"]
        assert there["TracingConfig"]["Mode"] == "Active"
        assert len(there["VpcConfig"]["SubnetIds"]) == 2
        assert deployed.more["reserved"][each.deployed_name(STAGE)] == given.concurrency.get(each.name)
    assert deployed.functions["bevyly-agents-dev-execute_run"]["MemorySize"] == 1769
    assert deployed.functions["bevyly-agents-dev"]["MemorySize"] == 1024


@told
def what_a_queue_wakes_has_a_limit_in_the_mapping_and_none_that_is_reserved(deployed: Chapter) -> None:
    """Reserved concurrency would make SQS's own pollers throw messages into the dead-letter queue."""
    assert set(deployed.mappings) == {f"bevyly-dev-{queue}" for queue in QUEUES}
    for each in of_app(app, STAGE):
        if each.queue is not None:
            there = deployed.mappings[f"bevyly-dev-{each.queue.replace('_', '-')}"]
            assert there["ScalingConfig"]["MaximumConcurrency"] == each.maximum_concurrency
            assert there["FunctionArn"].endswith(f":{each.deployed_name(STAGE)}")
            assert deployed.more["reserved"][each.deployed_name(STAGE)] is None
    assert deployed.mappings["bevyly-dev-runs"]["BatchSize"] == 1
    assert deployed.mappings["bevyly-dev-relay"]["BatchSize"] == 10


BATCHES: Final = {"bevyly-dev-relay", "bevyly-dev-effects", "bevyly-dev-events"}


def of_which_messages_fail_alone(mappings: Mapping[str, Any]) -> set[str]:
    return {
        queue
        for queue, each in mappings.items()
        if each.get("FunctionResponseTypes") == ["ReportBatchItemFailures"]
    }


@told
def a_message_of_a_batch_may_fail_alone_also_when_chalice_fails_half_way(deployed: Chapter) -> None:
    """Else Lambda deletes what a handler reports. Seen red with the step only after a deploy that succeeded."""
    assert {queue for queue, each in deployed.mappings.items() if each["BatchSize"] > 1} == BATCHES
    assert of_which_messages_fail_alone(deployed.mappings) == BATCHES
    assert of_which_messages_fail_alone(deployed.more["half_made"]) == BATCHES


@told
def both_clocks_tick_and_may_call_their_functions(deployed: Chapter) -> None:
    assert len(deployed.rules) == 2
    for name in ("run_due_schedules", "sweep_minute"):
        (rule,) = [each for each in deployed.rules.values() if name in each["Name"]]
        assert (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", "rate(1 minute)")
        assert [each["Arn"] for each in rule["Targets"]] == [
            deployed.functions[f"bevyly-agents-dev-{name}"]["FunctionArn"]
        ]
        assert f":rule/{rule['Name']}" in deployed.more["policies"][f"-{name}"]
    assert f":{deployed.apis[0]}/" in deployed.more["policies"][""]


@told
def a_function_gets_the_settings_and_only_the_secrets_that_it_needs(deployed: Chapter) -> None:
    environments = {
        name: each["Environment"]["Variables"]
        for name, each in deployed.functions.items()
        if not name.endswith("-migrate")
    }
    for environ in environments.values():
        assert environ["STAGE"] == "dev"
        assert environ["RUNS_QUEUE"] == "bevyly-dev-runs"
        assert environ["PUBLIC_ORIGIN"].startswith("https://")
        assert environ["DATABASE_URL"].startswith("postgresql+pg8000://bevyly_app:")
        assert "DATABASE_OWNER_URL" not in environ
    assert [name for name, environ in environments.items() if "EDGE_SECRET" in environ] == [
        "bevyly-agents-dev"
    ]
    migrate = deployed.functions["bevyly-agents-dev-migrate"]["Environment"]["Variables"]
    assert not [key for key in migrate if "PASSWORD" in key or "URL" in key]


@told
def api_gateways_own_errors_have_the_apis_form(deployed: Chapter) -> None:
    answers = {each["responseType"]: each for each in deployed.more["answers"]}
    assert set(answers) >= set(ANSWERS)
    for each in (answers[kind] for kind in ANSWERS):
        error = json.loads(each["responseTemplates"]["application/json"])
        assert (error["success"], set(error["error"])) == (False, {"code", "message", "requestId"})


@told
def the_api_is_regional_and_compresses_long_answers(deployed: Chapter) -> None:
    """Seen red without the size in .chalice/config.json."""
    assert deployed.more["api"]["endpointConfiguration"]["types"] == ["REGIONAL"]
    assert deployed.more["api"]["minimumCompressionSize"] == 1024


@told
def the_consoles_parts_may_be_kept_and_its_page_is_asked_for(deployed: Chapter) -> None:
    page = deployed.more["page"]
    assert page["index.html"]["CacheControl"] == "no-cache"
    assert page["index.html"]["ContentType"].startswith("text/html")
    assert "immutable" in page["assets/index-B3xk92Lq.js"]["CacheControl"]
    assert any("/invalidation" in each for each in deployed.changes)


@told
def the_bucket_holds_no_secret(deployed: Chapter) -> None:
    """Seen red with the rendered configuration kept beside the package."""
    assert len(deployed.more["secrets"]) >= 4
    text = b"".join(deployed.more["kept"].values())
    assert not [each for each in deployed.more["secrets"] if each.encode() in text]


@told
def no_secret_is_told(deployed: Chapter) -> None:
    said = "\n".join(deployed.lines)
    said += "\n".join(message + "\n".join(lines) for message, lines in deployed.more["failures"].values())
    assert not [each for each in deployed.more["secrets"] if each in said]


@told
def no_secret_stays_on_this_machine(stage: Stage, deployed: Chapter) -> None:
    files = [path for path in stage.folder.rglob("*.json") if path.is_file()]
    assert [path for path in files if path.name == "config.json"]
    held = b"".join(path.read_bytes() for path in files)
    assert not [each for each in deployed.more["secrets"] if each.encode() in held]


@told
def who_is_not_told_of_alarms_is_said(deployed: Chapter) -> None:
    assert [line for line in deployed.lines if "no AlarmAddress in infra/parameters/dev.json" in line]


@told
def the_lock_is_given_back(deployed: Chapter) -> None:
    assert LOCK not in deployed.more["kept"]


# The same again


@told
def again(stage: Stage, deployed: Chapter) -> Chapter:
    assert deployed.state["current"]
    stage.changes()
    deploy(stage.options())
    return Chapter.of(stage)


@told
def a_second_deploy_changes_nothing(deployed: Chapter, again: Chapter) -> None:
    assert again.changes == []
    assert again.state == deployed.state
    assert [line for line in again.lines if line.startswith(("infra", "functions"))] == [
        "infra          unchanged: network, data, messaging, identity, functions, edge",
        "functions      unchanged",
    ]


# The first customer and person

ANN: Final = "ann.o-brien@acme.example"
OF_ANN: Final = {
    "PERSON_EMAIL": ANN,
    "PERSON_NAME": "Ann O'Brien $(shell exit 1)",
    "PERSON_ROLE": "ADMIN",
    "PERSON_CUSTOMER_NAME": "Acme & Söhne `exit 1`",
    "PERSON_TIME_ZONE": "Europe/Berlin",
}
PASSWORD: Final = "My-own-password-23"


@dataclass(slots=True)
class LetIn:
    """What was seen while a stage's first person was let in, and came back."""

    failures: list[tuple[str, int, list[Any]]]  # what was said, accounts at the pool, people in the database
    commands: list[str]  # what each `make person` printed
    customers: list[Any]
    people: list[Any]
    entries: list[Any]
    mail: list[dict[str, str]]
    challenge: Any
    token: Any
    again: Any
    entered: list[Any]


@told
def let_in(stage: Stage, again: Chapter) -> LetIn:
    """Failing at each call once, then by `make`, three times.

    Seen red with the account made before the function has looked.
    """
    assert again.state["current"]
    (pool,) = stage.client("cognito-idp").list_user_pools(MaxResults=10)["UserPools"]

    def accounts() -> list[Any]:
        users: list[Any] = stage.client("cognito-idp").list_users(UserPoolId=pool["Id"])["Users"]
        return users

    failures = []
    for call, when in (
        ("cloudformation DescribeStacks bevyly-dev-identity", None),
        ("cognito-idp AdminGetUser", None),
        ("add_person/invocations", None),
        ("cognito-idp AdminCreateUser", None),
        ("add_person/invocations", "account"),  # the second one, when there is an account
    ):

        def fail(line: str, call: str = call, when: str | None = when) -> None:
            if when is not None and line.startswith(when):
                stage.fail(call)

        if when is None:
            stage.fail(call)
        with pytest.raises(Exception, match="The test refuses") as failed:
            add_person(STAGE, OF_ANN, fail)
        people = stage.postgres.execute("SELECT id FROM users", database="bevyly")
        failures.append((str(failed.value), len(accounts()), people))
    commands = [_make_person(), _make_person(RESEND="yes")]
    first = stage.mail()[-1]["password"]
    challenge = stage.post("/api/v1/auth/login", {"email": ANN, "password": first}).json()
    session = challenge["data"]["session"]
    answer = {"email": ANN, "session": session, "newPassword": PASSWORD}
    token = stage.post("/api/v1/auth/challenge", answer).json()
    commands.append(_make_person())
    claims = jwt.decode(token["data"]["accessToken"], options={"verify_signature": False})
    stage.lines.clear()
    return LetIn(
        failures,
        commands,
        stage.postgres.execute("SELECT id, name, time_zone, plan FROM customers", database="bevyly"),
        stage.postgres.execute(
            "SELECT id, customer_id, email, name, role, status FROM users", database="bevyly"
        ),
        stage.postgres.execute(
            "SELECT action, target_id, user_id, details FROM audit_entries ORDER BY id", database="bevyly"
        ),
        stage.mail(),
        challenge,
        token,
        stage.post("/api/v1/auth/login", {"email": ANN, "password": PASSWORD}).json(),
        stage.postgres.execute(
            f"SELECT customer_id, user_id, role FROM enter('{claims['iss']}', '{claims['sub']}', '')",  # noqa: S608
            database="bevyly",
        ),
    )


def _make_person(**more: str) -> str:
    """As an operator types it; `-o`: what is installed is what the tests run with."""
    said = {VARIABLES[name]: value for name, value in OF_ANN.items()}
    words = [f"{name}={value}" for name, value in {"STAGE": STAGE, **said, **more}.items()]
    done = subprocess.run(
        ["make", "-s", "-o", "install", "person", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@told
def nothing_is_made_before_the_function_has_looked(let_in: LetIn) -> None:
    assert [accounts for _, accounts, _ in let_in.failures] == [0, 0, 0, 0, 1]


@told
def a_try_that_failed_half_way_makes_nobody_twice(let_in: LetIn) -> None:
    assert [people for *_, people in let_in.failures] == [[]] * 5
    ((customer, name, zone, plan),) = let_in.customers
    assert (name, zone, plan) == (OF_ANN["PERSON_CUSTOMER_NAME"], "Europe/Berlin", "starter")
    ((person, at, *rest),) = let_in.people
    assert (at, rest) == (customer, [ANN, OF_ANN["PERSON_NAME"], "ADMIN", "active"])
    by = {"by": "operator"}
    assert let_in.entries == [
        ["customer.created", customer, None, by],
        ["user.created", person, None, {**by, "role": "ADMIN"}],
    ]


@told
def an_operator_is_told_what_is_there_now(let_in: LetIn) -> None:
    made, resent, signed_in = let_in.commands
    ((customer, *_),) = let_in.customers
    ((person, *_),) = let_in.people
    assert f"customer       {customer} is made\n" in made
    assert f"person         {person} is made: {OF_ANN['PERSON_NAME']}, ADMIN\n" in made
    assert "lasts 7 days from when it was sent" in made
    assert f"customer       {customer} was there\n" in resent
    assert f"another first password is mailed to {ANN}" in resent
    assert signed_in.endswith(f"with {ANN} and the password they have\n")
    assert not [each for each in let_in.mail if each["password"] in "".join(let_in.commands)]


@told
def the_first_person_signs_in_at_the_public_address(let_in: LetIn) -> None:
    """With the password that was mailed last, then with their own; their token is that of the row that was made."""
    assert [each["to"] for each in let_in.mail] == [ANN, ANN]
    assert let_in.challenge["data"]["challenge"] == "new_password"
    assert let_in.token["data"]["accessToken"]
    assert let_in.again["data"]["accessToken"]
    ((customer, *_),) = let_in.customers
    ((person, *_),) = let_in.people
    assert let_in.entered == [[customer, person, "ADMIN"]]


@told
def what_does_not_agree_with_what_is_there_is_refused_in_words(stage: Stage, let_in: LetIn) -> None:
    """By the function, in the emulator. Nobody gets an account for a try that is refused."""
    ((customer, *_),) = let_in.customers
    ((person, *_),) = let_in.people
    stage.changes()
    others = {"PERSON_EMAIL": "bo@acme.example", "PERSON_NAME": "Bo"}
    nobody = "cus_01k00000000000000000000000"
    for more, said in (
        ({"PERSON_ROLE": "VIEWER"}, rf"{person} at {customer} already: the role is ADMIN, not VIEWER\."),
        ({"PERSON_RESEND": "yes"}, "never signed in; this account is CONFIRMED"),
        (others, f"There is a customer .* already, {customer}"),
        (
            {**others, "PERSON_CUSTOMER_NAME": "", "PERSON_TIME_ZONE": "", "PERSON_CUSTOMER": nobody},
            f"There is no customer {nobody}",
        ),
    ):
        with pytest.raises(DeployError, match=said):
            add_person(STAGE, {**OF_ANN, **more}, stage.lines.append)
    assert stage.changes() == []
    stage.lines.clear()


# What stands in the way


@told
def refused(stage: Stage) -> list[str]:
    """A lock, a package that is too big, a missing file, a queue that hides too shortly, a forgotten secret."""
    s3, sqs, secrets = (stage.client(service) for service in ("s3", "sqs", "secretsmanager"))
    lock = {"owner": "ann@there", "taken": "2026-11-01T10:00:00Z", "token": "1", "verb": "deploy"}
    s3.put_object(Bucket=stage.bucket, Key=LOCK, Body=json.dumps(lock).encode())
    url = sqs.get_queue_url(QueueName="bevyly-dev-runs")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "300"})
    (edge,) = [each for each in secrets.list_secrets()["SecretList"] if "EdgeSecret" in each["Name"]]
    before = secrets.get_secret_value(SecretId=edge["ARN"])["SecretString"]
    secrets.put_secret_value(SecretId=edge["ARN"], SecretString='{"value": ""}')

    def too_big(*_: Any) -> Any:
        raise PackageError("The package is too big.")

    stage.changes()
    with pytest.raises(PreflightError) as found:
        deploy(stage.options(build=too_big, database_ca=Path("/nowhere.pem")))
    assert stage.changes() == []
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1800"})
    secrets.put_secret_value(SecretId=edge["ARN"], SecretString=before)
    s3.delete_object(Bucket=stage.bucket, Key=LOCK)
    stage.lines.clear()
    return found.value.problems


@told
def everything_in_the_way_is_told_at_once_with_what_to_do(refused: list[str]) -> None:
    expected = {
        "locked by ann@there": "TAKE_OVER=yes",
        "too big": "",
        "/nowhere.pem": "DATABASE_CA=",
        "hides a message for 300 s": "VisibilityTimeout=1800",
        "EdgeSecretArn (value)": "Fill them",
    }
    assert len(refused) == len(expected)
    for what, to_do in expected.items():
        (said,) = [each for each in refused if what in each]
        assert to_do in said


@told
def a_lock_is_kept_from_others_and_taken_over_only_when_that_is_said(
    stage: Stage, refused: list[str]
) -> None:
    bucket = Bucket(Cloud(STAGE))
    with locked(bucket, "deploy") as first:
        with pytest.raises(DeployError, match="TAKE_OVER"), locked(bucket, "rollback"):
            pass
        first.check()
        with locked(bucket, "rollback", take_over=True), pytest.raises(DeployError, match="no longer ours"):
            first.check()
    assert bucket.get(LOCK) is None
    stage.lines.clear()


@told
def what_others_import_cannot_change(stage: Stage) -> None:
    """Seen red without the look before: CloudFormation refuses it, in the middle of a deploy."""
    given = Given.read(STAGE)
    cloud = Cloud(STAGE)
    stacks = Stacks(cloud, Bucket(cloud), lambda _: None)

    def in_the_way(stack: str, **parameters: str) -> list[str]:
        said = {**given.said["stacks"], stack: {**given.said["stacks"][stack], **parameters}}
        preflight = Preflight(cloud, stacks, lambda: stage.built, None, take_over=False)
        return list(preflight._of_aws(Given.of(STAGE, {**given.said, "stacks": said}), []))

    assert in_the_way("network") == []
    (subnets,) = in_the_way("network", Zones="3")
    assert (
        "bevyly-dev-SubnetIds would change, for in infra/parameters/dev.json `Zones` is 3 now and was 2"
        in subnets
    )
    assert "data, proxy use it" in subnets
    (source,) = in_the_way("messaging", EventSource="other.source")
    assert "`EventSource` is other.source now and was bevyly.agents" in source
    zones = {**given.file.parameters("network"), "Zones": "3"}
    network = Stack(cloud.stack_name("network"), template_text("network"), zones, STAGE)
    with pytest.raises(DeployError, match="Cannot update export bevyly-dev-SubnetIds as it is in use by"):
        stacks.bring_up(network)


@told
def what_holds_data_is_not_removed_unless_it_is_named(stage: Stage) -> None:
    cloud = Cloud(STAGE)
    stacks = Stacks(cloud, Bucket(cloud), lambda _: None)
    declared = "Parameters: {Stage: {Type: String, Default: dev}}\nResources:\n"
    queue = "  Old: {Type: AWS::SQS::Queue, Properties: {QueueName: old}}\n"
    rest = "  New: {Type: AWS::SQS::Queue, Properties: {QueueName: new}}\n"
    before = Stack("data-at-risk", declared + queue + rest, {"Stage": STAGE}, STAGE)
    after = Stack("data-at-risk", declared + rest, {"Stage": STAGE}, STAGE)
    assert stacks.bring_up(before) == "made"
    with pytest.raises(DeployError, match=r"Old would be removed.*MAY_REPLACE=Old"):
        stacks.bring_up(after)
    assert stacks.bring_up(before) == "unchanged"
    assert stacks.bring_up(after, may_replace=["Old"]) == "changed"
    assert stacks.take_down("data-at-risk")
    assert not stacks.take_down("data-at-risk")


@told
def a_database_and_a_pool_are_protected_only_once_their_stack_is_there(stage: Stage) -> None:
    """Else nobody could clear away a first creation that failed. Seen red with the parameter sent as it is."""
    cloud = Cloud(STAGE)
    stacks = Stacks(cloud, Bucket(cloud), lambda _: None)
    template = (
        "Parameters: {Stage: {Type: String}, DeletionProtection: {Type: String, Default: ACTIVE}}\n"
        "Resources: {Mine: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub 'is-${DeletionProtection}'}}}\n"
    )
    sent: list[tuple[str, str, bool | None]] = []

    def note(params: Mapping[str, Any], **_: Any) -> None:
        given = {each["ParameterKey"]: each["ParameterValue"] for each in params["Parameters"]}
        protection = given.get("DeletionProtection", "unsaid")
        sent.append((params["ChangeSetType"], protection, params.get("ImportExistingResources")))

    events = cloud.client("cloudformation").meta.events
    for said, on, off in (
        ({"DeletionProtection": "true"}, "true", "false"),
        ({"DeletionProtection": "ACTIVE"}, "ACTIVE", "INACTIVE"),
        ({}, "unsaid", "INACTIVE"),
    ):
        stack = Stack("protected", template, {"Stage": STAGE, **said}, STAGE)
        sent.clear()
        events.register("provide-client-params.cloudformation.CreateChangeSet", note)
        assert stacks.bring_up(stack) == "made"
        events.unregister("provide-client-params.cloudformation.CreateChangeSet", note)
        assert sent == [("CREATE", off, True), ("UPDATE", on, None)]
        assert stacks.parameter("protected", "DeletionProtection") == said.get("DeletionProtection", "ACTIVE")
        assert stacks.bring_up(stack) == "unchanged"
        assert stacks.take_down("protected")


# New code, with chalice's record lost, a handler renamed, and somebody's hand in between


@told
def changed(stage: Stage) -> Chapter:
    stage.change(*RENAMED)
    stage.client("s3").delete_object(Bucket=stage.bucket, Key=f"deployed/{STAGE}.json")
    stage.client("events").disable_rule(Name="bevyly-agents-dev-sweep_minute-event")
    awslambda = stage.client("lambda")
    mappings = {
        each["EventSourceArn"].rpartition(":")[2]: each["UUID"]
        for each in awslambda.list_event_source_mappings()["EventSourceMappings"]
    }
    awslambda.update_event_source_mapping(UUID=mappings["bevyly-dev-effects"], Enabled=False)
    awslambda.update_event_source_mapping(UUID=mappings["bevyly-dev-events"], FunctionResponseTypes=[])
    awslambda.update_function_configuration(FunctionName="bevyly-agents-dev-relay_events", Timeout=3)
    gateway = stage.client("apigateway")
    (api,) = [each["id"] for each in gateway.get_rest_apis()["items"]]
    by_hand = {"op": "replace", "path": "/minimumCompressionSize", "value": "0"}
    gateway.update_rest_api(restApiId=api, patchOperations=[by_hand])
    (stage.folder / "dist" / "index.html").write_text("<html>new")
    stage.put_to_sleep("bevyly-agents-dev-migrate")
    stage.changes()
    stage.fail("apigateway PUT /restapis/.*/gatewayresponses/")
    with pytest.raises(DeployError, match="answers"):  # the functions are there, and know the former secret
        deploy(stage.options())
    secrets = stage.client("secretsmanager")
    (edge,) = [each for each in secrets.list_secrets()["SecretList"] if "EdgeSecret" in each["Name"]]
    secrets.put_secret_value(SecretId=edge["ARN"], SecretString='{"value": "AnotherWord"}')
    stage.fail("cloudformation CreateChangeSet bevyly-dev-edge")
    with pytest.raises(DeployError, match="edge"):  # CloudFront sends the former one still
        deploy(stage.options())
    with_the_old = httpx.get(f"{stage.edge}/api/v1/healthz").status_code
    deploy(stage.options())
    return Chapter.of(stage, with_the_old=with_the_old, api=gateway.get_rest_api(restApiId=api))


@told
def a_function_that_sleeps_is_woken(changed: Chapter) -> None:
    """Seen red with one call: Lambda refuses the first after idle weeks."""
    calls = [each for each in changed.more["invocations"] if "-migrate/" in each]
    assert len(calls) == 2


@told
def new_code_serves_everywhere(stage: Stage, deployed: Chapter, changed: Chapter) -> None:
    wanted = base64.b64encode(bytes.fromhex(stage.built.sha256)).decode()
    assert {each["CodeSha256"] for each in changed.functions.values()} == {wanted}
    assert {each["CodeSha256"] for each in deployed.functions.values()} != {wanted}
    assert len(changed.state["releases"]) == 2


@told
def a_lost_record_makes_no_second_api_and_no_second_mapping(deployed: Chapter, changed: Chapter) -> None:
    assert changed.apis == deployed.apis
    assert {queue: each["UUID"] for queue, each in changed.mappings.items()} == {
        queue: each["UUID"] for queue, each in deployed.mappings.items()
    }


@told
def a_handler_that_is_renamed_under_a_kept_name_is_noticed_and_set(changed: Chapter) -> None:
    """Seen red without the step after chalice's: it never updates a handler."""
    assert changed.functions["bevyly-agents-dev-bury_run"]["Handler"] == "app.bury_message"
    assert [line for line in changed.lines if "its handler is now app.bury_message" in line]


@told
def what_somebody_changed_by_hand_is_as_it_was_meant(changed: Chapter) -> None:
    assert {each["State"] for each in changed.rules.values()} == {"ENABLED"}
    assert {each["State"] for each in changed.mappings.values()} == {"Enabled"}
    assert changed.functions["bevyly-agents-dev-relay_events"]["Timeout"] == 60
    assert changed.more["api"]["minimumCompressionSize"] == 1024


@told
def a_message_may_fail_alone_before_there_is_code_that_reports_it(changed: Chapter) -> None:
    """Seen red with the step only after chalice's."""
    assert of_which_messages_fail_alone(changed.mappings) == BATCHES
    path = f"lambda PUT /2015-03-31/event-source-mappings/{changed.mappings['bevyly-dev-events']['UUID']}"
    new_code = [
        at for at, each in enumerate(changed.changes) if re.search(r"agents-dev(?!-migrate).*/code$", each)
    ]
    assert path in changed.changes[: new_code[0]]
    assert [line for line in changed.lines if "of bevyly-dev-events only messages that failed" in line]


@told
def only_the_page_that_changed_is_uploaded(changed: Chapter) -> None:
    assert [line for line in changed.lines if line.startswith("console")] == [
        "console        1 files uploaded"
    ]


# Another secret for the edge


@told
def settled(stage: Stage, changed: Chapter) -> Chapter:
    """The deploy after the one that changed the edge's secret."""
    assert changed.state["current"]
    deploy(stage.options())
    return Chapter.of(stage)


@told
def the_public_address_answers_while_the_edges_secret_changes(changed: Chapter, settled: Chapter) -> None:
    """Also where it changes between a failure and the deploy that goes on. Seen red with the new word alone, and with
    functions that a deploy which goes on leaves as they are.
    """
    said = [
        each.functions["bevyly-agents-dev"]["Environment"]["Variables"]["EDGE_SECRET"].split(",")
        for each in (changed, settled)
    ]
    assert changed.more["with_the_old"] == 200
    assert [len(each) for each in said] == [2, 1]
    assert said[0][0] == said[1][0] == "AnotherWord"
    assert [line for line in changed.lines if line.startswith("edge")] == ["edge           changed"]


@told
def whoever_comes_past_the_edge_is_refused(stage: Stage, settled: Chapter) -> None:
    assert settled.state["current"]
    event = json.loads((Path(__file__).parent / "events" / "app.json").read_text())
    answer = stage.client("lambda").invoke(FunctionName="bevyly-agents-dev", Payload=json.dumps(event))
    said = json.loads(answer["Payload"].read())
    assert (said["statusCode"], json.loads(said["body"])["error"]["code"]) == (403, "not_by_the_edge")


# Back


@told
def back(stage: Stage) -> Chapter:
    awslambda = stage.client("lambda")
    for name, tags in (
        ("left_over", {"aws-chalice": "version=1:stage=dev:app=bevyly-agents"}),
        ("somebodys", {}),
    ):
        awslambda.create_function(
            FunctionName=f"bevyly-agents-dev-{name}",
            Code={"ZipFile": stage.built.zip.read_bytes()},
            Handler="app.x",
            Runtime="python3.13",
            Role=awslambda.get_function_configuration(FunctionName="bevyly-agents-dev")["Role"],
            Tags=tags,
        )
    awslambda.create_event_source_mapping(
        FunctionName="bevyly-agents-dev-left_over",
        EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:bevyly-dev-relay-dead",
    )
    stage.changes()
    rollback(stage.options(build=None))
    awslambda.delete_function(FunctionName="bevyly-agents-dev-somebodys")
    return Chapter.of(stage)


@told
def a_rollback_serves_the_release_before_from_the_bucket(
    deployed: Chapter, changed: Chapter, back: Chapter
) -> None:
    def code(chapter: Chapter) -> set[str]:
        return {
            each["CodeSha256"] for name, each in chapter.functions.items() if not name.endswith("-migrate")
        }

    assert code(back) == code(deployed) != code(changed)
    assert back.functions["bevyly-agents-dev-bury_run"]["Handler"] == "app.bury_run"
    assert back.state["current"] == deployed.state["current"]
    assert back.apis == deployed.apis


@told
def a_rollback_says_that_the_database_keeps_its_revision(back: Chapter) -> None:
    assert "The database keeps its revision" in back.lines[-1]
    assert not [each for each in back.changes if "migrate" in each]


@told
def what_another_releases_failed_deploy_made_is_taken_away_and_nothing_of_others(back: Chapter) -> None:
    assert "bevyly-agents-dev-left_over" not in back.functions
    assert set(back.mappings) == {f"bevyly-dev-{queue}" for queue in QUEUES}
    deleted = [each for each in back.changes if each.startswith("lambda DELETE") and "/functions/" in each]
    names = [each.rpartition("-")[2] for each in deleted if not each.endswith("/concurrency")]
    assert names == ["left_over", "somebodys"]  # the latter by this test itself


@told
def there_is_nothing_before_the_first_release(stage: Stage) -> None:
    with pytest.raises(DeployError, match="no release to go back to"):
        rollback(stage.options())
    stage.lines.clear()


# Down


@told
def down(stage: Stage) -> list[str]:
    stage.client("logs").put_retention_policy(logGroupName="/aws/lambda/bevyly-agents-dev", retentionInDays=3)
    with pytest.raises(DeployError, match="Not confirmed"):
        destroy(stage.options(), confirmed="prod")
    stage.fail("cloudformation DeleteStack .*dev-data")
    with pytest.raises(Exception, match="DeleteStack"):
        destroy(stage.options(), confirmed=STAGE)
    return destroy(stage.options(), confirmed=STAGE)


@told
def nothing_of_a_destroyed_stage_is_left_but_what_is_listed(stage: Stage, down: list[str]) -> None:
    assert stage.client("lambda").list_functions()["Functions"] == []
    assert stage.client("lambda").list_event_source_mappings()["EventSourceMappings"] == []
    assert stage.client("apigateway").get_rest_apis()["items"] == []
    assert not [each for each in stage.client("events").list_rules()["Rules"] if "ScheduleExpression" in each]
    assert stage.client("cloudformation").describe_stacks()["Stacks"] == []
    assert down[-1].startswith(f"bucket {stage.bucket}")


# And up again, with what the first one left


@told
def risen(stage: Stage, down: list[str]) -> Chapter:
    assert down
    stage.lines.clear()
    stage.changes()
    deploy(stage.options())
    groups = stage.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    keys = stage.client("cloudformation").describe_stacks(StackName="bevyly-dev-data")["Stacks"][0]["Outputs"]
    (key,) = [each["OutputValue"] for each in keys if each["OutputKey"] == "DataKeyArn"]
    return Chapter.of(stage, groups=groups, key=key)


@told
def log_groups_that_were_left_are_kept_as_the_new_stage_says(risen: Chapter) -> None:
    """CloudFormation takes them as they are, with other days and the key of before."""
    said = {(each["retentionInDays"], each["kmsKeyId"]) for each in risen.more["groups"]}
    assert said == {(14, risen.more["key"])}
    told = "log group /aws/lambda/bevyly-agents-dev keeps for 14 days now, and kept 3"
    assert [line for line in risen.lines if line.strip() == told]


@told
def a_destroyed_stage_can_be_made_again(deployed: Chapter, risen: Chapter) -> None:
    assert set(risen.functions) == set(deployed.functions)
    assert set(risen.mappings) == set(deployed.mappings)
    assert len(risen.apis) == 1
    assert [line for line in risen.lines if line.startswith("infra")] == [
        "infra          made: network, data, messaging, identity, functions, edge"
    ]
    assert [line for line in risen.lines if line.startswith("smoke")] == [
        "smoke          the public address answers"
    ]


def test_prod_is_destroyed_only_when_that_is_said_twice() -> None:
    with pytest.raises(DeployError, match="DESTROY_PROD"):
        destroy(Options("prod"), confirmed="prod")


def test_no_template_is_too_long_to_be_sent_as_it_is() -> None:
    """Longer ones go by the bucket; moto would take either."""
    assert len(template_text("observability")) < 51_200
