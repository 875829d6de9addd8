"""What AWS would refuse after half an hour of stacks: a call or two for each, before anything is done.

Each look says what is in the way, in sentences. What a living stack has already made is not looked at again.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.deploy.cloud import Cloud, code_of
from infra.deploy.stacks import Stacks
from infra.rendering import StageFile, template

CERTIFICATES_REGION: Final = "us-east-1"
"""Where CloudFront takes them from."""
_CLASS: Final = "db.serverless"
_GONE: Final = ("NotFound", "NonExistent")


def all_of(cloud: Cloud, stacks: Stacks, given: StageFile) -> list[Callable[[], Iterator[str]]]:
    """Each by itself, for AWS may refuse one."""
    return [
        lambda: zones(cloud, stacks, given),
        lambda: engine(cloud, stacks, given),
        lambda: certificate(cloud, given),
        lambda: sender(cloud, given),
        *(partial(taken, cloud, stacks, stack) for stack in NAMED),
    ]


def zones(cloud: Cloud, stacks: Stacks, given: StageFile) -> Iterator[str]:
    """The region has as many as the VPC is to have."""
    said = given.with_defaults("network")
    if said["ExistingVpcId"] or _is_there(cloud, stacks, "network"):
        return
    filters = [
        {"Name": "zone-type", "Values": ["availability-zone"]},
        {"Name": "state", "Values": ["available"]},
    ]
    found = cloud.client("ec2").describe_availability_zones(Filters=filters)["AvailabilityZones"]
    if len(found) < int(said["Zones"]):
        yield (
            f"{cloud.region} has {len(found)} availability zones for this account, and `Zones` is {said['Zones']}: say "
            f"less under `network` in infra/parameters/{given.stage}.json, or choose another region."
        )


def engine(cloud: Cloud, stacks: Stacks, given: StageFile) -> Iterator[str]:
    """The region has this version of Aurora as a serverless one."""
    if _is_there(cloud, stacks, "data"):
        return
    version = given.with_defaults("data")["EngineVersion"]
    told = cloud.client("rds").describe_orderable_db_instance_options(
        Engine="aurora-postgresql", EngineVersion=version, DBInstanceClass=_CLASS
    )
    if not told["OrderableDBInstanceOptions"]:
        yield (
            f"{cloud.region} has no aurora-postgresql {version} as {_CLASS}. What it has: `aws rds "
            f"describe-orderable-db-instance-options --engine aurora-postgresql --db-instance-class {_CLASS} "
            "--query 'OrderableDBInstanceOptions[].EngineVersion'`; say one of 18 as `EngineVersion` under `data` in "
            f"infra/parameters/{given.stage}.json."
        )


def certificate(cloud: Cloud, given: StageFile) -> Iterator[str]:
    """Of the stage's own name: where CloudFront looks, issued, and of that name."""
    said = given.with_defaults("edge")
    domain, arn = said["DomainName"], said["CertificateArn"]
    if not domain or not arn:
        return  # that one without the other does not do, the template says
    where = f"`CertificateArn` under `edge` in infra/parameters/{given.stage}.json"
    if arn.split(":")[3:4] != [CERTIFICATES_REGION]:
        yield f"{where} is not of {CERTIFICATES_REGION}, where CloudFront looks: ask for the certificate there."
        return
    try:
        acm = cloud.client("acm", region=CERTIFICATES_REGION)
        found = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    except ClientError as error:
        if not _says_gone(error):
            raise
        yield f"{where}: there is no certificate {arn} in this account."
        return
    if found["Status"] != "ISSUED":
        yield (
            f"{where}: the certificate is {found['Status']}, and CloudFront takes it once it is ISSUED. Make the "
            "records that ACM names, and wait."
        )
    names = [found["DomainName"], *found.get("SubjectAlternativeNames", ())]
    if not any(_covers(name, domain) for name in names):
        yield f"{where}: the certificate is of {', '.join(sorted(set(names)))}, not of {domain}."


