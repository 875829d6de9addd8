"""`make rollback` and `make destroy` against moto, with stacks of a resource or two: what they look at before they begin,
and in which order destroy goes. What they do to a whole stage is in test_deploy.py.
"""

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from infra.deploy.bucket import Bucket
from infra.deploy.cloud import Cloud, DeployError
from infra.deploy.destroy import _must_not_be_protected, destroy
from infra.deploy.preflight import PreflightError
from infra.deploy.stacks import Stacks
from infra.deploy.staging import PACKAGE, SAID
from infra.deploy.state import Release, State
from infra.deploy.steps import Options, rollback
from infra.functions import Function
from tests.infra.cloud_server import REGION
from tests.infra.deploying import CREDENTIALS

SESSION: Final = boto3.session.Session("test", "test", region_name=REGION)
STAGE: Final = "staging"
QUEUE: Final = "Resources: {Mine: {Type: AWS::SQS::Queue}}\n"
NETWORK: Final = """
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
  Functions: {Type: AWS::EC2::SecurityGroup, Properties: {GroupDescription: f, VpcId: !Ref Vpc}}
  Migrations: {Type: AWS::EC2::SecurityGroup, Properties: {GroupDescription: m, VpcId: !Ref Vpc}}
Outputs:
  FunctionSecurityGroupId: {Value: !GetAtt Functions.GroupId}
  MigrationSecurityGroupId: {Value: !GetAtt Migrations.GroupId}
"""


@cache
def client(service: str) -> Any:
    """To look at what is there; the tool has its own."""
    return SESSION.client(service)


