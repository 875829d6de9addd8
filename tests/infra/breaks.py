"""One thing broken in the templates, for each thing that a check is there to see."""

from collections.abc import Callable
from typing import Any, Final

from infra import checks
from infra.checks import Check

Resources = dict[str, Any]
Change = Callable[[dict[str, Resources]], Any]


def properties(stacks: dict[str, Resources], path: str) -> dict[str, Any]:
    stack, name = path.split(".")
    found: dict[str, Any] = stacks[stack]["Resources"][name]["Properties"]
    return found


def setting(path: str, **values: Any) -> Change:
    return lambda stacks: properties(stacks, path).update(values)


def without(path: str, key: str) -> Change:
    return lambda stacks: properties(stacks, path).pop(key)


def gone(path: str) -> Change:
    stack, name = path.split(".")
    return lambda stacks: stacks[stack]["Resources"].pop(name)


def statement(path: str, index: int, key: str, value: Any) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        properties(stacks, path)["PolicyDocument"]["Statement"][index][key] = value

    return change


def grant(role: str, **said: Any) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        document = properties(stacks, f"functions.{role}")["Policies"][0]["PolicyDocument"]
        document["Statement"].append({"Effect": "Allow", **said})

    return change


def policy_of(stack: str, name: str, key: str, value: str) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        stacks[stack]["Resources"][name][key] = value

    return change


def deep(path: str, *keys: Any, value: Any) -> Change:
    def change(stacks: dict[str, Resources]) -> None:
        at: Any = properties(stacks, path)
        for key in keys[:-1]:
            at = at[key]
        if value is None:
            del at[keys[-1]]
        else:
            at[keys[-1]] = value

    return change


ANYBODY: Final = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "CidrIp": "0.0.0.0/0"}
API_ORIGIN: Final = ("DistributionConfig", "Origins", 1, "Fn::If", 1, "OriginCustomHeaders")
API_BEHAVIOR: Final = ("DistributionConfig", "CacheBehaviors", "Fn::If", 1, 0)