def _covers(name: str, domain: str) -> bool:
    """A star stands for one label."""
    star, dot, rest = name.lower().partition(".")
    wanted = domain.lower()
    return name.lower() == wanted or ((star, dot) == ("*", ".") and wanted.partition(".")[2] == rest)


def sender(cloud: Cloud, given: StageFile) -> Iterator[str]:
    """SES knows that the address from which Cognito is to send is ours."""
    arn = given.with_defaults("identity")["SenderArn"]
    if not arn:
        return
    where = f"`SenderArn` under `identity` in infra/parameters/{given.stage}.json"
    region, identity = arn.split(":")[3:4], arn.partition(":identity/")[2]
    if not region or not identity:
        yield f"{where} is no ARN of an identity of SES."
        return
    try:
        found = cloud.client("sesv2", region=region[0]).get_email_identity(EmailIdentity=identity)
    except ClientError as error:
        if not _says_gone(error):
            raise
        yield f"{where}: SES has no identity {identity} in {region[0]}. Make and verify it there."
        return
    if not found["VerifiedForSendingStatus"]:
        yield f"{where}: {identity} is not verified in {region[0]}. Follow what SES says of it, and wait."


# Names that somebody else has


def _queues(cloud: Cloud) -> Iterator[str]:
    pages = (
        cloud.client("sqs").get_paginator("list_queues").paginate(QueueNamePrefix=f"bevyly-{cloud.stage}-")
    )
    for page in pages:
        for url in page.get("QueueUrls", ()):
            yield url.rpartition("/")[2]


def _messaging(cloud: Cloud) -> Iterator[tuple[str, str]]:
    there = set(_queues(cloud))
    for said in template("messaging")["Resources"].values():
        if said["Type"] == "AWS::SQS::Queue":
            name = said["Properties"]["QueueName"]["Fn::Sub"].replace("${Stage}", cloud.stage)
            if name in there:
                yield "queue", name
    bus = f"bevyly-{cloud.stage}"
    if _found(lambda: cloud.client("events").describe_event_bus(Name=bus)):
        yield "event bus", bus


def _data(cloud: Cloud) -> Iterator[tuple[str, str]]:
    name = f"bevyly-{cloud.stage}"
    if _found(lambda: cloud.client("rds").describe_db_clusters(DBClusterIdentifier=name)):
        yield "database cluster", name
    for alias in (f"alias/{name}", f"alias/{name}-data"):
        if _found(partial(cloud.client("kms").describe_key, KeyId=alias)):
            yield "alias of a key", alias


def _proxy(cloud: Cloud) -> Iterator[tuple[str, str]]:
    name = f"bevyly-{cloud.stage}"
    if _found(lambda: cloud.client("rds").describe_db_proxies(DBProxyName=name)):
        yield "proxy", name


NAMED: Final[Mapping[str, Callable[[Cloud], Iterator[tuple[str, str]]]]] = {
    "data": _data,
    "messaging": _messaging,
    "proxy": _proxy,
}
"""Of each stack whose resources have names of their own, those that are taken: what it is, and its name."""


def taken(cloud: Cloud, stacks: Stacks, stack: str) -> Iterator[str]:
    """What the stack would make is there, and the stack is not."""
    if _is_there(cloud, stacks, stack):
        return
    if found := [f"{kind} {name}" for kind, name in NAMED[stack](cloud)]:
        yield (
            f"There is no stack {cloud.stack_name(stack)}, and yet there is {', '.join(found)}, which it would make. "
            "Look whose that is, and what is in it; then delete it, or deploy to another account or region."
        )


def _found(ask: Callable[[], Any]) -> bool:
    try:
        ask()
    except ClientError as error:
        if _says_gone(error):
            return False
        raise
    return True


def _says_gone(error: ClientError) -> bool:
    return any(word in code_of(error) for word in _GONE)


def _is_there(cloud: Cloud, stacks: Stacks, stack: str) -> bool:
    return stacks.find(cloud.stack_name(stack)) is not None
