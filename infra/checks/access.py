"""Who may do what: the public, the functions, people."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from infra.checks.made import (
    Installation,
    Problems,
    everybody,
    grants,
    listed,
    of_the_account,
    statements,
    true,
    trusts,
)
from infra.functions import words
from infra.rendering import ACCOUNT, REGION

WITHOUT_A_RESOURCE: Final = frozenset(
    {
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
)
"""What AWS, or Lambda when it looks at a role, wants allowed on `*`."""


LOGS_WITH_A_KEY: Final = frozenset(
    {
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    }
)
"""As CloudWatch Logs asks for of a key."""
SHORTEST_PASSWORD: Final = 12


def nothing_is_public(made: Installation) -> Problems:
    blocks = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    for name, properties in made.each("AWS::S3::Bucket"):
        block = properties.get("PublicAccessBlockConfiguration", {})
        if not all(true(block.get(each)) for each in blocks):
            yield f"{name} may be made public"
    for name, properties in made.each("AWS::RDS::DBInstance"):
        if properties.get("PubliclyAccessible") is not False:
            yield f"{name} may have a public address"
    for name, properties in made.each("AWS::EC2::Subnet"):
        if properties.get("MapPublicIpOnLaunch") is not False:
            yield f"{name} gives public addresses"
    for name, statement in statements(made):
        if statement["Effect"] == "Allow" and everybody(statement.get("Principal")):
            yield f"{name} allows everybody {listed(statement['Action'])}"


def grants_name_actions_and_resources(made: Installation) -> Problems:
    for name, statement in statements(made):
        if statement["Effect"] != "Allow":
            continue
        of_a_key = ".VaultKey" in name or ".DataKey" in name  # its "*" is the key itself
        actions = listed(statement["Action"])
        for action in actions:
            if "*" in action and not (of_a_key and of_the_account(statement.get("Principal"))):
                yield f"{name} allows {action}"
        if "*" in listed(statement["Resource"]) and not of_a_key:
            for action in set(actions) - WITHOUT_A_RESOURCE:
                yield f"{name} allows {action} on everything"
        if "NotAction" in statement or "NotResource" in statement:
            yield f"{name} allows all but a few"


def each_function_has_a_role_of_its_own(made: Installation) -> Problems:
    roles = made.stacks["functions"].of_type("AWS::IAM::Role")
    for function in made.functions:
        role = roles.get(f"{function.words}Role")
        if role is None:
            yield f"{function.name} has no role"
            continue
        if not trusts(role, "lambda.amazonaws.com"):
            yield f"the role of {function.name} is not Lambda's alone"
        if made.output(f"{function.words}RoleArn") != f"<{function.words}Role.Arn>":
            yield f"no output has the role of {function.name}"
        if function.queue is not None:
            reads = {
                resource for action, resource in grants(made, function) if action == "sqs:ReceiveMessage"
            }
            if reads != {f"{words(function.queue)}QueueArn"}:
                yield f"{function.name} may read {', '.join(sorted(reads)) or 'no queue'}"


def code_of_functions_touches_no_network_interface(made: Installation) -> Problems:
    """Lambda itself has to be allowed to; a request out of a function names the function."""
    policies: dict[str, list[dict[str, Any]]] = {}
    for name, statement in statements(made):
        policies.setdefault(name, []).append(statement)
    for name, those in policies.items():
        allowed, denied = (
            {action for each in of_effect for action in listed(each["Action"]) if action.startswith("ec2:")}
            for of_effect in (
                [each for each in those if each["Effect"] == "Allow"],
                [each for each in those if _denies_every_function(made, each)],
            )
        )
        for action in sorted(allowed - denied):
            yield f"{name} allows the functions' code {action}"


def _denies_every_function(made: Installation, statement: Mapping[str, Any]) -> bool:
    condition = statement.get("Condition", {})
    patterns = listed(condition.get("ArnLike", {}).get("lambda:SourceFunctionArn", []))
    ours = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
    names = [ours + function.deployed_name(made.stage) for function in made.functions]
    return (
        statement["Effect"] == "Deny"
        and listed(statement["Resource"]) == ["*"]
        and len(condition) == 1
        and all(any(fnmatchcase(name, each) for each in patterns) for name in names)
    )


class Leave(NamedTuple):
    """What a service of AWS has to be allowed, by one of these policies."""

    policies: frozenset[str]
    service: str
    actions: frozenset[str]
    resource: str
    condition: Mapping[str, Any] | None  # that it asks for us; None: any


def services_may_do_what_they_are_there_for(made: Installation) -> Problems:
    """Encrypt logs, tell of alarms and costs, deliver events: none of it fails where anybody would see."""
    for leave in _leaves(made):
        given = {
            action
            for name, each in statements(made)
            if name in leave.policies
            and each["Effect"] == "Allow"
            and leave.service in _services(each["Principal"])
            and leave.resource in listed(each["Resource"])
            and leave.condition in (None, each.get("Condition"))
            for action in listed(each["Action"])
        }
        for action in sorted(leave.actions - given):
            yield f"{leave.service} may not {action} on {leave.resource}, for what is ours"


def _services(principal: Any) -> list[str]:
    return listed(principal.get("Service")) if isinstance(principal, dict) else []


def _leaves(made: Installation) -> Iterator[Leave]:
    of_ours = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    key = frozenset({"data.DataKey"})
    topic = frozenset(
        name for name, each in made.each("AWS::SNS::TopicPolicy") if "<Topic>" in each.get("Topics", [])
    )
    for service in ("cloudwatch.amazonaws.com", "budgets.amazonaws.com"):
        yield Leave(key, service, frozenset({"kms:Decrypt", "kms:GenerateDataKey"}), "*", of_ours)
        yield Leave(topic, service, frozenset({"sns:Publish"}), "<Topic>", of_ours)
    # Which log groups is read in stored.py.
    yield Leave(key, f"logs.{REGION}.amazonaws.com", LOGS_WITH_A_KEY, "*", None)
    for rule, properties in made.each("AWS::Events::Rule"):
        by_the_rule = {"ArnEquals": {"aws:SourceArn": f"<{rule.partition('.')[2]}.Arn>"}}
        for target in properties["Targets"]:
            for queue in {target["Arn"], target.get("DeadLetterConfig", {}).get("Arn", target["Arn"])}:
                policies = frozenset(
                    name
                    for name, each in made.each("AWS::SQS::QueuePolicy")
                    if queue.replace(".Arn", "") in each["Queues"]
                )
                send = frozenset({"sqs:SendMessage"})
                yield Leave(policies, "events.amazonaws.com", send, queue, by_the_rule)


def people_sign_in_in_one_way(made: Installation) -> Problems:
    yield from _of_pools(made)
    for name, properties in made.each("AWS::Cognito::UserPoolClient"):
        if set(properties["ExplicitAuthFlows"]) != {"ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}:
            yield f"{name} signs in in other ways than integrations/aws/cognito.py"
        if properties.get("AllowedOAuthFlowsUserPoolClient") is not False:
            yield f"{name} has OAuth flows"
        if not true(properties.get("GenerateSecret")):
            yield f"{name} has no secret: tries need not go by the API"
        if properties.get("PreventUserExistenceErrors") != "ENABLED":
            yield f"{name} says who has an account"
        if (properties["AccessTokenValidity"], properties["TokenValidityUnits"]["AccessToken"]) != (
            15,
            "minutes",
        ):
            yield f"{name}: access tokens do not last 15 minutes"


def _of_pools(made: Installation) -> Problems:
    for name, properties in made.each("AWS::Cognito::UserPool"):
        if not true(properties["AdminCreateUserConfig"].get("AllowAdminCreateUserOnly")):
            yield f"{name} lets people sign themselves up"
        if int(properties["Policies"]["PasswordPolicy"]["MinimumLength"]) < SHORTEST_PASSWORD:
            yield f"{name} takes short passwords"
        if properties.get("MfaConfiguration") != "OFF":
            yield f"{name} asks for a second factor, which integrations/aws/cognito.py does not answer"
