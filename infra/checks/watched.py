"""What is written down, and who looks."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.checks.made import Installation, Problems

CUSTOM_NAMESPACE: Final = "Bevyly/Agents"


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
