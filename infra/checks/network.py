"""How it travels: who may reach whom, and never in plain text."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from infra.checks.made import (
    Installation,
    Problems,
    everybody,
    listed,
    statements,
    true,
    with_api,
)

ANYWHERE: Final = frozenset({"0.0.0.0/0", "::/0"})


def nobody_comes_in_from_anywhere(made: Installation) -> Problems:
    for name, properties in made.each("AWS::EC2::SecurityGroup"):
        for rule in properties.get("SecurityGroupIngress", []):
            yield from _from_anywhere(name, rule)
        if not properties.get("SecurityGroupEgress"):  # an empty list is as good as none
            yield f"{name} may speak to everybody"
    for name, rule in made.each("AWS::EC2::SecurityGroupIngress"):
        yield from _from_anywhere(name, rule)


def _from_anywhere(name: str, rule: Mapping[str, Any]) -> Problems:
    source = rule.get("CidrIp") or rule.get("CidrIpv6")
    if source in ANYWHERE or "SourceSecurityGroupId" not in rule:
        yield f"{name} takes connections from {source or 'a list'}, not from a group"


class Way(NamedTuple):
    """From one group, or address, to another."""

    source: str
    target: str
    by: str


TLS: Final = "tcp 443"
POSTGRESQL: Final = "tcp 5432"
WAYS: Final = frozenset(
    {
        Way("Function", "0.0.0.0/0", TLS),  # AWS, the providers
        Way("Function", "Endpoint", TLS),
        Way("Function", "Proxy", POSTGRESQL),
        Way("Function", "Broker", "tcp 9098"),  # Kafka
        Way("Migration", "0.0.0.0/0", TLS),  # AWS
        Way("Migration", "Endpoint", TLS),
        Way("Migration", "Database", POSTGRESQL),
        Way("Proxy", "Database", POSTGRESQL),
    }
)
"""Who reaches whom. No other way leads anywhere."""

OPTIONAL: Final = frozenset({"Endpoint", "Broker"})
NOWHERE: Final = "127.0.0.1/32"
WORN: Final = MappingProxyType(
    {
        "AWS::RDS::DBCluster": ("VpcSecurityGroupIds", "Database"),
        "AWS::RDS::DBProxy": ("VpcSecurityGroupIds", "Proxy"),
        "AWS::EC2::VPCEndpoint": ("SecurityGroupIds", "Endpoint"),
    }
)
"""The one group of a thing. Functions get theirs from infra/deploy."""


def each_reaches_whom_it_must_and_nobody_else(made: Installation) -> Problems:
    groups = {_group(name) for name, _ in made.each("AWS::EC2::SecurityGroup")}
    ways = {way for way in WAYS if way.target not in OPTIONAL - groups}
    let_in = {way for way in ways if way.target not in ANYWHERE}
    let_out = {way for way in ways if way.target != "Endpoint"}  # which is among the addresses
    for wanted, found, what in (
        (let_in, {Way(peer, group, by) for group, peer, by in _rules(made, "Ingress")}, "let in"),
        (let_out, {Way(group, peer, by) for group, peer, by in _rules(made, "Egress")}, "let out"),
    ):
        for way in sorted(wanted - found):
            yield f"{way.source} is not {what} to {way.target} by {way.by}"
        for way in sorted(found - wanted):
            yield f"{way.source} is {what} to {way.target} by {way.by}, where it has nothing to do"
    for kind, (key, group) in WORN.items():
        for name, properties in made.each(kind):
            if properties.get("VpcEndpointType") != "Gateway" and list(
                map(_group, properties.get(key, []))
            ) != [group]:
                yield f"{name} is in other groups than {group}"


def _rules(made: Installation, way: Literal["Ingress", "Egress"]) -> Iterator[tuple[str, str, str]]:
    """A group, who is at the other end, and by what."""
    said = [
        (name, rule)
        for name, properties in made.each("AWS::EC2::SecurityGroup")
        for rule in properties.get(f"SecurityGroup{way}", [])
    ]
    said += [(rule["GroupId"], rule) for _, rule in made.each(f"AWS::EC2::SecurityGroup{way}")]
    ends = ("SourceSecurityGroupId", "DestinationSecurityGroupId", "CidrIp", "CidrIpv6")
    for group, rule in said:
        ports = "-".join(dict.fromkeys(str(rule.get(key, "all")) for key in ("FromPort", "ToPort")))
        for peer in [rule[key] for key in ends if key in rule] or ["a list"]:
            if peer != NOWHERE:
                yield _group(group), _group(peer), f"{rule['IpProtocol']} {ports}"


def _group(name: str) -> str:
    """`Function` of a FunctionSecurityGroup, from wherever it is named; an address as it is."""
    found = re.search(r"(\w+)SecurityGroup", name)
    return found[1] if found else name


POLLED_BY_LAMBDA: Final = frozenset(
    {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
)
"""What a role allows Lambda itself, which asks from outside of the VPC."""


def endpoints_let_through_what_roles_allow(made: Installation) -> Problems:
    asked = {
        action
        for name, statement in statements(made)
        if name.startswith("functions.") and statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
    }
    for name, properties in made.each("AWS::EC2::VPCEndpoint"):
        if properties.get("VpcEndpointType") == "Interface" and not true(properties.get("PrivateDnsEnabled")):
            yield f"{name} is not where its service's name leads"
        service = properties["ServiceName"].rpartition(".")[2]
        let_through = {
            action
            for statement in listed(properties.get("PolicyDocument", {}).get("Statement", []))
            if statement["Effect"] == "Allow"
            for action in listed(statement["Action"])
        }
        for action in sorted(asked - POLLED_BY_LAMBDA - let_through):
            if action.startswith(f"{service}:"):
                yield f"{name} does not let {action} through, which a function may ask"


def tls_everywhere(made: Installation) -> Problems:
    spoken_to_by_tls = set(_with_a_policy_of_tls(made))
    for name, _ in made.each("AWS::SQS::Queue", "AWS::S3::Bucket"):
        if name not in spoken_to_by_tls:
            yield f"{name} may be spoken to without TLS"
    for name, properties in made.each("AWS::RDS::DBProxy"):
        if not true(properties.get("RequireTLS")):
            yield f"{name} takes connections without TLS"
    for name, properties in made.each("AWS::RDS::DBClusterParameterGroup"):
        if properties["Parameters"].get("rds.force_ssl") != "1":
            yield f"{name} takes connections without TLS"
    for name, resource in with_api(made).of_type("AWS::CloudFront::Distribution").items():
        yield from _plain_at_the_edge(name, resource["Properties"]["DistributionConfig"])


def _with_a_policy_of_tls(made: Installation) -> Iterator[str]:
    for stack, rendered in made.stacks.items():
        for resource in rendered.of_type("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy").values():
            properties = resource["Properties"]
            if any(map(_refuses_plain, listed(properties["PolicyDocument"]["Statement"]))):
                for each in listed(properties.get("Queues") or properties["Bucket"]):
                    yield f"{stack}.{each.strip('<>')}"


def _plain_at_the_edge(name: str, config: Mapping[str, Any]) -> Problems:
    for behavior in [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]:
        if behavior["ViewerProtocolPolicy"] not in {"https-only", "redirect-to-https"}:
            yield f"{name} answers without TLS"
    for origin in config["Origins"]:
        if origin.get("CustomOriginConfig", {}).get("OriginProtocolPolicy", "https-only") != "https-only":
            yield f"{name} speaks to {origin['Id']} without TLS"


def _refuses_plain(statement: Mapping[str, Any]) -> bool:
    wanted = {"Bool": {"aws:SecureTransport": "false"}}
    return (
        statement["Effect"] == "Deny"
        and everybody(statement["Principal"])
        and statement.get("Condition") == wanted
        and listed(statement["Action"])[0].endswith(":*")
    )
