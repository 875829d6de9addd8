"""Who may do what: the public, the functions, people."""

from typing import Final

from infra.checks.made import (
    Installation,
    Problems,
    everybody,
    grants,
    listed,
    of_the_account,
    statements,
    true,
)
from infra.functions import words

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
        trusted = listed(role["Properties"]["AssumeRolePolicyDocument"]["Statement"])
        if [each["Principal"] for each in trusted] != [{"Service": "lambda.amazonaws.com"}]:
            yield f"the role of {function.name} is not Lambda's alone"
        if made.output(f"{function.words}RoleArn") != f"<{function.words}Role.Arn>":
            yield f"no output has the role of {function.name}"
        if function.queue is not None:
            reads = {
                resource for action, resource in grants(made, function) if action == "sqs:ReceiveMessage"
            }
            if reads != {f"{words(function.queue)}QueueArn"}:
                yield f"{function.name} may read {', '.join(sorted(reads)) or 'no queue'}"


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