BREAKS: Final[list[tuple[Check, str, Change]]] = [
    (checks.encrypted_at_rest, "StorageEncrypted", setting("data.Cluster", StorageEncrypted=False)),
    (checks.encrypted_at_rest, "the cluster's key", without("data.Cluster", "KmsKeyId")),
    (checks.encrypted_at_rest, "a queue", without("messaging.Relay", "SqsManagedSseEnabled")),
    (checks.encrypted_at_rest, "the bucket", without("edge.Console", "BucketEncryption")),
    (checks.encrypted_at_rest, "a log group", without("functions.ApiHandlerLogs", "KmsKeyId")),
    (checks.encrypted_at_rest, "a log group that the key does not know", setting("data.ProxyLogs", LogGroupName="/aws/rds/proxy/other")),
    (checks.encrypted_at_rest, "a secret", without("data.OwnerSecret", "KmsKeyId")),
    (checks.encrypted_at_rest, "alarms", without("observability.Topic", "KmsMasterKeyId")),
    (checks.encrypted_at_rest, "rotation", setting("data.VaultKey", EnableKeyRotation=False)),
    (checks.what_must_not_be_lost_is_kept, "protection", setting("data.Cluster", DeletionProtection=False)),
    (checks.what_must_not_be_lost_is_kept, "backups", setting("data.Cluster", BackupRetentionPeriod=1)),
    (checks.what_must_not_be_lost_is_kept, "snapshot", policy_of("data", "Cluster", "DeletionPolicy", "Delete")),
    (checks.what_must_not_be_lost_is_kept, "key", policy_of("data", "VaultKey", "UpdateReplacePolicy", "Delete")),
    (checks.what_must_not_be_lost_is_kept, "pool", setting("identity.Pool", DeletionProtection="INACTIVE")),
    (checks.what_must_not_be_lost_is_kept, "standby", gone("data.Standby")),
    (checks.nothing_is_public, "bucket", deep("edge.Console", "PublicAccessBlockConfiguration", "BlockPublicPolicy", value=False)),
    (checks.nothing_is_public, "database", setting("data.Writer", PubliclyAccessible=True)),
    (checks.nothing_is_public, "subnet", setting("network.PrivateSubnetA", MapPublicIpOnLaunch=True)),
    (checks.nothing_is_public, "queue", statement("messaging.EventsPolicy", 1, "Principal", {"AWS": "*"})),
    (checks.nothing_is_public, "files", statement("edge.ConsolePolicy", 1, "Principal", "*")),
    (checks.nobody_comes_in_from_anywhere, "group", setting("network.ProxySecurityGroup", SecurityGroupIngress=[ANYBODY])),
    (checks.nobody_comes_in_from_anywhere, "IPv6", setting("network.ProxySecurityGroup", SecurityGroupIngress=[{"CidrIpv6": "::/0"}])),
    (checks.nobody_comes_in_from_anywhere, "rule", setting("network.DatabaseFromProxy", CidrIp="0.0.0.0/0")),
    (checks.nobody_comes_in_from_anywhere, "out", without("streaming.BrokerSecurityGroup", "SecurityGroupEgress")),
    (checks.grants_name_actions_and_resources, "actions", grant("ExecuteRunRole", Action="sqs:*", Resource="arn")),
    (checks.grants_name_actions_and_resources, "all", grant("ExecuteRunRole", Action="*", Resource="arn")),
    (checks.grants_name_actions_and_resources, "resources", grant("RelayEventsRole", Action="events:PutEvents", Resource="*")),
    (checks.grants_name_actions_and_resources, "key", deep("data.DataKey", "KeyPolicy", "Statement", 1, "Action", value="kms:*")),
    (checks.each_function_has_a_role_of_its_own, "role", gone("functions.BuryRunRole")),
    (checks.each_function_has_a_role_of_its_own, "trust", deep("functions.BuryRunRole", "AssumeRolePolicyDocument", "Statement", 0, "Principal", value={"AWS": "*"})),
    (checks.each_function_has_a_role_of_its_own, "queue", grant("BuryRunRole", Action="sqs:ReceiveMessage", Resource="arn")),
    (checks.tls_everywhere, "queues", statement("messaging.QueuesByTlsOnly", 0, "Effect", "Allow")),
    (checks.tls_everywhere, "one queue", deep("messaging.QueuesByTlsOnly", "Queues", 0, value=None)),
    (checks.tls_everywhere, "bucket", statement("edge.ConsolePolicy", 0, "Condition", {})),
    (checks.tls_everywhere, "proxy", setting("proxy.Proxy", RequireTLS=False)),
    (checks.tls_everywhere, "database", setting("data.ClusterParameters", Parameters={})),
    (checks.tls_everywhere, "viewers", deep("edge.Distribution", "DistributionConfig", "DefaultCacheBehavior", "ViewerProtocolPolicy", value="allow-all")),
    (checks.each_queue_has_a_dead_letter_queue, "none", without("messaging.Effects", "RedrivePolicy")),
    (checks.each_queue_has_a_dead_letter_queue, "impatient", deep("messaging.Runs", "RedrivePolicy", "maxReceiveCount", value=4)),
    (checks.each_queue_has_a_dead_letter_queue, "forgetful", setting("messaging.EventsDead", MessageRetentionPeriod=345600)),
    (checks.each_queue_has_a_dead_letter_queue, "no queue", gone("messaging.Relay")),
    (checks.each_queue_has_a_dead_letter_queue, "rule", deep("messaging.EventsToAgents", "Targets", 0, "DeadLetterConfig", value=None)),
    (checks.messages_stay_hidden_while_somebody_works, "short", setting("messaging.Runs", VisibilityTimeout=1799)),
    (checks.messages_stay_hidden_while_somebody_works, "default", without("messaging.Events", "VisibilityTimeout")),
    (checks.settings_find_their_queues_and_bus, "queue", lambda stacks: stacks["messaging"]["Outputs"].pop("RunsDeadQueueName")),
    (checks.settings_find_their_queues_and_bus, "bus", lambda stacks: stacks["messaging"]["Outputs"].pop("BusName")),
    (checks.logs_are_kept_for_a_time, "for ever", without("functions.SweepMinuteLogs", "RetentionInDays")),
    (checks.logs_are_kept_for_a_time, "the proxy's", gone("data.ProxyLogs")),
    (checks.logs_are_kept_for_a_time, "the database's", gone("data.DatabaseLogs")),
    (checks.logs_are_kept_for_a_time, "other name", setting("functions.ApiHandlerLogs", LogGroupName="/aws/lambda/other")),
    (checks.alarms_reach_somebody_who_can_act, "mute", setting("observability.OutboxLag", AlarmActions=[])),
    (checks.alarms_reach_somebody_who_can_act, "no runbook", setting("observability.OutboxLag", AlarmDescription="Look.")),
    (checks.alarms_reach_somebody_who_can_act, "throttles", gone("observability.BuryRunThrottles")),
    (checks.alarms_reach_somebody_who_can_act, "dead letters", lambda stacks: [stacks["observability"]["Resources"].pop(name) for name in ("UndeliveredDepth", "UndeliveredAge")]),
    (checks.alarms_reach_somebody_who_can_act, "timeout", setting("observability.ExecuteRunSlow", Threshold=300000)),
    (checks.people_sign_in_in_one_way, "sign up", deep("identity.Pool", "AdminCreateUserConfig", "AllowAdminCreateUserOnly", value=False)),
    (checks.people_sign_in_in_one_way, "a second factor", setting("identity.Pool", MfaConfiguration="OPTIONAL")),
    (checks.people_sign_in_in_one_way, "flows", setting("identity.Client", ExplicitAuthFlows=["ALLOW_USER_SRP_AUTH"])),
    (checks.people_sign_in_in_one_way, "OAuth", setting("identity.Client", AllowedOAuthFlowsUserPoolClient=True)),
    (checks.people_sign_in_in_one_way, "secret", setting("identity.Client", GenerateSecret=False)),
    (checks.people_sign_in_in_one_way, "an hour", setting("identity.Client", AccessTokenValidity=60)),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "masks", deep("edge.Distribution", "DistributionConfig", "CustomErrorResponses", 0, "ResponsePagePath", value="/index.html")),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "kept errors", deep("edge.Distribution", "DistributionConfig", "CustomErrorResponses", 6, "ErrorCachingMinTTL", value=10)),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "an error forgotten", deep("edge.Distribution", "DistributionConfig", "CustomErrorResponses", value=[])),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "header", deep("edge.Distribution", *API_ORIGIN, 0, "HeaderName", value="x-edge-secret")),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "no proof", deep("edge.Distribution", *API_ORIGIN, value=[])),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "path", deep("edge.Distribution", *API_BEHAVIOR, "PathPattern", value="/v1/*")),
    (checks.browsers_are_told_what_the_console_may_do, "scripts", deep("edge.ConsoleHeaders", "ResponseHeadersPolicyConfig", "SecurityHeadersConfig", "ContentSecurityPolicy", "ContentSecurityPolicy", value="default-src *")),
    (checks.browsers_are_told_what_the_console_may_do, "frames", deep("edge.ApiHeaders", "ResponseHeadersPolicyConfig", "SecurityHeadersConfig", "FrameOptions", value=None)),
]  # fmt: skip
