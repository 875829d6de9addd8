"""What must hold of the templates at every stage, each with the AWS control that says so.

`python -m infra.checks` says what does not. Controls are named as in AWS Security Hub (`RDS.7`) or AWS Config
(`rds-storage-encrypted`); `ours` is this project's own rule.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from infra.checks.access import (
    each_function_has_a_role_of_its_own,
    grants_name_actions_and_resources,
    nothing_is_public,
    people_sign_in_in_one_way,
)
from infra.checks.database import connections_suffice
from infra.checks.edge import (
    browsers_are_told_what_the_console_may_do,
    the_edge_hands_errors_on_and_says_who_asks,
)
from infra.checks.made import WITH_AN_API, Installation, Problems, grants, installation
from infra.checks.messages import (
    VISIBILITY,
    each_queue_has_a_dead_letter_queue,
    messages_stay_hidden_while_somebody_works,
    settings_find_their_queues_and_bus,
)
from infra.checks.network import nobody_comes_in_from_anywhere, tls_everywhere
from infra.checks.stored import encrypted_at_rest, what_must_not_be_lost_is_kept
from infra.checks.watched import (
    CUSTOM_NAMESPACE,
    alarms_reach_somebody_who_can_act,
    logs_are_kept_for_a_time,
)

__all__ = [
    "CHECKS",
    "CUSTOM_NAMESPACE",
    "VISIBILITY",
    "WITH_AN_API",
    "Check",
    "Installation",
    "Problems",
    "alarms_reach_somebody_who_can_act",
    "browsers_are_told_what_the_console_may_do",
    "connections_suffice",
    "each_function_has_a_role_of_its_own",
    "each_queue_has_a_dead_letter_queue",
    "encrypted_at_rest",
    "grants",
    "grants_name_actions_and_resources",
    "installation",
    "logs_are_kept_for_a_time",
    "messages_stay_hidden_while_somebody_works",
    "nobody_comes_in_from_anywhere",
    "nothing_is_public",
    "people_sign_in_in_one_way",
    "problems",
    "settings_find_their_queues_and_bus",
    "the_edge_hands_errors_on_and_says_who_asks",
    "tls_everywhere",
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
