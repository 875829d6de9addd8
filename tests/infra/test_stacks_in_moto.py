"""The stacks made in moto, and our own code at work in what they made, with their outputs as its settings.

Moto knows no queue policies and enforces no roles, and of some resources nothing: `LEFT_OUT`.
"""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import boto3
import pytest
from moto.server import ThreadedMotoServer

from app import app
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.ports import Challenge, OutgoingEvent
from chalicelib.integrations.aws.cognito import CognitoIssuer
from chalicelib.integrations.aws.eventbridge import EventBridgeSink
from chalicelib.integrations.aws.signals import SqsSignals
from chalicelib.services.triggers import told_by
from chalicelib.settings import Settings
from chalicelib.workers.runs import customer_of
from infra.functions import Function, of_app, words
from infra.rendering import STACKS, StageFile, render, template
from tests.infra.moto_stacks import for_moto

STAGE: Final = "prod"
ACME: Final = CustomerId("cus_01k00000000000000000000000")
LEFT_OUT: Final = {
    "AWS::Budgets::Budget",
    "AWS::CloudFront::Distribution",
    "AWS::CloudFront::Function",
    "AWS::CloudFront::OriginAccessControl",
    "AWS::CloudFront::ResponseHeadersPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::Cognito::UserPool",
    "AWS::Cognito::UserPoolClient",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::MSK::ServerlessCluster",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBClusterParameterGroup",
    "AWS::RDS::DBInstance",
    "AWS::RDS::DBProxy",
    "AWS::RDS::DBProxyTargetGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SecretsManager::Secret",
}


class Made:
    """Every stack, in a server that speaks AWS."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.exports: dict[str, str] = {}
        self.left_out: set[str] = set()
        self._session = boto3.session.Session("test", "test", region_name="eu-central-1")
        given = StageFile.of(STAGE)
        formation = self.client("cloudformation")
        for stack in STACKS:
            body, left_out = for_moto(render(template(stack), given.parameters(stack)), self.exports)
            self.left_out |= left_out
            name = f"bevyly-{STAGE}-{stack}"
            formation.create_stack(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
            (told,) = formation.describe_stacks(StackName=name)["Stacks"]
            assert told["StackStatus"] == "CREATE_COMPLETE"
            self.exports |= {each["ExportName"]: each["OutputValue"] for each in told["Outputs"]}

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self.endpoint)

    def output(self, name: str) -> str:
        return self.exports[f"bevyly-{STAGE}-{name}"]

    def settings(self, **more: str) -> Settings:
        """As infra/README.md says which output is which setting."""
        environ = {
            "STAGE": STAGE,
            "AWS_ENDPOINT_URL": self.endpoint,
            "DATABASE_URL": "x",
            "DATABASE_SYSTEM_URL": "x",
            "OIDC_ISSUER": "x",
            "OIDC_JWKS_URL": "x",
            "OIDC_CLIENT_ID": "x",
            **{
                f"{name}_QUEUE": self.output(output)
                for name, output in {
                    "RUNS": "RunsQueueName",
                    "RUNS_DEAD": "RunsDeadQueueName",
                    "RELAY": "RelayQueueName",
                    "EFFECTS": "EffectsQueueName",
                    "EVENTS": "EventsQueueName",
                }.items()
            },
            "EVENT_BUS": self.output("BusName"),
            "EVENT_SOURCE": self.output("EventSource"),
            **more,
        }
        return Settings.from_environ(environ)

    def received(self, queue: str) -> list[str]:
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        until = time.monotonic() + 10
        while time.monotonic() < until:
            told = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            if "Messages" in told:
                return [each["Body"] for each in told["Messages"]]
        return []


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Made(f"http://{host}:{port}")
    server.stop()
    assert server._server is not None
    server._server.server_close()  # moto leaves its socket open


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def test_moto_makes_all_but_what_it_does_not_know(made: Made) -> None:
    """Shorter after an update of moto? Then more is proved: take it out, here and in infra/README.md."""
    assert made.left_out == LEFT_OUT


def test_a_ring_reaches_the_doorbell(made: Made) -> None:
    settings = made.settings()
    signals = SqsSignals(settings)
    signals.check()
    signals.ring(ACME)
    (message,) = made.received(settings.queues.runs)
    assert customer_of(message) == ACME


def test_an_event_goes_by_bus_and_rule_to_the_queue_that_agents_are_started_from(made: Made) -> None:
    """Seen red with another source in the rule's pattern."""
    settings = made.settings()
    event = {"id": "evt_1", "customerid": ACME, "type": "crm.contact.created", "specversion": "1.0"}
    assert EventBridgeSink(settings).publish([OutgoingEvent("evt_1", ACME, event)]) == [None]
    (told,) = map(told_by, made.received(settings.queues.events))
    assert (told.customer_id, told.event_id) == (ACME, "evt_1")