@dataclass
class Account:
    """What a test has in hand."""

    lines: list[str] = field(default_factory=list)

    def stack(self, name: str, body: str) -> None:
        client("cloudformation").create_stack(StackName=f"bevyly-{STAGE}-{name}", TemplateBody=body)

    def stacks(self) -> set[str]:
        """Those there are, by their short names."""
        told = client("cloudformation").describe_stacks()["Stacks"]
        return {each["StackName"].removeprefix(f"bevyly-{STAGE}-") for each in told}

    def destroy(self, pause: Callable[[float], None] = lambda _: None) -> list[str]:
        return destroy(Options(STAGE, tell=self.lines.append, pause=pause), confirmed=STAGE)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        # Without the policy that wants TLS: moto refuses everybody with it.
        client("s3").create_bucket(
            Bucket=Cloud(STAGE).bucket_name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield Account()


# Back


def a_release(number: int, *functions: Function) -> Release:
    """As a deploy keeps it, with nothing in its package."""
    release = Release(
        f"{number:04}-abc", f"print-{number}", "sha", "x86_64", "commit", "2026-11-01T10:00:00Z"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", "")
    said = {
        "base": {},
        "given": {"stacks": {}, "concurrency": {}},
        "architecture": "x86_64",
        "functions": [asdict(each) for each in functions],
    }
    bucket = Bucket(Cloud(STAGE))
    bucket.put(release.key(PACKAGE), packed.getvalue())
    bucket.put_json(release.key(SAID), said)
    return release


def test_a_release_that_the_stacks_do_not_suit_is_told_before_anything_changes(
    account: Account, tmp_path: Path
) -> None:
    """Seen red without the look: chalice had gone half way when Lambda refused."""
    account.stack(
        "functions", "Resources: {Mine: {Type: AWS::SQS::Queue}}\nOutputs: {RunRoleArn: {Value: a}}\n"
    )
    account.stack(
        "messaging",
        "Resources: {Runs: {Type: AWS::SQS::Queue, Properties: {QueueName: runs, VisibilityTimeout: 60}}}\n"
        "Outputs: {RunsQueueName: {Value: runs}}\n",
    )
    run, gone = Function("run", 900, queue="runs"), Function("gone", 60)
    state = State()
    for release in (a_release(1, run), a_release(2, run, gone), a_release(3, run)):
        state = state.finished(release)
    state.write(Bucket(Cloud(STAGE)))
    options = Options(STAGE, out=tmp_path, tell=account.lines.append)
    with pytest.raises(PreflightError, match="nothing has been done") as refused:
        rollback(options)
    role, queue, look = refused.value.problems
    assert "no role for gone of this release. Within reach: RELEASE=0001-abc;" in role
    assert "The queue runs hides a message for 60 s; run may take 900 s, so it should be 5400." in queue
    assert look.startswith("AWS refuses a look: ")  # at the account's concurrency, which moto does not know
    assert not [line for line in account.lines if line.startswith("config")]


# A database that is protected


def a_database(*, protected: bool) -> str:
    client("rds").create_db_cluster(
        DBClusterIdentifier=f"bevyly-{STAGE}",
        Engine="aurora-postgresql",
        MasterUsername="bevyly_master",
        MasterUserPassword="a-long-password",
        DeletionProtection=protected,
    )
    return (
        f"Resources: {{Mine: {{Type: AWS::SQS::Queue}}}}\nOutputs: {{ClusterId: {{Value: bevyly-{STAGE}}}}}\n"
    )


def test_a_protected_database_is_told_before_anything_goes(account: Account) -> None:
    """Seen red without the look: functions and six stacks were gone when CloudFormation came to the database."""
    account.stack("data", a_database(protected=True))
    account.stack("observability", QUEUE)
    with pytest.raises(
        DeployError, match=r'"DeletionProtection": "false".*parameters/staging.json.*make deploy'
    ):
        account.destroy()
    assert account.stacks() == {"data", "observability"}


def test_a_database_whose_protection_is_off_goes_also_when_the_stack_was_told_otherwise(
    account: Account,
) -> None:
    account.stack("data", a_database(protected=False))
    account.destroy()
    assert account.stacks() == set()


def test_of_prod_whose_file_may_not_say_so_the_command_is_told() -> None:
    """The templates' own rules refuse a deploy of prod without protection."""
    cloud = Cloud("prod", SESSION)
    outputs = [{"OutputKey": "ClusterId", "OutputValue": "bevyly-prod"}]
    stack = {
        "StackName": "s",
        "StackStatus": "CREATE_COMPLETE",
        "CreationTime": "2026-11-01",
        "Outputs": outputs,
    }
    with Stubber(cloud.client("cloudformation")) as formation, Stubber(cloud.client("rds")) as rds:
        formation.add_response("describe_stacks", {"Stacks": [stack]})
        rds.add_response("describe_db_clusters", {"DBClusters": [{"DeletionProtection": True}]})
        with pytest.raises(DeployError, match=r"modify-db-cluster .* bevyly-prod --no-deletion-protection"):
            _must_not_be_protected(cloud, Stacks(cloud, Bucket(cloud)))


# Lambda's network interfaces


def an_interface(group: str) -> str:
    """As Lambda leaves it for a while in one of the two groups, after the function is gone."""
    ec2, formation = client("ec2"), client("cloudformation")
    (network,) = formation.describe_stacks(StackName=f"bevyly-{STAGE}-network")["Stacks"]
    found = {each["OutputKey"]: each["OutputValue"] for each in network["Outputs"]}
    (there,) = ec2.describe_security_groups(GroupIds=[found[group]])["SecurityGroups"]
    block = f"10.0.{len(ec2.describe_network_interfaces()['NetworkInterfaces'])}.0/24"
    subnet = ec2.create_subnet(VpcId=there["VpcId"], CidrBlock=block)["Subnet"]["SubnetId"]
    made = ec2.create_network_interface(
        SubnetId=subnet, Groups=[found[group]], Description="AWS Lambda VPC ENI-bevyly"
    )
    return str(made["NetworkInterface"]["NetworkInterfaceId"])


def removed(interface: str) -> None:
    ec2 = client("ec2")
    (there,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.delete_subnet(SubnetId=there["SubnetId"])  # of no stack here, so it would be in the VPC's way


def test_roles_stay_until_lambda_has_removed_its_network_interfaces(account: Account) -> None:
    """Seen red without the wait: nobody could remove them any more, nor the stack `network`."""
    for name in ("network", "functions", "edge"):
        account.stack(name, NETWORK if name == "network" else QUEUE)
    left = [an_interface(group) for group in ("FunctionSecurityGroupId", "MigrationSecurityGroupId")]
    seen: list[set[str]] = []

    def pause(seconds: float) -> None:
        if seconds == 60:
            seen.append(account.stacks())
            if len(seen) in {3, 6}:
                removed(left.pop())

    account.destroy(pause)
    assert seen == [{"network", "functions"}] * 6
    assert account.stacks() == set()
    told = [line for line in account.lines if line.startswith("interfaces")]
    assert [line.split()[1:6] for line in told[:-1]] == [
        ["2", "still", "there", "after", "0"],
        ["1", "still", "there", "after", "5"],
    ]


def test_interfaces_that_stay_stop_it_after_an_hour_with_what_they_are(account: Account) -> None:
    account.stack("network", NETWORK)
    account.stack("functions", QUEUE)
    interface = an_interface("FunctionSecurityGroupId")
    waited: list[float] = []
    with pytest.raises(DeployError, match=rf"60 minutes.*{interface} \(AWS Lambda VPC ENI-bevyly\).*again"):
        account.destroy(waited.append)
    assert account.stacks() == {"network", "functions"}
    assert sum(waited) == 3600


# What goes


def test_what_is_lost_is_told_before_it_is_and_what_stays_after(account: Account) -> None:
    """Seen red without the list of what goes."""
    queue = "Type: AWS::SQS::Queue, Properties: {QueueName: %s}"
    account.stack("streaming", f"Resources: {{Cluster: {{{queue % 'in-the-clusters-place'}}}}}\n")
    account.stack(
        "messaging", f"Resources: {{Runs: {{{queue % 'runs'}}}, RunsDead: {{{queue % 'runs-dead'}}}}}\n"
    )
    account.stack("identity", f"Resources: {{Pool: {{{queue % 'in-the-pools-place'}}}}}\n")
    account.destroy()
    begins = [line.split()[0] for line in account.lines]
    assert begins.index("goes") < begins.index("functions") < begins.index("stays")
    assert [line for line in account.lines if line.startswith("goes")] == [
        "goes           AWS::SQS::Queue runs, runs-dead, with what is in it",
        "goes           AWS::MSK::ServerlessCluster in-the-clusters-place, with what is in it",
    ]
    assert [line.split()[1] for line in account.lines if line.startswith("stays")] == [
        "AWS::Cognito::UserPool",
        "bucket",
    ]
