"""Connections to the database: how many, and who the proxy is."""

from functools import reduce
from typing import Any, Final

from infra.checks.made import Installation, Problems, grants_of, trusts
from infra.connections import budget

USED: Final = (
    ("data", "MinCapacity", "Cluster", ("ServerlessV2ScalingConfiguration", "MinCapacity")),
    ("data", "MaxCapacity", "Cluster", ("ServerlessV2ScalingConfiguration", "MaxCapacity")),
    ("proxy", "ProxyConnectionsPercent", "ProxyTargets",
     ("ConnectionPoolConfigurationInfo", "MaxConnectionsPercent")),
    ("observability", "ConnectionsAlarm", "DatabaseConnections", ("Threshold",)),
)  # fmt: skip
"""What infra/connections.py reckons with, and where a template says it to AWS."""

ANOTHER: Final = "61"  # no template has it
SECRETS: Final = ("AppSecretArn", "SystemSecretArn")


def connections_suffice(made: Installation) -> Problems:
    try:
        yield from budget(made.given, made.functions).problems()
    except ValueError as error:
        yield str(error)
    for stack, parameter, name, path in USED:
        resource = made.again(stack, {parameter: ANOTHER}).resources.get(name, {})
        at: Any = reduce(lambda found, key: found.get(key, {}), path, resource.get("Properties", {}))
        if at != ANOTHER:
            yield f"{stack}.{name} does not use {parameter}, with which connections are reckoned"


def the_proxy_signs_in_as_both_roles(made: Installation) -> Problems:
    """As bevyly_app and bevyly_system; not as the owner, whose migrations would pin its connections."""
    for name, properties in made.each("AWS::RDS::DBProxy"):
        if {each["SecretArn"] for each in properties["Auth"]} != set(map(made.imported, SECRETS)):
            yield f"{name} signs in with other secrets than {', '.join(SECRETS)}"
        role = properties["RoleArn"].strip("<>").removesuffix(".Arn")
        if not trusts(made.stacks["proxy"].resources[role], "rds.amazonaws.com"):
            yield f"the role of {name} is not its own"
        wanted = {("secretsmanager:GetSecretValue", secret) for secret in SECRETS}
        wanted.add(("kms:Decrypt", "DataKeyArn"))
        for action, resource in sorted(wanted - grants_of(made, "proxy", role)):
            yield f"{name} may not {action} on {resource}"
    for name, properties in made.each("AWS::RDS::DBProxyTargetGroup"):
        if properties.get("DBClusterIdentifiers") != [made.imported("ClusterId")]:
            yield f"{name} does not lead to the cluster"
