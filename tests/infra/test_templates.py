"""The templates: what a linter says, what must hold at every stage, and that each check can fail."""

import copy
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import dukpy
import pytest
from cfnlint.api import ManualArgs, lint

from app import app
from infra import checks, connections, rendering
from infra.checks import CHECKS, Check, Installation, installation
from infra.functions import ROOT, Function, of_app
from infra.rendering import (
    STACKS,
    STAGES,
    StageFile,
    Template,
    parse,
    render,
    sent_text,
    template,
    template_text,
)
from tests.infra.breaks import BREAKS, Change

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


@pytest.mark.slow
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
    assert linted(text.replace(said, instead), stack, regions=REGIONS[:1])


def linted(text: str, stack: str, *, regions: list[str] = REGIONS) -> Sequence[Any]:
    # Cfn-lint knows which versions there are only where the version is written out.
    default = re.search(r'EngineVersion:\n    Type: String\n    Default: "(.*)"', text)
    if default:
        text = text.replace("!Ref EngineVersion", json.dumps(default[1]))
        text = text.replace(
            "  EngineVersion:\n    Type: String\n    Default", "  Unused:\n    Type: String\n    Default"
        )
    parameters: Any = [StageFile.of(stage).parameters(stack) for stage in STAGES]
    found = lint(text, config=ManualArgs(regions=regions, parameters=parameters))
    return [match for match in found if "Unused" not in str(match)]


# The checks


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_holds_at(stage: str, check: Check) -> None:
    assert list(check(made(stage))) == []


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
    elsewhere = {checks.reserved_is_what_no_queue_limits}
    assert {check for check, _, _ in BREAKS} | elsewhere == set(CHECKS)


def test_no_alarm_is_superfluous_and_no_threshold_may_be_any() -> None:
    """Each left out, and each at a figure that nothing comes to, or that everything passes."""
    whole = made("prod")
    there = whole.stacks["observability"]
    for name, alarm in there.of_type("AWS::CloudWatch::Alarm").items():
        others = {other: each for other, each in there.resources.items() if other != name}
        assert heard_of(whole, others), name
        for figure in (-1, 10**9):
            changed = {**alarm, "Properties": {**alarm["Properties"], "Threshold": figure}}
            assert heard_of(whole, {**others, name: changed}), name


def heard_of(whole: Installation, resources: rendering.Resources) -> list[str]:
    watching = dataclasses.replace(whole.stacks["observability"], resources=resources)
    stacks = {**whole.stacks, "observability": watching}
    return list(checks.what_goes_wrong_is_heard_of(dataclasses.replace(whole, stacks=stacks)))


@pytest.mark.parametrize("stage", STAGES)
def test_reserving_for_a_queues_function_is_refused_and_so_is_a_function_that_nothing_limits(
    stage: str,
) -> None:
    """AWS: a throttled receive is a receive, and five of them are a dead letter."""
    given = StageFile.of(stage)
    reserved = StageFile(stage, given.stacks, {**given.concurrency, "execute_run": 20})
    (problem,) = checks.reserved_is_what_no_queue_limits(made(stage, given=reserved))
    assert problem.startswith("execute_run has a reserved figure")
    for name in given.concurrency:
        fewer = {other: figure for other, figure in given.concurrency.items() if other != name}
        open_ended = made(stage, given=StageFile(stage, given.stacks, fewer))
        assert list(checks.reserved_is_what_no_queue_limits(open_ended)) == [
            f"{name} has no reserved figure, and no queue limits it"
        ]


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


def test_a_data_key_opens_only_for_a_credential() -> None:
    for name in ("ApiHandlerRole", "ExecuteRunRole", "RotateKeysRole"):
        policies = made("prod").stacks["functions"].resources[name]["Properties"]["Policies"]
        (vault,) = [each for each in policies if each["PolicyName"] == "vault"]
        condition = vault["PolicyDocument"]["Statement"][0]["Condition"]
        assert condition["Null"] == {"kms:EncryptionContext:customer": "false"}
        keys = condition["ForAllValues:StringEquals"]["kms:EncryptionContextKeys"]
        assert keys == ["customer", "provider", "credential"]


@pytest.mark.parametrize("stack", STACKS)
def test_a_log_group_is_sent_with_a_plain_name_and_nothing_else_is_changed(stack: str) -> None:
    """CloudFormation takes none that a destroyed stage left where a function makes the name."""
    sent = sent_text(stack, "dev")
    assert not re.search(r"LogGroupName: !Sub", sent)
    assert "${Stage}" in sent
    parameters = StageFile.of("dev").parameters(stack)
    assert render(parse(sent), parameters).resources == render(template(stack), parameters).resources


