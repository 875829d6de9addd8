"""The templates: what a linter says, what must hold at every stage, and that each check can fail."""

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import pytest
from cfnlint.api import ManualArgs, lint

from app import app
from infra import checks, connections, rendering
from infra.checks import CHECKS, Check, Installation, installation
from infra.functions import ROOT, Function, of_app
from infra.rendering import STACKS, STAGES, StageFile, Template, render, template, template_text

REGIONS: Final = ["eu-central-1", "us-east-1"]
README: Final = (ROOT / "infra/README.md").read_text(encoding="utf-8")


def made(
    stage: str,
    *,
    templates: Mapping[str, Template] | None = None,
    given: StageFile | None = None,
    functions: Sequence[Function] | None = None,
) -> Installation:
    return installation(given or StageFile.of(stage), functions or of_app(app, stage), templates)


# The linter


@pytest.mark.slow
@pytest.mark.parametrize("stack", STACKS)
def test_cfn_lint_has_nothing_to_say(stack: str) -> None:
    """In both regions, with each stage's parameters."""
    assert [str(match) for match in linted(template_text(stack), stack)] == []


@pytest.mark.parametrize(
    ("stack", "said", "instead"),
    [
        ("messaging", "maxReceiveCount: 5", "mostReceives: 5"),
        ("messaging", "!GetAtt RunsDead.Arn", "!GetAtt RunsAlive.Arn"),
        ("data", 'Default: "18.4"', 'Default: "18.99"'),
        ("identity", "MinimumLength: 12", "MinimumLength: 5"),
    ],
)
def test_cfn_lint_sees_what_cloudformation_would_refuse(stack: str, said: str, instead: str) -> None:
    text = template_text(stack)
    assert said in text
    assert linted(text.replace(said, instead), stack)


def linted(text: str, stack: str) -> Sequence[Any]:
    # Cfn-lint knows which versions there are only where the version is written out.
    default = re.search(r'EngineVersion:\n    Type: String\n    Default: "(.*)"', text)
    if default:
        text = text.replace("!Ref EngineVersion", json.dumps(default[1]))
        text = text.replace(
            "  EngineVersion:\n    Type: String\n    Default", "  Unused:\n    Type: String\n    Default"
        )
    parameters: Any = [StageFile.of(stage).parameters(stack) for stage in STAGES]
    found = lint(text, config=ManualArgs(regions=REGIONS, parameters=parameters))
    return [match for match in found if "Unused" not in str(match)]


# The checks


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_holds_at(stage: str, check: Check) -> None:
    assert list(check(made(stage))) == []


Resources = dict[str, Any]
Change = Callable[[dict[str, Resources]], Any]


def properties(stacks: dict[str, Resources], path: str) -> dict[str, Any]:
    stack, name = path.split(".")
    found: dict[str, Any] = stacks[stack]["Resources"][name]["Properties"]
    return found


def setting(path: str, key: str, value: Any) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        properties(stacks, path)[key] = value

    return change


def without(path: str, key: str) -> Change:
    return lambda stacks: properties(stacks, path).pop(key)


def gone(path: str) -> Change:
    stack, name = path.split(".")
    return lambda stacks: stacks[stack]["Resources"].pop(name)


def statement(path: str, index: int, key: str, value: Any) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        properties(stacks, path)["PolicyDocument"]["Statement"][index][key] = value

    return change


def grant(role: str, **said: Any) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        document = properties(stacks, f"functions.{role}")["Policies"][0]["PolicyDocument"]
        document["Statement"].append({"Effect": "Allow", **said})

    return change


def policy_of(stack: str, name: str, key: str, value: str) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        stacks[stack]["Resources"][name][key] = value

    return change


def deep(path: str, *keys: Any, value: Any) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        at: Any = properties(stacks, path)
        for key in keys[:-1]:
            at = at[key]
        if value is None:
            del at[keys[-1]]
        else:
            at[keys[-1]] = value

    return change


