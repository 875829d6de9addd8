"""What must hold of the templates at every stage, each with the AWS control that says so.

`python -m infra.checks` says what does not. Controls are named as in AWS Security Hub (`RDS.7`) or AWS Config
(`rds-storage-encrypted`); `ours` is this project's own rule.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final

from chalicelib.settings import Queues
from infra.connections import budget
from infra.functions import ROOT, Function, of_app, words
from infra.rendering import STACKS, STAGES, Rendered, StageFile, Template, render, template

ANYWHERE: Final = frozenset({"0.0.0.0/0", "::/0"})
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

VISIBILITY: Final = 6  # times the function's timeout, as AWS asks
RECEIVES: Final = 5
LONGEST_RETENTION: Final = 14 * 24 * 3600  # seconds; SQS keeps nothing longer
BACKUP_DAYS: Final = 7
SHORTEST_PASSWORD: Final = 12
A_YEAR: Final = 365 * 24 * 3600
WITH_AN_API: Final = {"ApiId": "abcdefghij", "EdgeSecretVersion": "1"}
CUSTOM_NAMESPACE: Final = "Bevyly/Agents"


@dataclass(frozen=True, slots=True)
class Installation:
    """A stage as its templates and parameters would make it, and the functions that it is for."""

    given: StageFile
    stacks: Mapping[str, Rendered]
    functions: Sequence[Function]

    @property
    def stage(self) -> str:
        return self.given.stage

    def each(self, *types: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """`stack.Name` and properties of every resource of these types."""
        for stack, rendered in self.stacks.items():
            for name, resource in rendered.of_type(*types).items():
                yield f"{stack}.{name}", resource.get("Properties", {})

    def output(self, name: str) -> str | None:
        """What other stacks get for `<import:bevyly-<stage>-Name>`."""
        for rendered in self.stacks.values():
            if name in rendered.outputs:
                return str(rendered.outputs[name]["Value"])
        return None


def installation(
    given: StageFile, functions: Sequence[Function], templates: Mapping[str, Template] | None = None
) -> Installation:
    """Of the files in this folder, or of other templates in their place."""
    templates = templates or {stack: template(stack) for stack in STACKS}
    return Installation(
        given,
        {stack: render(parsed, given.parameters(stack)) for stack, parsed in templates.items()},
        functions,
    )


Problems = Iterator[str]


# What is stored


def encrypted_at_rest(made: Installation) -> Problems:
    wanted: Mapping[str, str] = {
        "AWS::Logs::LogGroup": "KmsKeyId",
        "AWS::RDS::DBCluster": "KmsKeyId",
        "AWS::S3::Bucket": "BucketEncryption",
        "AWS::SNS::Topic": "KmsMasterKeyId",
        "AWS::SecretsManager::Secret": "KmsKeyId",
    }
    for kind, key in wanted.items():
        for name, properties in made.each(kind):
            if key not in properties and not name.endswith(".FlowLogs"):  # refused connections, no content
                yield f"{name} has no {key}"
    yield from _without_leave_to_use_the_key(made)
    for name, properties in made.each("AWS::RDS::DBCluster"):
        if not _true(properties.get("StorageEncrypted")):
            yield f"{name} is not encrypted"
    for name, properties in made.each("AWS::SQS::Queue"):
        if not (_true(properties.get("SqsManagedSseEnabled")) or "KmsMasterKeyId" in properties):
            yield f"{name} is not encrypted"
    for name, properties in made.each("AWS::KMS::Key"):
        if not _true(properties.get("EnableKeyRotation")):
            yield f"{name} is not rotated"


def _without_leave_to_use_the_key(made: Installation) -> Problems:
    """Log groups that CloudWatch could not make, since the key's policy does not name them."""
    policy = made.stacks["data"].resources["DataKey"]["Properties"]["KeyPolicy"]["Statement"]
    condition = "kms:EncryptionContext:aws:logs:arn"
    allowed = [
        pattern
        for statement in policy
        for pattern in _listed(statement.get("Condition", {}).get("ArnLike", {}).get(condition, []))
    ]
    for name, properties in made.each("AWS::Logs::LogGroup"):
        ends = [pattern.partition(":log-group:")[2] for pattern in allowed]
        if "KmsKeyId" in properties and not any(fnmatchcase(properties["LogGroupName"], end) for end in ends):
            yield f"{name}: the key's policy does not let CloudWatch encrypt {properties['LogGroupName']}"


