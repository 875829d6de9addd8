"""What must hold of the templates at every stage, each with the AWS control that says so.

`python -m infra.checks` says what does not. Controls are named as in AWS Security Hub (`RDS.7`) or AWS Config
(`rds-storage-encrypted`); `ours` is this project's own rule.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from infra.checks.access import (
    code_of_functions_touches_no_network_interface,
    each_function_has_a_role_of_its_own,
    grants_name_actions_and_resources,
    nothing_is_public,
    people_sign_in_in_one_way,
    services_may_do_what_they_are_there_for,
)
from infra.checks.database import connections_suffice, the_proxy_signs_in_as_both_roles
from infra.checks.edge import (
    CACHING_OPTIMIZED,
    browsers_are_told_what_the_console_may_do,
    each_path_goes_its_own_way,
    the_edge_hands_errors_on_and_says_who_asks,
)
from infra.checks.made import WITH_AN_API, Installation, Problems, grants, installation
from infra.checks.messages import (
    VISIBILITY,
    each_queue_has_a_dead_letter_queue,
    messages_stay_hidden_while_somebody_works,
    reserved_is_what_no_queue_limits,
    settings_find_their_queues_and_bus,
)
from infra.checks.network import (
    POLLED_BY_LAMBDA,
    each_reaches_whom_it_must_and_nobody_else,
    endpoints_let_through_what_roles_allow,
    nobody_comes_in_from_anywhere,
    tls_everywhere,
)
from infra.checks.stored import encrypted_at_rest, what_must_not_be_lost_is_kept
from infra.checks.watched import (
    CUSTOM_NAMESPACE,
    alarms_reach_somebody_who_can_act,
    figures,
    logs_are_kept_for_a_time,
    what_goes_wrong_is_heard_of,
)

__all__ = [
    "CACHING_OPTIMIZED",
    "CHECKS",
    "CUSTOM_NAMESPACE",
    "POLLED_BY_LAMBDA",
    "VISIBILITY",
    "WITH_AN_API",
    "Check",
    "Installation",
    "Problems",
    "alarms_reach_somebody_who_can_act",
    "browsers_are_told_what_the_console_may_do",
    "code_of_functions_touches_no_network_interface",
    "connections_suffice",
    "each_function_has_a_role_of_its_own",
    "each_path_goes_its_own_way",
    "each_queue_has_a_dead_letter_queue",
    "each_reaches_whom_it_must_and_nobody_else",
    "encrypted_at_rest",
    "endpoints_let_through_what_roles_allow",
    "figures",
    "grants",
    "grants_name_actions_and_resources",
    "installation",
    "logs_are_kept_for_a_time",
    "messages_stay_hidden_while_somebody_works",
    "nobody_comes_in_from_anywhere",
    "nothing_is_public",
    "people_sign_in_in_one_way",
    "problems",
    "reserved_is_what_no_queue_limits",
    "services_may_do_what_they_are_there_for",
    "settings_find_their_queues_and_bus",
    "the_edge_hands_errors_on_and_says_who_asks",
    "the_proxy_signs_in_as_both_roles",
    "tls_everywhere",
    "what_goes_wrong_is_heard_of",
    "what_must_not_be_lost_is_kept",
]

Check = Callable[[Installation], Problems]
CHECKS: Mapping[Check, str] = MappingProxyType(
    {
        encrypted_at_rest: "RDS.27, SQS.1, SNS.1, KMS.4, s3-bucket-server-side-encryption-enabled, "
        "cloudwatch-log-group-encrypted, secretsmanager-using-cmk",
        what_must_not_be_lost_is_kept: "RDS.7, RDS.11, RDS.15, ours",
        nothing_is_public: "S3.8, RDS.2, EC2.15, SQS.3, SNS.4",
        nobody_comes_in_from_anywhere: "EC2.18, EC2.19, vpc-sg-open-only-to-authorized-ports",
        each_reaches_whom_it_must_and_nobody_else: "ours; EC2.18",
        endpoints_let_through_what_roles_allow: "ours",
        grants_name_actions_and_resources: "IAM.1, IAM.21, KMS.1, KMS.2",
        each_function_has_a_role_of_its_own: "ours",
        code_of_functions_touches_no_network_interface: "ours; Lambda's documentation of VPCs",
        services_may_do_what_they_are_there_for: "ours; IAM's documentation of the confused deputy",
        tls_everywhere: "S3.5, CloudFront.3, CloudFront.9, ours for queues and the database",
        each_queue_has_a_dead_letter_queue: "ours",
        messages_stay_hidden_while_somebody_works: "ours; Lambda's documentation of SQS",
        reserved_is_what_no_queue_limits: "lambda-concurrency-check; Lambda's documentation of SQS",
        settings_find_their_queues_and_bus: "ours",
        logs_are_kept_for_a_time: "CloudWatch.16",
        alarms_reach_somebody_who_can_act: "CloudWatch.15",
        what_goes_wrong_is_heard_of: "ours; CloudWatch's recommended alarms",
        people_sign_in_in_one_way: "cognito-user-pool-password-policy-check, ours",
        the_edge_hands_errors_on_and_says_who_asks: "ours",
        each_path_goes_its_own_way: "CloudFront.13, ours",
        browsers_are_told_what_the_console_may_do: "ours; OWASP secure headers",
        connections_suffice: "ours",
        the_proxy_signs_in_as_both_roles: "ours",
    }
)


def problems(made: Installation) -> list[str]:
    return [f"{made.stage}: {each}" for check in CHECKS for each in check(made)]