ANYBODY: Final = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "CidrIp": "0.0.0.0/0"}
API_ORIGIN: Final = ("DistributionConfig", "Origins", 1, "Fn::If", 1, "OriginCustomHeaders")
API_BEHAVIOR: Final = ("DistributionConfig", "CacheBehaviors", "Fn::If", 1, 0)

BREAKS: Final[list[tuple[Check, str, Change]]] = [
    (checks.encrypted_at_rest, "StorageEncrypted", setting("data.Cluster", "StorageEncrypted", False)),
    (checks.encrypted_at_rest, "the cluster's key", without("data.Cluster", "KmsKeyId")),
    (checks.encrypted_at_rest, "a queue", without("messaging.Relay", "SqsManagedSseEnabled")),
    (checks.encrypted_at_rest, "the bucket", without("edge.Console", "BucketEncryption")),
    (checks.encrypted_at_rest, "a log group", without("functions.ApiHandlerLogs", "KmsKeyId")),
    (checks.encrypted_at_rest, "a secret", without("data.OwnerSecret", "KmsKeyId")),
    (checks.encrypted_at_rest, "alarms", without("observability.Topic", "KmsMasterKeyId")),
    (checks.encrypted_at_rest, "rotation", setting("data.VaultKey", "EnableKeyRotation", False)),
    (checks.what_must_not_be_lost_is_kept, "protection", setting("data.Cluster", "DeletionProtection", False)),
    (checks.what_must_not_be_lost_is_kept, "backups", setting("data.Cluster", "BackupRetentionPeriod", 1)),
    (checks.what_must_not_be_lost_is_kept, "snapshot", policy_of("data", "Cluster", "DeletionPolicy", "Delete")),
    (checks.what_must_not_be_lost_is_kept, "key", policy_of("data", "VaultKey", "UpdateReplacePolicy", "Delete")),
    (checks.what_must_not_be_lost_is_kept, "pool", setting("identity.Pool", "DeletionProtection", "INACTIVE")),
    (checks.what_must_not_be_lost_is_kept, "standby", gone("data.Standby")),
    (checks.nothing_is_public, "bucket", deep("edge.Console", "PublicAccessBlockConfiguration", "BlockPublicPolicy", value=False)),
    (checks.nothing_is_public, "database", setting("data.Writer", "PubliclyAccessible", True)),
    (checks.nothing_is_public, "subnet", setting("network.PrivateSubnetA", "MapPublicIpOnLaunch", True)),
    (checks.nothing_is_public, "queue", statement("messaging.QueuesOfTheBus", 1, "Principal", {"AWS": "*"})),
    (checks.nothing_is_public, "files", statement("edge.ConsolePolicy", 1, "Principal", "*")),
    (checks.nobody_comes_in_from_anywhere, "group", setting("network.ProxySecurityGroup", "SecurityGroupIngress", [ANYBODY])),
    (checks.nobody_comes_in_from_anywhere, "IPv6", setting("network.ProxySecurityGroup", "SecurityGroupIngress", [{"CidrIpv6": "::/0"}])),
    (checks.nobody_comes_in_from_anywhere, "rule", setting("network.DatabaseFromProxy", "CidrIp", "0.0.0.0/0")),
    (checks.nobody_comes_in_from_anywhere, "out", without("streaming.BrokerSecurityGroup", "SecurityGroupEgress")),
    (checks.grants_name_actions_and_resources, "actions", grant("ExecuteRunRole", Action="sqs:*", Resource="arn")),
    (checks.grants_name_actions_and_resources, "all", grant("ExecuteRunRole", Action="*", Resource="arn")),
    (checks.grants_name_actions_and_resources, "resources", grant("RelayEventsRole", Action="events:PutEvents", Resource="*")),
    (checks.grants_name_actions_and_resources, "key", deep("data.DataKey", "KeyPolicy", "Statement", 1, "Action", value="kms:*")),
    (checks.each_function_has_a_role_of_its_own, "role", gone("functions.BuryRunRole")),
    (checks.each_function_has_a_role_of_its_own, "trust", deep("functions.BuryRunRole", "AssumeRolePolicyDocument", "Statement", 0, "Principal", value={"AWS": "*"})),
    (checks.each_function_has_a_role_of_its_own, "queue", grant("BuryRunRole", Action="sqs:ReceiveMessage", Resource="arn")),
    (checks.tls_everywhere, "queues", statement("messaging.QueuesByTlsOnly", 0, "Effect", "Allow")),
    (checks.tls_everywhere, "one queue", deep("messaging.QueuesByTlsOnly", "Queues", 0, value=None)),
    (checks.tls_everywhere, "bucket", statement("edge.ConsolePolicy", 0, "Condition", {})),
    (checks.tls_everywhere, "proxy", setting("data.Proxy", "RequireTLS", False)),
    (checks.tls_everywhere, "database", setting("data.ClusterParameters", "Parameters", {})),
    (checks.tls_everywhere, "viewers", deep("edge.Distribution", "DistributionConfig", "DefaultCacheBehavior", "ViewerProtocolPolicy", value="allow-all")),
    (checks.each_queue_has_a_dead_letter_queue, "none", without("messaging.Effects", "RedrivePolicy")),
    (checks.each_queue_has_a_dead_letter_queue, "impatient", deep("messaging.Runs", "RedrivePolicy", "maxReceiveCount", value=4)),
    (checks.each_queue_has_a_dead_letter_queue, "forgetful", setting("messaging.EventsDead", "MessageRetentionPeriod", 345600)),
    (checks.each_queue_has_a_dead_letter_queue, "no queue", gone("messaging.Relay")),
    (checks.each_queue_has_a_dead_letter_queue, "rule", deep("messaging.EventsToAgents", "Targets", 0, "DeadLetterConfig", value=None)),
    (checks.messages_stay_hidden_while_somebody_works, "short", setting("messaging.Runs", "VisibilityTimeout", 1799)),
    (checks.messages_stay_hidden_while_somebody_works, "default", without("messaging.Events", "VisibilityTimeout")),
    (checks.settings_find_their_queues_and_bus, "queue", lambda stacks: stacks["messaging"]["Outputs"].pop("RunsDeadQueueName")),
    (checks.settings_find_their_queues_and_bus, "bus", lambda stacks: stacks["messaging"]["Outputs"].pop("BusName")),
    (checks.logs_are_kept_for_a_time, "for ever", without("functions.SweepMinuteLogs", "RetentionInDays")),
    (checks.logs_are_kept_for_a_time, "other name", setting("functions.ApiHandlerLogs", "LogGroupName", "/aws/lambda/other")),
    (checks.alarms_reach_somebody_who_can_act, "mute", setting("observability.OutboxLag", "AlarmActions", [])),
    (checks.alarms_reach_somebody_who_can_act, "no runbook", setting("observability.OutboxLag", "AlarmDescription", "Look.")),
    (checks.alarms_reach_somebody_who_can_act, "throttles", gone("observability.BuryRunThrottles")),
    (checks.alarms_reach_somebody_who_can_act, "dead letters", lambda stacks: [stacks["observability"]["Resources"].pop(name) for name in ("UndeliveredDepth", "UndeliveredAge")]),
    (checks.alarms_reach_somebody_who_can_act, "timeout", setting("observability.ExecuteRunSlow", "Threshold", 300000)),
    (checks.people_sign_in_in_one_way, "sign up", deep("identity.Pool", "AdminCreateUserConfig", "AllowAdminCreateUserOnly", value=False)),
    (checks.people_sign_in_in_one_way, "flows", setting("identity.Client", "ExplicitAuthFlows", ["ALLOW_USER_SRP_AUTH"])),
    (checks.people_sign_in_in_one_way, "OAuth", setting("identity.Client", "AllowedOAuthFlowsUserPoolClient", True)),
    (checks.people_sign_in_in_one_way, "secret", setting("identity.Client", "GenerateSecret", False)),
    (checks.people_sign_in_in_one_way, "an hour", setting("identity.Client", "AccessTokenValidity", 60)),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "masks", deep("edge.Distribution", "DistributionConfig", "CustomErrorResponses", value=[{"ErrorCode": 404}])),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "header", deep("edge.Distribution", *API_ORIGIN, 0, "HeaderName", value="x-edge-secret")),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "no proof", deep("edge.Distribution", *API_ORIGIN, value=[])),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "path", deep("edge.Distribution", *API_BEHAVIOR, "PathPattern", value="/v1/*")),
    (checks.browsers_are_told_what_the_console_may_do, "scripts", deep("edge.ConsoleHeaders", "ResponseHeadersPolicyConfig", "SecurityHeadersConfig", "ContentSecurityPolicy", "ContentSecurityPolicy", value="default-src *")),
    (checks.browsers_are_told_what_the_console_may_do, "frames", deep("edge.ApiHeaders", "ResponseHeadersPolicyConfig", "SecurityHeadersConfig", "FrameOptions", value=None)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "break_it"),
    [pytest.param(check, change, id=f"{check.__name__}-{what}") for check, what, change in BREAKS],
)
def test_each_check_sees_what_it_is_for(check: Check, break_it: Change) -> None:
    """One thing broken in a copy of the templates, at prod."""
    stacks = {stack: copy.deepcopy(template(stack)) for stack in STACKS}
    break_it(stacks)
    assert list(check(made("prod", templates=stacks)))