def what_must_not_be_lost_is_kept(made: Installation) -> Problems:
    """In prod one zone, one click and one bad week may be lost besides."""
    yield from _kept_when_its_stack_is_deleted(made)
    if made.stage == "prod":
        yield from _protected(made)


def _kept_when_its_stack_is_deleted(made: Installation) -> Problems:
    wanted = {
        "AWS::RDS::DBCluster": "Snapshot",
        "AWS::KMS::Key": "Retain",
        "AWS::Cognito::UserPool": "Retain",
    }
    for stack, rendered in made.stacks.items():
        for kind, policy in wanted.items():
            for name, resource in rendered.of_type(kind).items():
                for key in ("DeletionPolicy", "UpdateReplacePolicy"):
                    if resource.get(key) != policy:
                        yield f"{stack}.{name}: {key} is not {policy}"


def _protected(made: Installation) -> Problems:
    for name, properties in made.each("AWS::RDS::DBCluster"):
        if not _true(properties.get("DeletionProtection")):
            yield f"{name} is not protected from deletion"
        if int(properties.get("BackupRetentionPeriod", 0)) < BACKUP_DAYS:
            yield f"{name} keeps backups for less than {BACKUP_DAYS} days"
    for name, properties in made.each("AWS::Cognito::UserPool"):
        if properties.get("DeletionProtection") != "ACTIVE":
            yield f"{name} is not protected from deletion"
    for kind in ("AWS::RDS::DBInstance", "AWS::EC2::NatGateway"):
        if len(list(made.each(kind))) == 1:
            yield f"the only {kind} is in one zone"


# Who gets at it


def nothing_is_public(made: Installation) -> Problems:
    blocks = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    for name, properties in made.each("AWS::S3::Bucket"):
        block = properties.get("PublicAccessBlockConfiguration", {})
        if not all(_true(block.get(each)) for each in blocks):
            yield f"{name} may be made public"
    for name, properties in made.each("AWS::RDS::DBInstance"):
        if properties.get("PubliclyAccessible") is not False:
            yield f"{name} may have a public address"
    for name, properties in made.each("AWS::EC2::Subnet"):
        if properties.get("MapPublicIpOnLaunch") is not False:
            yield f"{name} gives public addresses"
    for name, statement in _statements(made):
        if statement["Effect"] == "Allow" and _everybody(statement.get("Principal")):
            yield f"{name} allows everybody {_listed(statement['Action'])}"


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


def grants_name_actions_and_resources(made: Installation) -> Problems:
    for name, statement in _statements(made):
        if statement["Effect"] != "Allow":
            continue
        of_a_key = ".VaultKey" in name or ".DataKey" in name  # its "*" is the key itself
        actions = _listed(statement["Action"])
        for action in actions:
            if "*" in action and not (of_a_key and _of_the_account(statement.get("Principal"))):
                yield f"{name} allows {action}"
        if "*" in _listed(statement["Resource"]) and not of_a_key:
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
        trusted = _listed(role["Properties"]["AssumeRolePolicyDocument"]["Statement"])
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


def grants(made: Installation, function: Function) -> set[tuple[str, str]]:
    """What a function's role itself allows: action, and the output that names the resource (or its own words)."""
    role = made.stacks["functions"].resources[f"{function.words}Role"]["Properties"]
    prefix = f"<import:bevyly-{made.stage}-"
    return {
        (action, str(resource).removeprefix(prefix).rstrip(">") if prefix in str(resource) else str(resource))
        for policy in role.get("Policies", [])
        for statement in _listed(policy["PolicyDocument"]["Statement"])
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    }


# How it travels


def tls_everywhere(made: Installation) -> Problems:
    spoken_to_by_tls = set(_with_a_policy_of_tls(made))
    for name, _ in made.each("AWS::SQS::Queue", "AWS::S3::Bucket"):
        if name not in spoken_to_by_tls:
            yield f"{name} may be spoken to without TLS"
    for name, properties in made.each("AWS::RDS::DBProxy"):
        if not _true(properties.get("RequireTLS")):
            yield f"{name} takes connections without TLS"
    for name, properties in made.each("AWS::RDS::DBClusterParameterGroup"):
        if properties["Parameters"].get("rds.force_ssl") != "1":
            yield f"{name} takes connections without TLS"
    for name, resource in _with_api(made).of_type("AWS::CloudFront::Distribution").items():
        yield from _plain_at_the_edge(name, resource["Properties"]["DistributionConfig"])


