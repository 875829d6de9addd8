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

API_METHODS: Final = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE")
UNPINNED: Final = "{{resolve:secretsmanager:${Secret}:SecretString:value}}"
WIDE: Final = {"FromPort": 0, "ToPort": 65535}


def of_console(key: str, value: Any) -> Change:
    return deep("edge.Distribution", "DistributionConfig", "DefaultCacheBehavior", key, value=value)


def of_api(key: str, value: Any) -> Change:
    return deep("edge.Distribution", *API_BEHAVIOR, key, value=value)


def of_endpoint(name: str, *actions: str) -> Change:
    return deep(f"network.{name}", "PolicyDocument", "Statement", 0, "Action", value=list(actions))


def of_proxy_role(index: int) -> Change:
    """Without one of the two secrets."""
    policy = ("Policies", 0, "PolicyDocument", "Statement", 0, "Resource", index)
    return deep("proxy.ProxyRole", *policy, value=None)


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
    (checks.nobody_comes_in_from_anywhere, "out, by an empty list", setting("network.EndpointSecurityGroup", SecurityGroupEgress=[])),
    (checks.each_reaches_whom_it_must_and_nobody_else, "no FunctionsToProxy", gone("network.FunctionsToProxy")),
    (checks.each_reaches_whom_it_must_and_nobody_else, "no DatabaseFromProxy", gone("network.DatabaseFromProxy")),
    (checks.each_reaches_whom_it_must_and_nobody_else, "no DatabaseFromMigrations", gone("network.DatabaseFromMigrations")),
    (checks.each_reaches_whom_it_must_and_nobody_else, "no MigrationsToDatabase", gone("network.MigrationsToDatabase")),
    (checks.each_reaches_whom_it_must_and_nobody_else, "proxy lets nobody in", without("network.ProxySecurityGroup", "SecurityGroupIngress")),
    (checks.each_reaches_whom_it_must_and_nobody_else, "proxy reaches nobody", setting("network.ProxySecurityGroup", SecurityGroupEgress=[])),
    (checks.each_reaches_whom_it_must_and_nobody_else, "functions reach no provider", setting("network.FunctionSecurityGroup", SecurityGroupEgress=[])),
    (checks.each_reaches_whom_it_must_and_nobody_else, "migrations reach no secret", setting("network.MigrationSecurityGroup", SecurityGroupEgress=[])),
    (checks.each_reaches_whom_it_must_and_nobody_else, "endpoints let no function in", deep("network.EndpointSecurityGroup", "SecurityGroupIngress", 0, value=None)),
    (checks.each_reaches_whom_it_must_and_nobody_else, "endpoints let no migration in", deep("network.EndpointSecurityGroup", "SecurityGroupIngress", 1, value=None)),
    (checks.each_reaches_whom_it_must_and_nobody_else, "every port of the database", setting("network.DatabaseFromProxy", **WIDE)),
    (checks.each_reaches_whom_it_must_and_nobody_else, "every port of the proxy", setting("network.FunctionsToProxy", **WIDE)),
    (checks.each_reaches_whom_it_must_and_nobody_else, "every port of everybody", deep("network.FunctionSecurityGroup", "SecurityGroupEgress", 0, "FromPort", value=0)),
    (checks.each_reaches_whom_it_must_and_nobody_else, "every protocol", setting("network.MigrationsToDatabase", IpProtocol="-1")),
    (checks.each_reaches_whom_it_must_and_nobody_else, "functions straight to the database", setting("network.DatabaseFromProxy", SourceSecurityGroupId={"Ref": "FunctionSecurityGroup"})),
    (checks.each_reaches_whom_it_must_and_nobody_else, "the database speaks", setting("network.DatabaseSecurityGroup", SecurityGroupEgress=[{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}])),
    (checks.each_reaches_whom_it_must_and_nobody_else, "another group", setting("proxy.Proxy", VpcSecurityGroupIds=[{"Fn::ImportValue": {"Fn::Sub": "bevyly-${Stage}-DatabaseSecurityGroupId"}}])),
    (checks.each_reaches_whom_it_must_and_nobody_else, "no group", without("proxy.Proxy", "VpcSecurityGroupIds")),
    (checks.endpoints_let_through_what_roles_allow, "SQS", of_endpoint("SqsEndpoint", "sqs:GetQueueUrl")),
    (checks.endpoints_let_through_what_roles_allow, "KMS", of_endpoint("KmsEndpoint", "kms:GenerateDataKey", "kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom")),
    (checks.endpoints_let_through_what_roles_allow, "EventBridge", of_endpoint("EventsEndpoint", "events:DescribeRule")),
    (checks.endpoints_let_through_what_roles_allow, "new grant", grant("ExecuteRunRole", Action="sqs:SendMessageBatch", Resource="arn")),
    (checks.endpoints_let_through_what_roles_allow, "unused", without("network.SqsEndpoint", "PrivateDnsEnabled")),
    (checks.grants_name_actions_and_resources, "actions", grant("ExecuteRunRole", Action="sqs:*", Resource="arn")),
    (checks.grants_name_actions_and_resources, "all", grant("ExecuteRunRole", Action="*", Resource="arn")),
    (checks.grants_name_actions_and_resources, "resources", grant("RelayEventsRole", Action="events:PutEvents", Resource="*")),
    (checks.grants_name_actions_and_resources, "key", deep("data.DataKey", "KeyPolicy", "Statement", 1, "Action", value="kms:*")),
    (checks.each_function_has_a_role_of_its_own, "role", gone("functions.BuryRunRole")),
    (checks.each_function_has_a_role_of_its_own, "trust", deep("functions.BuryRunRole", "AssumeRolePolicyDocument", "Statement", 0, "Principal", value={"AWS": "*"})),
    (checks.each_function_has_a_role_of_its_own, "queue", grant("BuryRunRole", Action="sqs:ReceiveMessage", Resource="arn")),
    (checks.code_of_functions_touches_no_network_interface, "no refusal", deep("functions.InVpc", "PolicyDocument", "Statement", 1, value=None)),
    (checks.code_of_functions_touches_no_network_interface, "other functions'", deep("functions.InVpc", "PolicyDocument", "Statement", 1, "Condition", "ArnLike", "lambda:SourceFunctionArn", value="arn:aws:lambda:eu-central-1:123456789012:function:other*")),
    (checks.code_of_functions_touches_no_network_interface, "one action", deep("functions.InVpc", "PolicyDocument", "Statement", 1, "Action", 0, value=None)),
    (checks.services_may_do_what_they_are_there_for, "key for alarms", deep("data.DataKey", "KeyPolicy", "Statement", 2, value=None)),
    (checks.services_may_do_what_they_are_there_for, "key for CloudWatch", deep("data.DataKey", "KeyPolicy", "Statement", 2, "Principal", "Service", value="budgets.amazonaws.com")),
    (checks.services_may_do_what_they_are_there_for, "key for budgets", deep("data.DataKey", "KeyPolicy", "Statement", 2, "Principal", "Service", value="cloudwatch.amazonaws.com")),
    (checks.services_may_do_what_they_are_there_for, "key for any account's alarms", deep("data.DataKey", "KeyPolicy", "Statement", 2, "Condition", value=None)),
    (checks.services_may_do_what_they_are_there_for, "key for logs", deep("data.DataKey", "KeyPolicy", "Statement", 1, value=None)),
    (checks.services_may_do_what_they_are_there_for, "key for another's logs", deep("data.DataKey", "KeyPolicy", "Statement", 1, "Principal", "Service", value="delivery.logs.amazonaws.com")),
    (checks.services_may_do_what_they_are_there_for, "topic for CloudWatch", statement("observability.TopicPolicy", 0, "Principal", {"Service": "budgets.amazonaws.com"})),
    (checks.services_may_do_what_they_are_there_for, "topic for budgets", statement("observability.TopicPolicy", 0, "Principal", {"Service": "cloudwatch.amazonaws.com"})),
    (checks.services_may_do_what_they_are_there_for, "topic", deep("observability.TopicPolicy", "PolicyDocument", "Statement", 0, value=None)),
    (checks.services_may_do_what_they_are_there_for, "undelivered", deep("messaging.UndeliveredPolicy", "PolicyDocument", "Statement", 1, value=None)),
    (checks.services_may_do_what_they_are_there_for, "undelivered by another rule", statement("messaging.UndeliveredPolicy", 1, "Condition", {"ArnEquals": {"aws:SourceArn": "another"}})),
    (checks.services_may_do_what_they_are_there_for, "undelivered by another service", statement("messaging.UndeliveredPolicy", 1, "Principal", {"Service": "sns.amazonaws.com"})),
    (checks.services_may_do_what_they_are_there_for, "events", deep("messaging.EventsPolicy", "PolicyDocument", "Statement", 1, value=None)),
    (checks.services_may_do_what_they_are_there_for, "no topic", setting("observability.TopicPolicy", Topics=[{"Ref": "Another"}])),
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
    (checks.alarms_reach_somebody_who_can_act, "switched off", setting("observability.OutboxLag", ActionsEnabled=False)),
    (checks.alarms_reach_somebody_who_can_act, "somebody else", setting("observability.OutboxLag", AlarmActions=[{"Ref": "Another"}])),
    (checks.what_goes_wrong_is_heard_of, "throttles", gone("observability.BuryRunThrottles")),
    (checks.what_goes_wrong_is_heard_of, "dead letters", lambda stacks: [stacks["observability"]["Resources"].pop(name) for name in ("UndeliveredDepth", "UndeliveredAge")]),
    (checks.what_goes_wrong_is_heard_of, "timeout", setting("observability.ExecuteRunSlow", Threshold=300000)),
    (checks.what_goes_wrong_is_heard_of, "of another queue", setting("observability.EventsDeadDepth", Dimensions=[{"Name": "QueueName", "Value": "other"}])),
    (checks.what_goes_wrong_is_heard_of, "the wrong way", setting("observability.OutboxLag", ComparisonOperator="LessThanThreshold")),
    (checks.what_goes_wrong_is_heard_of, "the least of them", setting("observability.DatabaseAtCapacity", Statistic="Minimum")),
    (checks.what_goes_wrong_is_heard_of, "a clock's silence", setting("observability.SweepMinuteStopped", TreatMissingData="notBreaching")),
    (checks.what_goes_wrong_is_heard_of, "after a day", setting("observability.ProxyWaits", EvaluationPeriods=288)),
    (checks.what_goes_wrong_is_heard_of, "an expression that looks at nothing", deep("observability.ApiSlow", "Metrics", 1, "Expression", value="1")),
    (checks.what_goes_wrong_is_heard_of, "the bill", gone("observability.Budget")),
    (checks.what_goes_wrong_is_heard_of, "nobody hears of the bill", deep("observability.Budget", "NotificationsWithSubscribers", 0, "Subscribers", value=[])),
    (checks.what_goes_wrong_is_heard_of, "the bill to come", deep("observability.Budget", "NotificationsWithSubscribers", 1, "Notification", "Threshold", value=1000)),
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
    (checks.the_edge_hands_errors_on_and_says_who_asks, "any version of the secret", deep("edge.Distribution", *API_ORIGIN, 0, "HeaderValue", "Fn::Sub", 0, value=UNPINNED)),
    (checks.the_edge_hands_errors_on_and_says_who_asks, "another secret", deep("edge.Distribution", *API_ORIGIN, 0, "HeaderValue", "Fn::Sub", 1, "Secret", value={"Fn::ImportValue": "another"})),
    (checks.each_path_goes_its_own_way, "the API kept", of_api("CachePolicyId", checks.CACHING_OPTIMIZED)),
    (checks.each_path_goes_its_own_way, "the API asked without what the viewer sent", of_api("OriginRequestPolicyId", None)),
    (checks.each_path_goes_its_own_way, "the API asked for another host", of_api("OriginRequestPolicyId", "216adef6-5c7f-47e4-b989-5492eafa07d3")),
    (checks.each_path_goes_its_own_way, "who asks is not said", of_api("FunctionAssociations", None)),
    (checks.each_path_goes_its_own_way, "who asks is said too late", deep("edge.Distribution", *API_BEHAVIOR, "FunctionAssociations", 0, "EventType", value="viewer-response")),
    *((checks.each_path_goes_its_own_way, f"no {method}", of_api("AllowedMethods", [each for each in API_METHODS if each != method])) for method in API_METHODS[3:]),
    (checks.each_path_goes_its_own_way, "pages", of_console("FunctionAssociations", None)),
    (checks.each_path_goes_its_own_way, "another function for pages", deep("edge.Distribution", "DistributionConfig", "DefaultCacheBehavior", "FunctionAssociations", 0, "FunctionARN", value={"Fn::GetAtt": ["ViewerFunction", "FunctionARN"]})),
    (checks.each_path_goes_its_own_way, "the console's headers gone", of_console("ResponseHeadersPolicyId", None)),
    (checks.each_path_goes_its_own_way, "the API's headers for the console", of_console("ResponseHeadersPolicyId", {"Ref": "ApiHeaders"})),
    (checks.each_path_goes_its_own_way, "the API's headers gone", of_api("ResponseHeadersPolicyId", None)),
    (checks.each_path_goes_its_own_way, "the console's headers for the API", of_api("ResponseHeadersPolicyId", {"Ref": "ConsoleHeaders"})),
    (checks.each_path_goes_its_own_way, "the bucket", deep("edge.Distribution", "DistributionConfig", "Origins", 0, "OriginAccessControlId", value=None)),
    (checks.browsers_are_told_what_the_console_may_do, "scripts", deep("edge.ConsoleHeaders", "ResponseHeadersPolicyConfig", "SecurityHeadersConfig", "ContentSecurityPolicy", "ContentSecurityPolicy", value="default-src *")),
    (checks.browsers_are_told_what_the_console_may_do, "frames", deep("edge.ApiHeaders", "ResponseHeadersPolicyConfig", "SecurityHeadersConfig", "FrameOptions", value=None)),
    (checks.the_proxy_signs_in_as_both_roles, "not as bevyly_app", deep("proxy.Proxy", "Auth", 0, value=None)),
    (checks.the_proxy_signs_in_as_both_roles, "not as bevyly_system", deep("proxy.Proxy", "Auth", 1, value=None)),
    (checks.the_proxy_signs_in_as_both_roles, "as the owner", deep("proxy.Proxy", "Auth", 1, "SecretArn", value={"Fn::ImportValue": {"Fn::Sub": "bevyly-${Stage}-OwnerSecretArn"}})),
    (checks.the_proxy_signs_in_as_both_roles, "bevyly_app's secret unread", of_proxy_role(0)),
    (checks.the_proxy_signs_in_as_both_roles, "bevyly_system's secret unread", of_proxy_role(1)),
    (checks.the_proxy_signs_in_as_both_roles, "secrets not decrypted", deep("proxy.ProxyRole", "Policies", 0, "PolicyDocument", "Statement", 1, value=None)),
    (checks.the_proxy_signs_in_as_both_roles, "trust", deep("proxy.ProxyRole", "AssumeRolePolicyDocument", "Statement", 0, "Principal", value={"Service": "lambda.amazonaws.com"})),
    (checks.the_proxy_signs_in_as_both_roles, "nowhere", setting("proxy.ProxyTargets", DBClusterIdentifiers=["another"])),
    (checks.connections_suffice, "another share", deep("proxy.ProxyTargets", "ConnectionPoolConfigurationInfo", "MaxConnectionsPercent", value=80)),
    (checks.connections_suffice, "another capacity", deep("data.Cluster", "ServerlessV2ScalingConfiguration", "MaxCapacity", value=32)),
    (checks.connections_suffice, "another alarm", setting("observability.DatabaseConnections", Threshold=1000)),
]  # fmt: skip