def test_every_check_has_been_seen_to_fail() -> None:
    elsewhere = {checks.connections_suffice}
    assert {check for check, _, _ in BREAKS} | elsewhere == set(CHECKS)


def test_a_new_function_in_app_py_is_missed_in_the_templates() -> None:
    """Its role, its log group, its queue, its alarms, its share of the connections."""
    new = Function("send_webhooks", 60, queue="relay", maximum_concurrency=500)
    found = checks.problems(made("prod", functions=[*of_app(app, "prod"), new, Function("by_hand", 60)]))
    for said in (
        "send_webhooks has no role",
        "send_webhooks has no log group",
        "no alarm looks at",
        "by_hand",
    ):
        assert any(said in each for each in found), said


def test_a_longer_timeout_in_the_config_is_missed_in_the_queue(tmp_path: Any) -> None:
    config = json.loads((ROOT / ".chalice/config.json").read_text(encoding="utf-8"))
    config["stages"]["prod"]["lambda_functions"] = {"execute_run": {"lambda_timeout": 600}}
    changed = tmp_path / "config.json"
    changed.write_text(json.dumps(config), encoding="utf-8")
    functions = of_app(app, "prod", config=changed)
    (problem,) = checks.messages_stay_hidden_while_somebody_works(made("prod", functions=functions))
    assert problem == "runs hides messages for 1800 s, execute_run wants 3600"