def _with_a_policy_of_tls(made: Installation) -> Iterator[str]:
    for stack, rendered in made.stacks.items():
        for resource in rendered.of_type("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy").values():
            properties = resource["Properties"]
            if any(map(_refuses_plain, _listed(properties["PolicyDocument"]["Statement"]))):
                for each in _listed(properties.get("Queues") or properties["Bucket"]):
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
        and _everybody(statement["Principal"])
        and statement.get("Condition") == wanted
        and _listed(statement["Action"])[0].endswith(":*")
    )


# Messages


def each_queue_has_a_dead_letter_queue(made: Installation) -> Problems:
    queues = made.stacks["messaging"].of_type("AWS::SQS::Queue")
    for function in made.functions:
        if function.queue is None:
            continue
        queue = queues.get(words(function.queue))
        if queue is None:
            yield f"{function.name} reads {function.queue}, which is not there"
            continue
        redrive = queue["Properties"].get("RedrivePolicy", {})
        dead = str(redrive.get("deadLetterTargetArn", "")).removesuffix(".Arn>").removeprefix("<")
        if dead not in queues:
            yield f"{function.queue} has no dead-letter queue"
        elif int(queues[dead]["Properties"]["MessageRetentionPeriod"]) < LONGEST_RETENTION:
            yield f"{dead} keeps dead letters for less than 14 days"
        if int(redrive.get("maxReceiveCount", 0)) < RECEIVES:
            yield f"{function.queue} gives a message up after fewer than {RECEIVES} tries"
    for name, properties in made.each("AWS::Events::Rule"):
        for target in properties["Targets"]:
            if "DeadLetterConfig" not in target:
                yield f"{name}: target {target['Id']} has no dead-letter queue"


def messages_stay_hidden_while_somebody_works(made: Installation) -> Problems:
    queues = made.stacks["messaging"].of_type("AWS::SQS::Queue")
    for function in made.functions:
        if function.queue is not None and words(function.queue) in queues:
            said = queues[words(function.queue)]["Properties"].get("VisibilityTimeout", 30)
            least = VISIBILITY * function.timeout_seconds
            if int(said) < least:
                yield f"{function.queue} hides messages for {said} s, {function.name} wants {least}"


def settings_find_their_queues_and_bus(made: Installation) -> Problems:
    for each in fields(Queues):
        if made.output(f"{words(each.name)}QueueName") is None:
            yield f"no output names {each.name.upper()}_QUEUE"
    for name in ("BusName", "EventSource"):
        if made.output(name) is None:
            yield f"no output has {name}"


# What is written down, and who looks


def logs_are_kept_for_a_time(made: Installation) -> Problems:
    for name, properties in made.each("AWS::Logs::LogGroup"):
        if "RetentionInDays" not in properties:
            yield f"{name} is kept for ever"
    names = {properties.get("LogGroupName") for _, properties in made.each("AWS::Logs::LogGroup")}
    for who, wanted in _who_logs(made):
        if wanted not in names:
            yield f"{who} has no log group {wanted}"


def _who_logs(made: Installation) -> Iterator[tuple[str, str]]:
    """Whoever would make a group of its own, which is kept for ever, and its name."""
    for function in made.functions:
        yield function.name, f"/aws/lambda/{function.deployed_name(made.stage)}"
    for name, cluster in made.each("AWS::RDS::DBCluster"):
        for log in cluster.get("EnableCloudwatchLogsExports", []):
            yield name, f"/aws/rds/cluster/{cluster['DBClusterIdentifier']}/{log}"
    for name, proxy in made.each("AWS::RDS::DBProxy"):
        yield name, f"/aws/rds/proxy/{proxy['DBProxyName']}"