@pytest.mark.parametrize(
    "function", [each for each in of_app(app, STAGE) if each.queue], ids=lambda each: each.name
)
def test_after_five_tries_a_message_is_another_queues(made: Made, function: Function) -> None:
    sqs = made.client("sqs")
    url = sqs.get_queue_url(QueueName=made.output(f"{words(str(function.queue))}QueueName"))["QueueUrl"]
    said = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert int(said["VisibilityTimeout"]) >= 6 * function.timeout_seconds
    redrive = json.loads(said["RedrivePolicy"])
    assert redrive["maxReceiveCount"] == 5
    dead = redrive["deadLetterTargetArn"].rpartition(":")[2]
    kept = sqs.get_queue_attributes(
        QueueUrl=sqs.get_queue_url(QueueName=dead)["QueueUrl"], AttributeNames=["MessageRetentionPeriod"]
    )
    assert kept["Attributes"]["MessageRetentionPeriod"] == "1209600"


def test_each_function_writes_into_its_own_log_group_for_a_time(made: Made) -> None:
    groups = {
        each["logGroupName"]: each
        for page in made.client("logs").get_paginator("describe_log_groups").paginate()
        for each in page["logGroups"]
    }
    for function in of_app(app, STAGE):
        group = groups[f"/aws/lambda/{function.deployed_name(STAGE)}"]
        assert int(group["retentionInDays"]) == 90


def test_each_function_has_its_role_and_nothing_from_aws(made: Made) -> None:
    iam = made.client("iam")
    roles = [made.output(f"{function.words}RoleArn") for function in of_app(app, STAGE)]
    assert len(set(roles)) == len(roles)
    for role in roles:
        name = role.rpartition("/")[2]
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert all(":123456789012:policy/" in each["PolicyArn"] for each in attached)
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            assert "unknown-to-moto" not in json.dumps(document)


def test_the_vaults_alias_leads_to_the_key_that_the_roles_name(made: Made) -> None:
    kms = made.client("kms")
    aliases = {each["AliasName"]: each["TargetKeyId"] for each in kms.list_aliases()["Aliases"]}
    key = aliases[made.output("VaultKeyAlias")]
    assert made.output("VaultKeyArn").endswith(f":key/{key}")
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert made.output("VaultKeyArn") != made.output("DataKeyArn")


def test_the_functions_subnets_lead_out_by_nat_and_take_nobody_in(made: Made) -> None:
    ec2 = made.client("ec2")
    subnets = made.output("SubnetIds").split(",")
    assert len(subnets) == 3
    routes = [
        each for table in ec2.describe_route_tables()["RouteTables"] for each in table["Routes"]
        if each.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]  # fmt: skip
    assert len({each["NatGatewayId"] for each in routes if "NatGatewayId" in each}) == 3
    assert len([each for each in routes if each.get("GatewayId", "").startswith("igw-")]) == 1
    (group,) = ec2.describe_security_groups(GroupIds=[made.output("FunctionSecurityGroupId")])[
        "SecurityGroups"
    ]
    assert group["IpPermissions"] == []


def test_a_person_chooses_a_first_password_and_signs_in_at_the_templates_pool(made: Made) -> None:
    """Made by Cognito's API with the template's properties, for moto's CloudFormation knows no pools."""
    resources = render(template("identity"), StageFile.of(STAGE).parameters("identity")).resources
    pool, client = pool_of(made, resources)
    cognito = made.client("cognito-idp")
    cognito.admin_create_user(
        UserPoolId=pool,
        Username="rep@ours.example",
        TemporaryPassword="First-password-1",
        UserAttributes=[{"Name": "email", "Value": "rep@ours.example"}],
    )
    issuer = CognitoIssuer(
        made.settings(OIDC_CLIENT_ID=client["ClientId"], COGNITO_CLIENT_SECRET=client["ClientSecret"])
    )
    asked = issuer.sign_in("rep@ours.example", "First-password-1")
    assert isinstance(asked, Challenge)
    issuer.answer_challenge("rep@ours.example", asked.session, "Own-password-23")
    assert not isinstance(issuer.sign_in("rep@ours.example", "Own-password-23"), Challenge)


def pool_of(made: Made, resources: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    cognito = made.client("cognito-idp")
    said = {**resources["Pool"]["Properties"]}
    said["PoolName"] = said.pop("UserPoolName")
    pool = cognito.create_user_pool(**said)["UserPool"]["Id"]
    asked = {**resources["Client"]["Properties"], "UserPoolId": pool}
    asked["RefreshTokenValidity"] = int(asked["RefreshTokenValidity"])
    return pool, cognito.create_user_pool_client(**asked)["UserPoolClient"]