# Who may do what

GRANTS: Final[Mapping[str, set[tuple[str, str]]]] = {
    "api_handler": {
        ("sqs:SendMessage", "RunsQueueArn"),
        ("sqs:SendMessage", "RelayQueueArn"),
        ("sqs:SendMessage", "EffectsQueueArn"),
        ("kms:GenerateDataKey", "VaultKeyArn"),
        ("kms:Decrypt", "VaultKeyArn"),
    },
    "execute_run": {
        ("sqs:ReceiveMessage", "RunsQueueArn"),
        ("sqs:SendMessage", "RunsQueueArn"),
        ("sqs:SendMessage", "RelayQueueArn"),
        ("kms:Decrypt", "VaultKeyArn"),
    },
    "bury_run": {("sqs:ReceiveMessage", "RunsDeadQueueArn"), ("sqs:SendMessage", "RunsQueueArn")},
    "relay_events": {("sqs:ReceiveMessage", "RelayQueueArn"), ("events:PutEvents", "BusArn")},
    "apply_decisions": {("sqs:ReceiveMessage", "EffectsQueueArn"), ("sqs:SendMessage", "RelayQueueArn")},
    "start_event_runs": {
        ("sqs:ReceiveMessage", "EventsQueueArn"),
        ("sqs:SendMessage", "RunsQueueArn"),
        ("sqs:SendMessage", "RelayQueueArn"),
    },
    "run_due_schedules": {("sqs:SendMessage", "RunsQueueArn"), ("sqs:SendMessage", "RelayQueueArn")},
    "sweep_minute": {
        ("sqs:SendMessage", "RunsQueueArn"),
        ("sqs:SendMessage", "RelayQueueArn"),
        ("events:PutEvents", "BusArn"),
    },
    "rotate_keys": {
        ("kms:ReEncryptFrom", "VaultKeyArn"),
        ("kms:ReEncryptTo", "VaultKeyArn"),
        ("kms:DescribeKey", "VaultKeyArn"),
    },
}
WITH_THEM: Final = {"sqs:GetQueueUrl", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility",
                    "logs:CreateLogStream", "logs:PutLogEvents"}  # fmt: skip