def alarms_reach_somebody_who_can_act(made: Installation) -> Problems:
    watched: dict[str, list[Mapping[str, Any]]] = {}
    for name, properties in made.each("AWS::CloudWatch::Alarm"):
        if not properties.get("AlarmActions"):
            yield f"{name} tells nobody"
        if not re.search(r" docs/runbook\.md#[a-z0-9-]+$", properties.get("AlarmDescription", "")):
            yield f"{name} names no place in the runbook"
        watched.setdefault(properties.get("MetricName", ""), []).append(properties)
    for queue in made.stacks["messaging"].of_type("AWS::SQS::Queue"):
        seen = {
            each["MetricName"]
            for each in watched.get("ApproximateNumberOfMessagesVisible", [])
            + watched.get("ApproximateAgeOfOldestMessage", [])
            if each["Dimensions"][0]["Value"] == f"<import:bevyly-{made.stage}-{queue}QueueName>"
        }
        if not seen and queue != "Runs":  # OldestDueRunSeconds says more of the doorbell
            yield f"nobody looks at the queue {queue}"
    for function in made.functions:
        of_it = {
            metric: each
            for metric in ("Errors", "Throttles", "Duration")
            for each in watched.get(metric, [])
            if each["Dimensions"][0]["Value"] == function.deployed_name(made.stage)
        }
        if missing := {"Errors", "Throttles", "Duration"} - of_it.keys():
            yield f"no alarm looks at {', '.join(sorted(missing))} of {function.name}"
        elif float(of_it["Duration"]["Threshold"]) != 900 * function.timeout_seconds:
            yield f"{function.name} is slow at nine tenths of {function.timeout_seconds} s, its alarm says other"


# Edges


