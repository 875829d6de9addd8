"""How it travels: who may reach whom, and never in plain text."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.checks.made import Installation, Problems, everybody, listed, true, with_api

ANYWHERE: Final = frozenset({"0.0.0.0/0", "::/0"})


def nobody_comes_in_from_anywhere(made: Installation) -> Problems:
    for name, properties in made.each("AWS::EC2::SecurityGroup"):
        for rule in properties.get("SecurityGroupIngress", []):
            yield from _from_anywhere(name, rule)
        if "SecurityGroupEgress" not in properties:
            yield f"{name} may speak to everybody"
    for name, rule in made.each("AWS::EC2::SecurityGroupIngress"):
        yield from _from_anywhere(name, rule)


def _from_anywhere(name: str, rule: Mapping[str, Any]) -> Problems:
    source = rule.get("CidrIp") or rule.get("CidrIpv6")
    if source in ANYWHERE or "SourceSecurityGroupId" not in rule:
        yield f"{name} takes connections from {source or 'a list'}, not from a group"


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