@pytest.mark.parametrize("name", GRANTS)
def test_a_function_may_do_what_it_does_and_nothing_else(name: str) -> None:
    """Seen red with leave for execute_run to publish on the bus."""
    granted = checks.grants(made("prod"), Function(name, 60))
    assert {(action, what) for action, what in granted if action not in WITH_THEM} == GRANTS[name]
    reached = {what for action, what in GRANTS[name] if action.startswith("sqs:")}
    assert {what for action, what in granted if action in WITH_THEM and action.startswith("sqs:")} == reached


def test_every_function_of_app_py_is_among_them() -> None:
    assert {each.name for each in of_app(app, "prod")} <= GRANTS.keys()


def test_a_data_key_opens_only_for_a_credential() -> None:
    for name in ("ApiHandlerRole", "ExecuteRunRole", "RotateKeysRole"):
        policies = made("prod").stacks["functions"].resources[name]["Properties"]["Policies"]
        (vault,) = [each for each in policies if each["PolicyName"] == "vault"]
        condition = vault["PolicyDocument"]["Statement"][0]["Condition"]
        assert condition["Null"] == {"kms:EncryptionContext:customer": "false"}
        keys = condition["ForAllValues:StringEquals"]["kms:EncryptionContextKeys"]
        assert keys == ["customer", "provider", "credential"]


def test_functions_that_read_their_own_secrets_may_read_no_others() -> None:
    given = StageFile.of("prod")
    stacks = {**given.stacks, "functions": {**given.stacks["functions"], "SecretsReadBy": "functions"}}
    reading = made("prod", given=StageFile("prod", stacks, given.concurrency))
    assert checks.problems(reading) == []

    def secrets(name: str) -> set[str]:
        return {
            what
            for action, what in checks.grants(reading, Function(name, 60))
            if action == "secretsmanager:GetSecretValue"
        }

    assert secrets("api_handler") == {"PlatformKeysSecretArn", "ClientSecretArn", "EdgeSecretArn"}
    assert secrets("execute_run") == {"PlatformKeysSecretArn"}
    assert secrets("relay_events") == set()
    assert "OwnerSecretArn" not in json.dumps(reading.stacks["functions"].resources["ReadDatabasePasswords"])


# Connections


@pytest.mark.parametrize("stage", STAGES)
def test_the_functions_never_want_more_connections_than_the_proxy_has(stage: str) -> None:
    figures = connections.budget(StageFile.of(stage), of_app(app, stage))
    assert figures.problems() == []
    assert figures.wanted == 2 * sum(figures.concurrency.values())


def test_the_database_takes_no_more_connections_than_awss_table_says() -> None:
    table = {1: 189, 4: 823, 8: 1_669, 16: 3_360, 32: 5_000, 64: 5_000}
    for largest, said in table.items():
        assert 0.9 * said <= connections.max_connections(smallest=1, largest=largest) <= said
        assert connections.max_connections(smallest=0.5, largest=largest) <= min(said, 2_000)