def people_sign_in_in_one_way(made: Installation) -> Problems:
    yield from _of_pools(made)
    for name, properties in made.each("AWS::Cognito::UserPoolClient"):
        if set(properties["ExplicitAuthFlows"]) != {"ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}:
            yield f"{name} signs in in other ways than integrations/aws/cognito.py"
        if properties.get("AllowedOAuthFlowsUserPoolClient") is not False:
            yield f"{name} has OAuth flows"
        if not _true(properties.get("GenerateSecret")):
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
        if not _true(properties["AdminCreateUserConfig"].get("AllowAdminCreateUserOnly")):
            yield f"{name} lets people sign themselves up"
        if int(properties["Policies"]["PasswordPolicy"]["MinimumLength"]) < SHORTEST_PASSWORD:
            yield f"{name} takes short passwords"
        if properties.get("MfaConfiguration") != "OFF":
            yield f"{name} asks for a second factor, which integrations/aws/cognito.py does not answer"


def _hands_errors_on(name: str, responses: Sequence[Mapping[str, Any]]) -> Problems:
    if any(each.get("ResponsePagePath") or each.get("ResponseCode") for each in responses):
        yield f"{name} answers errors in the API's place"
    kept = set(ERRORS) - {each["ErrorCode"] for each in responses if each.get("ErrorCachingMinTTL") == 0}
    if kept:
        yield f"{name} gives one person's error to everybody for a while: {sorted(kept)}"


ERRORS: Final = (400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504)
"""What CloudFront keeps for ten seconds unless it is told not to."""


def the_edge_hands_errors_on_and_says_who_asks(made: Installation) -> Problems:
    """Rendered with an API, whatever the stage's file says."""
    for name, resource in _with_api(made).of_type("AWS::CloudFront::Distribution").items():
        config = resource["Properties"]["DistributionConfig"]
        yield from _hands_errors_on(name, config.get("CustomErrorResponses", []))
        behavior = next((each for each in config["CacheBehaviors"] if each["PathPattern"] == "/api/*"), None)
        if behavior is None:
            yield f"{name} does not lead /api/* to the API"
            continue
        origin = next(each for each in config["Origins"] if each["Id"] == behavior["TargetOriginId"])
        for header in origin.get("OriginCustomHeaders", []):
            sent = header["HeaderName"]
            if sent.startswith(("x-edge-", "x-amz-")):
                yield f"{name}: CloudFront may not add {sent}"
            if f'headers.get("{sent}"' not in (ROOT / "chalicelib/api/http.py").read_text(encoding="utf-8"):
                yield f"{name}: chalicelib/api/http.py does not look at {sent}"
        if not origin.get("OriginCustomHeaders"):
            yield f"{name} does not prove itself"


def _with_api(made: Installation) -> Rendered:
    """The edge as it is after the API was made."""
    return render(made.stacks["edge"].source, {**made.given.parameters("edge"), **WITH_AN_API})


def browsers_are_told_what_the_console_may_do(made: Installation) -> Problems:
    for name, properties in made.each("AWS::CloudFront::ResponseHeadersPolicy"):
        config = properties["ResponseHeadersPolicyConfig"]
        headers = config["SecurityHeadersConfig"]
        wanted = {"ContentTypeOptions", "FrameOptions", "ReferrerPolicy", "StrictTransportSecurity"}
        if config["Name"].endswith("-console"):
            wanted |= {"ContentSecurityPolicy"}
            policy = headers.get("ContentSecurityPolicy", {}).get("ContentSecurityPolicy", "")
            if not {"default-src 'self'", "script-src 'self'", "object-src 'none'"} <= set(
                policy.split("; ")
            ):
                yield f"{name} lets scripts of others run"
        if missing := wanted - headers.keys():
            yield f"{name} lacks {', '.join(sorted(missing))}"
        if int(headers.get("StrictTransportSecurity", {}).get("AccessControlMaxAgeSec", 0)) < A_YEAR:
            yield f"{name}: browsers forget TLS within a year"


def connections_suffice(made: Installation) -> Problems:
    try:
        yield from budget(made.given, made.functions).problems()
    except ValueError as error:
        yield str(error)


# Reading templates


def _statements(made: Installation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy but of trust."""
    for stack, rendered in made.stacks.items():
        for name, resource in rendered.resources.items():
            properties = resource.get("Properties", {})
            documents = [properties.get("PolicyDocument"), properties.get("KeyPolicy")]
            if resource["Type"] == "AWS::IAM::Role":
                documents += [each["PolicyDocument"] for each in properties.get("Policies", [])]
            for document in documents:
                for statement in _listed(document["Statement"]) if document else []:
                    yield f"{stack}.{name}", statement


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _true(value: Any) -> bool:
    return value is True or value == "true"


def _everybody(principal: Any) -> bool:
    return principal == "*" or (isinstance(principal, dict) and "*" in _listed(principal.get("AWS")))


def _of_the_account(principal: Any) -> bool:
    return isinstance(principal, dict) and str(principal.get("AWS", "")).endswith(":root")


Check = Callable[[Installation], Problems]
CHECKS: Mapping[Check, str] = MappingProxyType(
    {
        encrypted_at_rest: "RDS.27, SQS.1, SNS.1, KMS.4, s3-bucket-server-side-encryption-enabled, "
        "cloudwatch-log-group-encrypted, secretsmanager-using-cmk",
        what_must_not_be_lost_is_kept: "RDS.7, RDS.11, RDS.15, ours",
        nothing_is_public: "S3.8, RDS.2, EC2.15, SQS.3, SNS.4",
        nobody_comes_in_from_anywhere: "EC2.18, EC2.19, vpc-sg-open-only-to-authorized-ports",
        grants_name_actions_and_resources: "IAM.1, IAM.21, KMS.1, KMS.2",
        each_function_has_a_role_of_its_own: "ours",
        tls_everywhere: "S3.5, CloudFront.3, CloudFront.9, ours for queues and the database",
        each_queue_has_a_dead_letter_queue: "ours",
        messages_stay_hidden_while_somebody_works: "ours; Lambda's documentation of SQS",
        settings_find_their_queues_and_bus: "ours",
        logs_are_kept_for_a_time: "CloudWatch.16",
        alarms_reach_somebody_who_can_act: "CloudWatch.15",
        people_sign_in_in_one_way: "cognito-user-pool-password-policy-check, ours",
        the_edge_hands_errors_on_and_says_who_asks: "ours",
        browsers_are_told_what_the_console_may_do: "ours; OWASP secure headers",
        connections_suffice: "ours",
    }
)


def problems(made: Installation) -> list[str]:
    return [f"{made.stage}: {each}" for check in CHECKS for each in check(made)]


def main() -> int:
    from app import app  # noqa: PLC0415 - it reads the environment when imported

    found = [
        each for stage in STAGES for each in problems(installation(StageFile.of(stage), of_app(app, stage)))
    ]
    print("\n".join(found) or f"{len(CHECKS)} checks hold at {', '.join(STAGES)}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
