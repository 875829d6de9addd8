"""Parts of a deploy that need no AWS."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.stub import Stubber

from infra.deploy import gateway, logs, preflight
from infra.deploy.bucket import Bucket
from infra.deploy.cloud import Cloud, DeployError
from infra.deploy.configuration import FROM_OUTPUTS, Secrets, needed_outputs, render, secret_outputs
from infra.deploy.existing import Existing, _of_api, differences
from infra.deploy.given import Given
from infra.deploy.preflight import Preflight
from infra.deploy.stacks import Stacks, losses
from infra.deploy.state import KEPT, Release, State
from infra.deploy.steps import _target, unconfirmed
from infra.deploy.wanted import Function, Mapped, Wanted
from infra.functions import ROOT
from infra.package.target import PackageError
from infra.rendering import STACKS, template

OUTPUTS: Final = {
    **{name: f"<{name}>" for name in needed_outputs()},
    "SubnetIds": "subnet-1,subnet-2",
    "ApiHandlerRoleArn": "arn:api",
    "ExecuteRunRoleArn": "arn:run",
    "SweepMinuteRoleArn": "arn:sweep",
    "MigrateRoleArn": "arn:migrate",
    "PublicOrigin": "https://console.example",
    "ProxyEndpoint": "proxy.example",
    "DatabaseName": "bevyly",
}
SECRETS: Final = Secrets(
    app={"username": "bevyly_app", "password": "p@ss/w:rd?"},
    system={"username": "bevyly_system", "password": "other"},
    api={"EDGE_SECRET": "edge", "COGNITO_CLIENT_SECRET": "client"},
    providers={"OPENAI_API_KEY": "key-of-openai", "APOLLO_API_KEY": ""},
)
BASE: Final = json.loads((ROOT / ".chalice/config.json").read_text())


def rendered(settings: dict[str, str] | None = None, **outputs: str) -> Any:
    made = render(
        BASE,
        Given.read("dev").file,
        {**OUTPUTS, **outputs},
        SECRETS,
        settings=settings or {},
        architecture="arm64",
    )
    return {**made, **made["stages"]["dev"]}


# What differs


@pytest.mark.parametrize(
    ("batch", "said", "lacks"),
    [(10, None, True), (10, [], True), (10, ["ReportBatchItemFailures"], False), (1, None, False)],
)
def test_a_mapping_of_batches_that_would_delete_what_failed_is_told(
    batch: int, said: list[str] | None, *, lacks: bool
) -> None:
    """Seen red with the response types of the mapping not looked at."""
    mapped = Mapped("m", "relay", "relay-queue", batch, 2)
    there = {"BatchSize": batch, "ScalingConfig": {"MaximumConcurrency": 2}, "FunctionResponseTypes": said}
    found = differences(
        Wanted((), (mapped,), (), None, "api", None, traced=False),
        Existing({}, {}, {("relay", "relay-queue"): there}, {}, {}, None, None, "eu-central-1"),
        {"resources": [], "package": "00"},
        package="00",
    )
    told = "relay: its mapping of relay-queue lacks ReportBatchItemFailures, and would delete what failed"
    assert found == ([told] if lacks else [])


@pytest.mark.parametrize(("there", "told"), [(1024, False), (0, True), (None, True)])
def test_from_how_many_bytes_on_the_api_compresses_is_noticed(there: int | None, *, told: bool) -> None:
    handler = Function(
        *("api_handler", "f", "app.app", "python3.13", 60, 1024, {}, "arn", (), (), None),
        traced=False,
        architecture="x86_64",
    )
    found = _of_api(
        Wanted((handler,), (), (), "rest_api", "api", 1024, traced=False),
        Existing({}, {}, {}, {}, {"f": ":api-1/"}, "api-1", there, "eu-central-1"),
    )
    said = f"the REST API: minimum_compression_size is {there}, not 1024"
    assert list(found) == ([said] if told else [])


# The edge's secret

ARNS: Final = {name: f"arn:{name}" for name in secret_outputs()}
FILLED: Final = {
    "username": "u",
    "password": "p",
    "value": "Word",
    "OPENAI_API_KEY": "",
    "APOLLO_API_KEY": "",
}


def secrets_read(
    current: str, sent: str, before: Any, *, served: str = "", edge_stays: bool = False
) -> Secrets:
    """With version 2 current at Secrets Manager; `before` is what it says of the version that CloudFront sends."""
    cloud = a_cloud()
    with Stubber(cloud.client("secretsmanager")) as manager, Stubber(cloud.client("lambda")) as functions:

        def answers(value: Any, **asked: str) -> None:
            text = json.dumps(value)
            manager.add_response("get_secret_value", {"SecretString": text, "VersionId": "v" * 32}, asked)

        answers({"value": current}, SecretId="arn:EdgeSecretArn")
        if before is None:
            manager.add_client_error("get_secret_value", "ResourceNotFoundException")
            functions.add_response(
                "get_function_configuration", {"Environment": {"Variables": {"EDGE_SECRET": served}}}
            )
        elif sent != "v" * 32:
            answers({"value": before}, SecretId="arn:EdgeSecretArn", VersionId=sent)
        for name in ("App", "System", "Client", "PlatformKeys", "Owner"):
            answers(FILLED, SecretId=f"arn:{name}SecretArn")
        return Secrets.read(cloud, ARNS, sent_by_the_edge=sent, edge_stays=edge_stays)


@pytest.mark.parametrize(
    ("sent", "before", "served", "accepted"),
    [
        ("v" * 32, "", "", "New"),
        ("w" * 32, "Old", "", "New,Old"),
        ("w" * 32, None, "Mid,Old", "New,Mid,Old"),
        ("w" * 32, None, "New,Old", "New,Old"),
        ("w" * 32, None, "", "New"),
    ],
)
def test_the_api_takes_what_cloudfront_sends_now_as_well(
    sent: str, before: str | None, served: str, accepted: str
) -> None:
    """Seen red without what the API takes now: after two changes in a row everybody would be refused for minutes."""
    read = secrets_read("New", sent, before, served=served)
    assert (read.api["EDGE_SECRET"], read.edge_version) == (accepted, "v" * 32)


def test_a_rollback_leaves_the_edge_and_so_its_word() -> None:
    """Code of before may know one word only."""
    assert secrets_read("New", "w" * 32, "Old", edge_stays=True).api["EDGE_SECRET"] == "Old"


@pytest.mark.parametrize("word", ["", "  ", "a,b", "ü"])
def test_a_word_that_could_stand_in_no_header_is_refused(word: str) -> None:
    with pytest.raises(DeployError, match="EdgeSecretArn"):
        secrets_read(word, "v" * 32, "")


# Configuration


def test_every_output_that_is_read_is_one_of_the_templates() -> None:
    outputs = {name for stack in STACKS for name in template(stack)["Outputs"]}
    assert needed_outputs() <= outputs


def test_what_the_table_of_outputs_says_is_what_is_rendered() -> None:
    rows = [
        line.split("|")
        for line in (ROOT / "infra/README.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    table = {row[2].strip(" `"): row[3] for row in rows if len(row) == 5}
    for setting, output in FROM_OUTPUTS.items():
        assert f"`{setting}`" in table[output]


def test_a_password_with_signs_of_an_address_is_still_a_password() -> None:
    url = rendered()["environment_variables"]["DATABASE_URL"]
    assert url == "postgresql+pg8000://bevyly_app:p%40ss%2Fw%3Ard%3F@proxy.example:5432/bevyly"


def test_secrets_go_where_they_are_needed_and_an_empty_one_nowhere() -> None:
    functions = rendered()["lambda_functions"]
    own = {name: set(said.get("environment_variables", {})) for name, said in functions.items()}
    assert own == {
        "api_handler": {"EDGE_ONLY", "EDGE_SECRET", "COGNITO_CLIENT_SECRET", "OPENAI_API_KEY"},
        "execute_run": {"OPENAI_API_KEY"},
        "sweep_minute": set(),
    }


def test_chalice_makes_no_role_and_the_api_is_regional() -> None:
    made = rendered()
    assert made["manage_iam_role"] is False
    assert {said["iam_role_arn"] for said in made["lambda_functions"].values()} == {
        "arn:api",
        "arn:run",
        "arn:sweep",
    }
    assert (made["api_gateway_endpoint_type"], made["lambda_architecture"]) == ("REGIONAL", "arm64")


def test_an_operators_setting_is_handed_on() -> None:
    assert rendered({"LOG_LEVEL": "DEBUG"})["environment_variables"]["LOG_LEVEL"] == "DEBUG"


@pytest.mark.parametrize(("said", "edge_only"), [({}, "true"), ({"EDGE_ONLY": "false"}, "false")])
def test_the_api_is_reached_by_the_edge_only_unless_the_stage_says_otherwise(
    said: dict[str, str], edge_only: str
) -> None:
    made = rendered(said)
    assert made["lambda_functions"]["api_handler"]["environment_variables"]["EDGE_ONLY"] == edge_only
    assert "EDGE_ONLY" not in made["environment_variables"]  # the others have no secret to compare with


@pytest.mark.parametrize(
    "name", ["DATABASE_URL", "EDGE_SECRET", "RUNS_QUEUE", "AWS_REGION", "DATABASE_OWNER_URL", "TZ"]
)
def test_a_setting_that_is_not_the_operators_is_refused(name: str) -> None:
    with pytest.raises(DeployError, match=name):
        rendered({name: "x"})


def test_an_environment_that_lambda_would_refuse_is_refused_with_the_longest() -> None:
    with pytest.raises(DeployError, match=r"4096.*OPENAI_PRICES"):
        rendered({"OPENAI_PRICES": "x" * 4000})


def test_outputs_that_are_missing_are_named() -> None:
    outputs = {name: value for name, value in OUTPUTS.items() if name != "BusName"}
    with pytest.raises(DeployError, match="BusName"):
        render(BASE, Given.read("dev").file, outputs, SECRETS, settings={}, architecture="x86_64")


def test_secrets_do_not_show() -> None:
    assert "p@ss" not in repr(SECRETS)


# Change sets


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"Action": "Remove"}, "would be removed"),
        ({"Action": "Modify", "Replacement": "True"}, "would be replaced"),
        ({"Action": "Modify", "Replacement": "Conditional"}, "might be replaced"),
        ({"Action": "Modify", "Replacement": "False"}, None),
        ({"Action": "Add"}, None),
    ],
)
def test_a_loss_is_what_a_change_set_would_remove_or_replace(change: dict[str, str], how: str | None) -> None:
    def of(kind: str) -> dict[str, str]:
        said = {"LogicalResourceId": "Name", "ResourceType": kind, **change}
        return losses([{"Type": "Resource", "ResourceChange": said}])

    for kind in (
        "AWS::RDS::DBCluster",
        "AWS::RDS::DBProxy",
        "AWS::KMS::Key",
        "AWS::Cognito::UserPool",
        "AWS::MSK::ServerlessCluster",
        "AWS::S3::Bucket",
        "AWS::SQS::Queue",
    ):
        assert of(kind) == ({} if how is None else {"Name": how})
    assert of("AWS::CloudWatch::Alarm") == {}


def test_a_kafka_cluster_goes_with_its_stack() -> None:
    """Kept, it would hold its security group and the subnets. Seen red with the cluster retained."""
    cluster = template("streaming")["Resources"]["Cluster"]
    assert (cluster["DeletionPolicy"], cluster["UpdateReplacePolicy"]) == ("Delete", "Delete")


# State


def a_release(number: int) -> Release:
    return Release(f"{number:04}-abc", f"print-{number}", "sha", "x86_64", "commit", "2026-11-01T10:00:00Z")


def finished(*numbers: int) -> State:
    state = State()
    for number in numbers:
        state = state.finished(a_release(number))
    return state


def test_the_last_five_releases_are_kept() -> None:
    state = finished(*range(1, 9))
    assert [each.number for each in state.releases] == [8, 7, 6, 5, 4]
    assert len(state.releases) == KEPT


def test_a_rollback_goes_back_one_and_then_one_more() -> None:
    state = finished(1, 2, 3)
    assert _target(state, None).number == 2
    state = state.finished(_target(state, None))
    assert _target(state, None).number == 1
    assert [each.number for each in state.releases] == [3, 2, 1]


def test_after_a_deploy_that_failed_a_rollback_goes_to_what_served() -> None:
    assert _target(finished(1, 2).began(a_release(3)), None).number == 2


def test_a_release_that_is_not_kept_is_refused_with_those_that_are() -> None:
    assert _target(finished(1, 2, 3), "0001-abc").number == 1
    with pytest.raises(DeployError, match="0002-abc, 0001-abc"):
        _target(finished(1, 2), "0009-abc")


def test_the_same_tree_goes_on_and_another_begins_anew() -> None:
    state = finished(1).began(a_release(2)).with_done("infra")
    same = state.release_of("print-2", package="sha", architecture="x86_64", commit="commit")
    assert state.began(same).done == state.done
    other = state.release_of("print-9", package="sha", architecture="x86_64", commit="commit")
    assert other.number == 3
    assert state.began(other).done == {}


# What is in the way on this machine


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # a hook that runs the tests has its own
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "changed.py").write_text("")
    return tmp_path


def a_cloud(stage: str = "dev") -> Cloud:
    return Cloud(stage, boto3.session.Session("test", "test", region_name="eu-central-1"))


def a_preflight(stage: str, tree: Path = ROOT) -> Preflight:
    cloud = a_cloud(stage)

    def nothing() -> Any:
        raise PackageError("not asked")

    return Preflight(cloud, Stacks(cloud, Bucket(cloud)), nothing, None, take_over=False, tree=tree)


def on_this_machine(stage: str, tree: Path) -> tuple[list[str], list[str]]:
    looked = a_preflight(stage, tree)
    return list(looked._of_this_machine()), looked.notes


def test_prod_is_deployed_from_what_is_committed_and_dev_from_anything(tree: Path) -> None:
    (told,), _ = on_this_machine("prod", tree)
    assert "1 files" in told
    problems, notes = on_this_machine("dev", tree)
    assert (problems, notes) == ([], ["1 files are not committed"])


@pytest.mark.parametrize(("others", "told"), [(0, False), (75, False), (76, True)])
def test_what_the_account_runs_at_once_has_to_do_for_all(others: int, *, told: bool) -> None:
    """Dev reserves 26; 5 of them are reserved already. A deploy and a rollback ask."""
    cloud = a_cloud()
    with Stubber(cloud.client("lambda")) as functions:
        limit = {"ConcurrentExecutions": 201, "UnreservedConcurrentExecutions": 201 - 5 - others}
        functions.add_response("get_account_settings", {"AccountLimit": limit})
        functions.add_response("get_function_concurrency", {"ReservedConcurrentExecutions": 5})
        for _ in range(4):
            functions.add_client_error("get_function_concurrency", "ResourceNotFoundException")
        said = list(preflight.concurrency(cloud, Given.read("dev").file))
    assert ["reserves 26, others 76," in each for each in said] == ([True] if told else [])


# Alarms


@pytest.mark.parametrize(
    ("stage", "address", "elsewhere", "problems", "notes"),
    [
        ("prod", "", False, 1, 0),
        ("prod", "ops@acme.example", False, 0, 0),
        ("prod", "", True, 0, 0),
        ("prod", "", "yes", 1, 0),
        ("dev", "", False, 0, 1),
    ],
)
def test_prod_tells_somebody_of_alarms(
    stage: str, address: str, elsewhere: object, problems: int, notes: int
) -> None:
    """Seen red without the look: alarms of prod reached nobody."""
    said = Given.read(stage).said
    stacks = {**said["stacks"], "observability": {**said["stacks"]["observability"], "AlarmAddress": address}}
    given = Given.of(stage, {**said, "stacks": stacks, "alarms_elsewhere": elsewhere})
    looked = a_preflight(stage)
    told = list(looked._alarms(given))
    assert (len(told), len(looked.notes)) == (problems, notes)
    assert all('`"alarms_elsewhere": true`' in each and "prod.json" in each for each in told)


def test_who_has_not_said_yes_to_alarms_is_told_after_the_deploy() -> None:
    cloud = a_cloud()
    with Stubber(cloud.client("sns")) as sns:
        told = {"Subscriptions": [said("PendingConfirmation"), said("arn:aws:sns:eu-central-1:1:t:1")]}
        sns.add_response("list_subscriptions_by_topic", told, {"TopicArn": "arn:topic"})
        (line,) = unconfirmed(cloud, "arn:topic")
        assert line.startswith("ops@acme.example is told of no alarm before")
        sns.add_client_error("list_subscriptions_by_topic", "AuthorizationError")
        (line,) = unconfirmed(cloud, "arn:topic")
        assert "cannot be seen" in line


def said(arn: str) -> dict[str, str]:
    return {"SubscriptionArn": arn, "Endpoint": "ops@acme.example", "Protocol": "email"}


# Log groups


def test_a_log_group_that_was_taken_in_gets_the_days_and_the_key_of_now() -> None:
    """Seen red with a group that is only looked at."""
    cloud, lines = a_cloud(), list[str]()
    with Stubber(cloud.client("logs")) as logs_of:
        there = {
            "/l/old": {"retentionInDays": 90, "kmsKeyId": "arn:old"},
            "/l/right": {"retentionInDays": 14, "kmsKeyId": "arn:new"},
            "/l/open": {},
        }
        told = {"logGroups": [{"logGroupName": name, **each} for name, each in there.items()]}
        logs_of.add_response("describe_log_groups", told, {"logGroupNamePrefix": "/l/"})
        for verb, name, asked in (
            ("put_retention_policy", "/l/old", {"retentionInDays": 14}),
            ("associate_kms_key", "/l/old", {"kmsKeyId": "arn:new"}),
            ("put_retention_policy", "/l/open", {"retentionInDays": 7}),
        ):
            logs_of.add_response(verb, {}, {"logGroupName": name, **asked})
        wanted = {name: logs.Group(14, "arn:new") for name in ("/l/old", "/l/right", "/l/gone")}
        problems = list(logs.set_right(cloud, {**wanted, "/l/open": logs.Group(7, None)}, lines.append))
        logs_of.assert_no_pending_responses()
    assert problems == ["log group /l/gone is not there"]
    assert [line.partition(" now")[0] for line in lines] == [
        "log group /l/old keeps for 14 days",
        "log group /l/open keeps for 7 days",
        "1 log groups, /l/old first, are encrypted with the data key of",
    ]


def test_a_stage_without_a_file_is_named_with_those_that_have_one() -> None:
    with pytest.raises(DeployError, match="dev, prod, staging"):
        Given.read("test")


def test_a_stage_may_belong_to_one_account() -> None:
    given = Given.read("dev")
    said = Given.of(
        "dev", {**given.said, "account": "1", "region": "eu-central-1", "settings": {"LOG_LEVEL": "DEBUG"}}
    )
    assert (said.account, said.region, said.settings) == ("1", "eu-central-1", {"LOG_LEVEL": "DEBUG"})
    assert (given.account, given.settings) == (None, {})


def test_credentials_that_are_missing_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(DeployError, match="AWS_DEFAULT_REGION"):
        _ = Cloud("dev").account


def test_the_fingerprint_is_of_what_is_said_not_of_its_order() -> None:
    assert preflight.fingerprint_of({"a": 1, "b": 2}) == preflight.fingerprint_of({"b": 2, "a": 1})
    assert preflight.fingerprint_of({"a": 1}) != preflight.fingerprint_of({"a": 2})


def test_an_answer_of_api_gateways_is_the_apis_envelope() -> None:
    for status, code, message in gateway.ANSWERS.values():
        said = json.loads(gateway.body(code, message))
        assert said["error"]["requestId"] == "$context.requestId"
        assert status is None or status.isdigit()