def test_too_many_runs_at_once_are_told_in_a_sentence() -> None:
    many = [Function("execute_run", 300, queue="runs", maximum_concurrency=200), *of_app(app, "dev")[2:]]
    (first, *_) = connections.budget(StageFile.of("dev"), many).problems()
    assert re.fullmatch(r"dev: functions may want \d+ connections, the proxy has 302\. Raise .*", first)


def test_a_function_that_nothing_limits_is_refused() -> None:
    """Seen red in bury_run, before app.py said how many of it may run at once."""
    unlimited = Function("bury_run", 60, queue="runs_dead")
    with pytest.raises(ValueError, match="Nothing limits how many run at once of bury_run"):
        connections.budget(StageFile.of("prod"), [unlimited])
    assert list(checks.connections_suffice(made("prod", functions=[unlimited])))


def test_a_larger_pool_counts() -> None:
    figures = connections.budget(StageFile.of("dev"), of_app(app, "dev"), pool_size=3)
    assert figures.problems()


def test_an_alarm_nobody_would_ever_hear_is_refused() -> None:
    given = StageFile.of("dev")
    stacks = {**given.stacks, "observability": {**given.stacks["observability"], "ConnectionsAlarm": "303"}}
    (problem,) = connections.budget(
        StageFile("dev", stacks, given.concurrency), of_app(app, "dev")
    ).problems()
    assert "ConnectionsAlarm is 303" in problem


# The network


@pytest.mark.parametrize("stage", STAGES)
def test_subnets_do_not_overlap_and_lie_in_the_vpc(stage: str) -> None:
    network = made(stage).stacks["network"]
    blocks = [each["Properties"]["CidrBlock"] for each in network.of_type("AWS::EC2::Subnet").values()]
    assert len(blocks) == len(set(blocks)) == 2 * int(StageFile.of(stage).stacks["network"]["Zones"])
    assert all(re.fullmatch(r"10\.20\.\d+\.0/20", block) for block in blocks)


def test_an_existing_vpc_gets_security_groups_and_nothing_else() -> None:
    given = {"Stage": "prod", "ExistingVpcId": "vpc-1", "ExistingSubnetIds": "subnet-1, subnet-2"}
    network = render(template("network"), given)
    assert {each["Type"] for each in network.resources.values()} == {
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::SecurityGroupEgress",
    }
    assert network.outputs["SubnetIds"]["Value"] == "subnet-1,subnet-2"
    assert network.outputs["VpcId"]["Value"] == "vpc-1"


# The edge


def edge_function(name: str, event: dict[str, Any]) -> dict[str, Any]:
    """What CloudFront would do with the request, by node."""
    code = template("edge")["Resources"][name]["Properties"]["FunctionCode"]
    program = f"{code}\nconsole.log(JSON.stringify(handler({json.dumps(event)})))"
    answer = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True, timeout=20)
    request: dict[str, Any] = json.loads(answer.stdout)
    return request


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("/", "/index.html"),
        ("/approvals", "/index.html"),
        ("/agents/cfg_01.5/runs", "/index.html"),
        ("/assets/index-abc.js", "/assets/index-abc.js"),
        ("/favicon.ico", "/favicon.ico"),
    ],
)
def test_a_page_of_the_console_is_its_index(asked: str, served: str) -> None:
    assert edge_function("PageFunction", {"request": {"uri": asked, "headers": {}}})["uri"] == served


def test_a_viewer_cannot_say_who_they_are() -> None:
    event = {
        "viewer": {"ip": "203.0.113.9"},
        "request": {"uri": "/api/v1/auth/login", "headers": {"x-bevyly-viewer": {"value": "198.51.100.1"}}},
    }
    request = edge_function("ViewerFunction", event)
    assert request["headers"]["x-bevyly-viewer"] == {"value": "203.0.113.9"}
    assert request["uri"] == "/api/v1/auth/login"
    assert 'headers.get("x-bevyly-viewer"' in (ROOT / "chalicelib/api/http.py").read_text(encoding="utf-8")


