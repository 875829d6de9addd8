"""What a deploy looks at because AWS would refuse it late, each with the answers that AWS gives."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import boto3
import pytest
from botocore.stub import Stubber

from infra.deploy import looks
from infra.deploy.bucket import Bucket
from infra.deploy.cloud import Cloud
from infra.deploy.given import Given
from infra.deploy.stacks import Stacks
from infra.rendering import StageFile

SESSION: Final = boto3.session.Session("test", "test", region_name="eu-central-1")
GONE: Final = "gone"
ARN: Final = "arn:aws:acm:us-east-1:123456789012:certificate/1"
SENDER: Final = "arn:aws:ses:eu-west-1:123456789012:identity/acme.example"


def given(stack: str, **parameters: str) -> StageFile:
    stacks = Given.read("dev").file.stacks
    return StageFile("dev", {**stacks, stack: {**stacks[stack], **parameters}}, {})


@contextmanager
def answering(
    *answers: tuple[str, str, Any], there: bool = False, region: str | None = None
) -> Iterator[tuple[Cloud, Stacks]]:
    """A cloud that gives these answers (service, operation, what is said or an error's code), each once.

    `there`: the stack that is asked for first.
    """
    cloud = Cloud("dev", SESSION)
    with ExitStack() as stack:
        stubs: dict[str, Stubber] = {}

        def stub(service: str) -> Stubber:
            if service not in stubs:
                elsewhere = None if service == "cloudformation" else region
                stubs[service] = stack.enter_context(Stubber(cloud.client(service, region=elsewhere)))
            return stubs[service]

        if there:
            living = {"StackName": "s", "StackStatus": "CREATE_COMPLETE", "CreationTime": "2026-11-01"}
            stub("cloudformation").add_response("describe_stacks", {"Stacks": [living]})
        else:
            stub("cloudformation").add_client_error("describe_stacks", "ValidationError")
        for service, operation, said in answers:
            if isinstance(said, str):
                stub(service).add_client_error(operation, said)
            else:
                stub(service).add_response(operation, said)
        yield cloud, Stacks(cloud, Bucket(cloud))


def zones(*names: str) -> tuple[str, str, Any]:
    said = {"AvailabilityZones": [{"ZoneName": name} for name in names]}
    return ("ec2", "describe_availability_zones", said)


@pytest.mark.parametrize(("there", "told"), [(("a", "b"), 1), (("a", "b", "c"), 0)])
def test_a_region_has_as_many_zones_as_the_vpc_is_to_have(there: tuple[str, ...], told: int) -> None:
    with answering(zones(*there)) as (cloud, stacks):
        said = list(looks.zones(cloud, stacks, given("network", Zones="3")))
    assert ["eu-central-1 has 2 availability zones" in each for each in said] == [True] * told


def test_zones_are_nobodys_matter_in_a_vpc_that_is_there_or_is_yours() -> None:
    with answering(there=True) as (cloud, stacks):
        assert list(looks.zones(cloud, stacks, given("network", Zones="3"))) == []
        assert list(looks.zones(cloud, stacks, given("network", ExistingVpcId="vpc-1"))) == []


@pytest.mark.parametrize(("options", "told"), [([], 1), ([{"EngineVersion": "18.4"}], 0)])
def test_a_region_has_the_databases_version(options: list[Any], told: int) -> None:
    said = {"OrderableDBInstanceOptions": options}
    with answering(("rds", "describe_orderable_db_instance_options", said)) as (cloud, stacks):
        found = list(looks.engine(cloud, stacks, given("data")))
    assert ["no aurora-postgresql 18.4 as db.serverless" in each for each in found] == [True] * told
    with answering(there=True) as (cloud, stacks):
        assert list(looks.engine(cloud, stacks, given("data"))) == []


@pytest.mark.parametrize(
    ("certificate", "told"),
    [
        ({"DomainName": "crm.acme.example", "Status": "ISSUED"}, []),
        ({"DomainName": "*.ACME.example", "Status": "ISSUED"}, []),
        (
            {"DomainName": "x.example", "SubjectAlternativeNames": ["crm.acme.example"], "Status": "ISSUED"},
            [],
        ),
        ({"DomainName": "*.example", "Status": "ISSUED"}, ["is of *.example, not of crm.acme.example"]),
        ({"DomainName": "acme.example", "Status": "ISSUED"}, ["is of acme.example, not of"]),
        ({"DomainName": "crm.acme.example", "Status": "PENDING_VALIDATION"}, ["is PENDING_VALIDATION"]),
        ("ResourceNotFoundException", ["there is no certificate"]),
    ],
)
def test_cloudfront_will_take_the_certificate(certificate: Mapping[str, Any] | str, told: list[str]) -> None:
    said = certificate if isinstance(certificate, str) else {"Certificate": certificate}
    with answering(("acm", "describe_certificate", said), region="us-east-1") as (cloud, _):
        edge = given("edge", DomainName="crm.acme.example", CertificateArn=ARN)
        found = list(looks.certificate(cloud, edge))
    assert len(found) == len(told)
    assert all(words in each for words, each in zip(told, found, strict=True))


def test_a_certificate_of_another_region_is_told_and_none_is_asked_for_without_a_name() -> None:
    cloud = Cloud("dev", SESSION)
    elsewhere = given("edge", DomainName="a.b", CertificateArn=ARN.replace("us-east-1", "eu-central-1"))
    (found,) = looks.certificate(cloud, elsewhere)
    assert "is not of us-east-1" in found
    assert list(looks.certificate(cloud, given("edge"))) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"VerifiedForSendingStatus": True}, []),
        ({"VerifiedForSendingStatus": False}, ["acme.example is not verified in eu-west-1"]),
        ("NotFoundException", ["no identity acme.example in eu-west-1"]),
    ],
)
def test_ses_knows_who_sends_invitations(said: Any, told: list[str]) -> None:
    with answering(("sesv2", "get_email_identity", said), region="eu-west-1") as (cloud, _):
        found = list(looks.sender(cloud, given("identity", SenderArn=SENDER)))
    assert len(found) == len(told)
    assert all(words in each for words, each in zip(told, found, strict=True))


def queues(*names: str) -> tuple[str, str, Any]:
    return ("sqs", "list_queues", {"QueueUrls": [f"https://sqs/1/{name}" for name in names]})


BUS: Final = ("events", "describe_event_bus")
CLUSTER: Final = ("rds", "describe_db_clusters")
KEY: Final = ("kms", "describe_key")
PROXY: Final = ("rds", "describe_db_proxies")
NO_BUS: Final = (*BUS, "ResourceNotFoundException")
NO_KEY: Final = (*KEY, "NotFoundException")


@pytest.mark.parametrize(
    ("stack", "answers", "told"),
    [
        ("messaging", [queues("bevyly-dev-other"), NO_BUS], ""),
        ("messaging", [queues("bevyly-dev-runs"), NO_BUS], "queue bevyly-dev-runs,"),
        ("messaging", [queues(), (*BUS, {"Name": "bevyly-dev"})], "event bus bevyly-dev,"),
        ("data", [(*CLUSTER, "DBClusterNotFoundFault"), NO_KEY, NO_KEY], ""),
        ("data", [(*CLUSTER, {"DBClusters": []}), NO_KEY, NO_KEY], "database cluster bevyly-dev,"),
        (
            "data",
            [(*CLUSTER, "DBClusterNotFoundFault"), NO_KEY, (*KEY, {"KeyMetadata": {"KeyId": "1"}})],
            "alias of a key alias/bevyly-dev-data,",
        ),
        ("proxy", [(*PROXY, "DBProxyNotFoundFault")], ""),
        ("proxy", [(*PROXY, {"DBProxies": []})], "proxy bevyly-dev,"),
    ],
)
def test_a_name_that_is_taken_outside_our_stacks_is_told(stack: str, answers: list[Any], told: str) -> None:
    with answering(*answers) as (cloud, stacks):
        found = list(looks.taken(cloud, stacks, stack))
    assert [f"no stack bevyly-dev-{stack}, and yet there is {told}" in each for each in found] == (
        [True] if told else []
    )


@pytest.mark.parametrize("stack", sorted(looks.NAMED))
def test_names_are_ours_where_their_stack_is_there(stack: str) -> None:
    with answering(there=True) as (cloud, stacks):
        assert list(looks.taken(cloud, stacks, stack)) == []