def test_while_the_vaults_key_is_changed_the_same_roles_may_use_both() -> None:
    """Seen red with the other key left out of rotate_keys' statement."""
    given, other = StageFile.of("prod"), "arn:aws:kms:eu-central-1:123456789012:key/other"
    stacks = {**given.stacks, "functions": {**given.stacks["functions"], "OtherVaultKeyArn": other}}
    reading = made("prod", given=StageFile("prod", stacks, given.concurrency))
    assert checks.problems(reading) == []
    for function in of_app(app, "prod"):
        granted = {grant for grant in checks.grants(reading, function) if grant[0].startswith("kms:")}
        of_both = {(action, other) for action, what in granted if what == "VaultKeyArn"}
        assert {grant for grant in granted if grant[1] == other} == of_both


# Connections


@pytest.mark.parametrize("stage", STAGES)
def test_the_functions_never_want_more_connections_than_the_proxy_has(stage: str) -> None:
    """Seen red without maximum_concurrency at bury_run in app.py."""
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
    unlimited = Function("bury_run", 60, queue="runs_dead")
    with pytest.raises(ValueError, match="Nothing limits how many run at once of bury_run"):
        connections.budget(StageFile.of("prod"), [unlimited])
    assert list(checks.connections_suffice(made("prod", functions=[unlimited])))


def test_a_larger_pool_counts() -> None:
    given = replace(StageFile.of("dev"), settings={"DATABASE_POOL_SIZE": "3"})
    figures = connections.budget(given, of_app(app, "dev"))
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


def test_an_endpoint_is_paid_for_what_functions_ask_all_day() -> None:
    """Migrations alone ask Secrets Manager, minutes a month, and NAT leads there. Seen red with an endpoint to it."""
    reading = made("prod")
    asked = {
        action.partition(":")[0]
        for function in reading.functions
        for action, _ in checks.grants(reading, function)
    }
    endpoints = reading.stacks["network"].of_type("AWS::EC2::VPCEndpoint").values()
    services = {each["Properties"]["ServiceName"].rpartition(".")[2] for each in endpoints}
    assert services == asked - {"logs"}  # CloudWatch takes a function's lines from Lambda, not by the VPC


# The edge


def edge_function(name: str, event: dict[str, Any]) -> dict[str, Any]:
    """What CloudFront would do with the request."""
    code = template("edge")["Resources"][name]["Properties"]["FunctionCode"]
    answer = dukpy.evaljs(f"{code}\nJSON.stringify(handler(dukpy.event))", event=event)
    request: dict[str, Any] = json.loads(answer)
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
        "request": {
            "uri": "/api/v1/auth/login",
            "headers": {
                "x-bevyly-viewer": {"value": "198.51.100.1"},
                "x-amzn-trace-id": {"value": "Root=1-66a1b2c3-0123456789abcdef01234567;Sampled=1"},
            },
        },
    }
    request = edge_function("ViewerFunction", event)
    assert request["headers"] == {"x-bevyly-viewer": {"value": "203.0.113.9"}}  # nor whether they are traced
    assert request["uri"] == "/api/v1/auth/login"
    assert 'headers.get("x-bevyly-viewer"' in (ROOT / "chalicelib/api/http.py").read_text(encoding="utf-8")


def test_the_edge_is_first_made_without_an_api() -> None:
    edge = render(template("edge"), {"Stage": "prod"}).resources["Distribution"]["Properties"]
    assert [each["Id"] for each in edge["DistributionConfig"]["Origins"]] == ["console"]
    assert "CacheBehaviors" not in edge["DistributionConfig"]


def test_cloudfront_is_asked_to_compress_only_under_a_policy_with_which_it_does() -> None:
    """CachingOptimized has gzip and brotli on, CachingDisabled neither. Seen red with `Compress: true` for the API."""
    edge = render(template("edge"), {"Stage": "prod", **checks.WITH_AN_API}).resources["Distribution"]
    config = edge["Properties"]["DistributionConfig"]
    for behavior in (config["DefaultCacheBehavior"], *config["CacheBehaviors"]):
        assert behavior["Compress"] is (behavior["CachePolicyId"] == checks.CACHING_OPTIMIZED)


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


@pytest.mark.parametrize("stage", STAGES)
def test_no_stack_imports_what_a_restored_database_has_another_of(stage: str) -> None:
    """CloudFormation changes no export that is imported. Seen red with migrate's role over MasterSecretArn itself."""
    imported = {
        name
        for rendered in made(stage).stacks.values()
        for name in re.findall(
            r"<import:bevyly-[a-z]+-(\w+)>", json.dumps([rendered.resources, rendered.outputs])
        )
    }
    of_the_cluster = {
        name
        for name, output in made(stage).stacks["data"].outputs.items()
        if str(output["Value"]).startswith("<Cluster")
    }
    assert of_the_cluster == {"ClusterId", "ClusterEndpoint", "MasterSecretArn"}
    assert of_the_cluster & imported <= {"ClusterId", "ClusterEndpoint"}  # which hang on its name alone


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
    for metric, of, _ in checks.figures(alarm):
        namespace, name = metric.split(" ")
        if namespace == checks.CUSTOM_NAMESPACE:
            assert of == {"service": "bevyly-agents-prod"}
            yield name


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
    assert list(rendering.STAGES) == template("network")["Parameters"]["Stage"]["AllowedValues"]