def test_the_edge_is_first_made_without_an_api() -> None:
    edge = render(template("edge"), {"Stage": "prod"}).resources["Distribution"]["Properties"]
    assert [each["Id"] for each in edge["DistributionConfig"]["Origins"]] == ["console"]
    assert "CacheBehaviors" not in edge["DistributionConfig"]


# What people read


def outputs() -> Iterator[tuple[str, str]]:
    for stack in STACKS:
        for name in template(stack)["Outputs"]:
            yield stack, name


@pytest.mark.parametrize(("stack", "name"), list(outputs()))
def test_every_output_is_exported_and_in_the_readme(stack: str, name: str) -> None:
    export = template(stack)["Outputs"][name]["Export"]["Name"]
    prefix = "Kafka" if stack == "streaming" else "Alarm" if stack == "observability" else ""
    assert export == {"Fn::Sub": f"bevyly-${{Stage}}-{prefix}{name}"}
    assert f"| `{stack}` | `{name}` |" in README


def test_every_import_is_an_export_of_a_stack_made_before() -> None:
    for stage in STAGES:
        there: set[str] = set()
        for stack, rendered in made(stage).stacks.items():
            text = json.dumps([rendered.resources, rendered.outputs])
            assert set(re.findall(r"<import:([\w-]+)>", text)) <= there, stack
            there |= {each["Export"]["Name"] for each in rendered.outputs.values()}


def anchors() -> set[str]:
    return set(re.findall(r"docs/runbook\.md#([a-z0-9-]+)", template_text("observability")))


def test_every_place_in_the_runbook_is_in_the_readme() -> None:
    assert {f"| `#{anchor}` |" for anchor in anchors()} <= {
        f"{row} |" for row in re.findall(r"\| `#[a-z0-9-]+`", README)
    }


def test_every_metric_of_ours_is_in_the_readme_and_watched() -> None:
    metrics = {
        metric for _, alarm in made("prod").each("AWS::CloudWatch::Alarm") for metric in _metrics(alarm)
    }
    assert metrics == set(re.findall(r"^\| `([A-Z]\w+)` \| (?:Count|Seconds)", README, flags=re.MULTILINE))
    assert metrics >= {"RunsFailed", "RunsCompleted", "OutboxLagSeconds", "EventsParked",
                       "OldestDueRunSeconds", "BudgetReached", "KeyRejected"}  # fmt: skip


def _metrics(alarm: Mapping[str, Any]) -> Iterator[str]:
    said = [
        alarm,
        *(each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each),
    ]
    for each in said:
        if each.get("Namespace") == checks.CUSTOM_NAMESPACE:
            assert each["Dimensions"] == [{"Name": "service", "Value": "bevyly-agents-prod"}]
            yield each["MetricName"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_dashboard_is_json_and_shows_every_function(stage: str) -> None:
    dashboard = made(stage).stacks["observability"].resources["Dashboard"]["Properties"]
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    shown = json.dumps(widgets)
    for function in of_app(app, stage):
        assert f'"FunctionName", "{function.deployed_name(stage)}"' in shown
    places = [(each["x"], each["y"]) for each in widgets]
    assert len(places) == len(set(places))


# Reading


def test_a_parameter_that_no_template_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no such parameters: Nope"):
        render(template("network"), {"Stage": "dev", "Nope": "1"})
    with pytest.raises(ValueError, match="parameters are missing: Stage"):
        render(template("network"), {})


def test_stages_and_stacks_are_the_files() -> None:
    assert {path.stem for path in (ROOT / "infra/templates").glob("*.yaml")} == set(STACKS)
    assert {path.stem for path in (ROOT / "infra/parameters").glob("*.json")} == set(STAGES)
    assert rendering.STAGES == tuple(template("network")["Parameters"]["Stage"]["AllowedValues"])
