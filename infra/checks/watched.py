"""What is written down, and who looks."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from infra.checks.made import Installation, Problems
from infra.connections import MOST_CONNECTIONS
from infra.functions import Function, words

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
    for name, properties in made.each("AWS::CloudWatch::Alarm"):
        if "<Topic>" not in properties.get("AlarmActions", []) or properties.get("ActionsEnabled") is False:
            yield f"{name} tells nobody"
        if not re.search(r" docs/runbook\.md#[a-z0-9-]+$", properties.get("AlarmDescription", "")):
            yield f"{name} names no place in the runbook"


class Watch(NamedTuple):
    """An alarm that there has to be for everything of a kind."""

    metric: str
    kind: str
    statistic: str
    speaks: str
    least: float  # of its threshold
    most: float
    when_missing: str = "notBreaching"


HOUR: Final = 3600
WEEK: Final = 7 * 24 * HOUR
WATCHED: Final = (
    Watch("AWS/SQS ApproximateNumberOfMessagesVisible", "dead queue", "Maximum", ">", 0, 0),
    Watch("AWS/SQS ApproximateAgeOfOldestMessage", "dead queue", "Maximum", ">", HOUR, WEEK),
    Watch("AWS/Lambda Invocations", "reader of dead letters", "Sum", ">", 0, 0),
    Watch("AWS/SQS ApproximateAgeOfOldestMessage", "queue", "Maximum", ">", 60, HOUR / 2),
    Watch("AWS/Events FailedInvocations", "rule", "Sum", ">", 0, 0),
    Watch(f"{CUSTOM_NAMESPACE} RunsFailed", "service", "Sum", ">", 1, 50),  # percent
    Watch(f"{CUSTOM_NAMESPACE} OldestDueRunSeconds", "service", "Maximum", ">", 60, HOUR / 2),
    Watch(f"{CUSTOM_NAMESPACE} OutboxLagSeconds", "service", "Maximum", ">", 60, 600),
    Watch(f"{CUSTOM_NAMESPACE} EventsParked", "service", "Maximum", ">", 0, 0),
    Watch(f"{CUSTOM_NAMESPACE} BudgetReached", "service", "Sum", ">", 0, 100),
    Watch(f"{CUSTOM_NAMESPACE} KeyRejected", "service", "Sum", ">", 0, 100),
    Watch("AWS/Lambda Invocations", "clock's function", "Sum", "<", 1, 1, "breaching"),
    Watch("AWS/Lambda Errors", "function", "Sum", ">", 0, 10),
    Watch("AWS/Lambda Throttles", "function", "Sum", ">", 0, 10),
    Watch("AWS/ApiGateway 5XXError", "API", "Sum", ">", 0, 100),
    Watch("AWS/ApiGateway 5XXError", "API", "Average", ">", 0.001, 0.05),
    Watch("AWS/ApiGateway Latency", "API", "p99", ">", 0.5, 10),  # seconds; CloudFront waits 30
    Watch("AWS/RDS ACUUtilization", "cluster", "Average", ">", 50, 95),
    Watch("AWS/RDS DatabaseConnections", "cluster", "Maximum", ">", 1, MOST_CONNECTIONS),  # and connections_suffice
    Watch("AWS/RDS Deadlocks", "cluster", "Average", ">", 0, 0.1),  # a second
    Watch("AWS/RDS DatabaseConnectionsCurrentlySessionPinned", "proxy", "Average", ">", 0, 20),
    Watch("AWS/RDS DatabaseConnectionsBorrowLatency", "proxy", "Average", ">", 100_000, 5_000_000),  # µs; of 10 s
)  # fmt: skip
"""A function's duration is watched besides, at nine tenths of its timeout."""

PERCENT: Final = 100  # of MonthlyBudget
SPEAKS: Final = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": ">=",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "<=",
}

Of = Mapping[str, str]
"""Dimensions, as CloudWatch has them."""


def what_goes_wrong_is_heard_of(made: Installation) -> Problems:
    """Within an hour, whatever is in the table; and the account's bill."""
    alarms = [
        (metric, of, statistic, SPEAKS.get(alarm["ComparisonOperator"]), alarm)
        for _, alarm in made.each("AWS::CloudWatch::Alarm")
        for metric, of, statistic in figures(alarm)
    ]
    there = _there(made)
    for watch in (*WATCHED, *map(_slow, made.functions)):
        for name, of in there[watch.kind]:
            wanted = (watch.metric, of, watch.statistic, watch.speaks)
            looking = [alarm for *looks, alarm in alarms if tuple(looks) == wanted]
            if not looking:
                yield f"no alarm looks at {watch.metric} ({watch.statistic} {watch.speaks}) of {name}"
            for alarm in looking:
                yield from _nonsense(watch, name, alarm)
    yield from _of_the_bill(made)


def _slow(function: Function) -> Watch:
    nine_tenths = 900 * function.timeout_seconds  # in ms
    return Watch("AWS/Lambda Duration", function.name, "Maximum", ">=", nine_tenths, nine_tenths)


def figures(alarm: Mapping[str, Any]) -> Iterator[tuple[str, Of, str]]:
    """What an alarm looks at: the metric with its namespace, of what, and in which statistic."""
    told = " ".join(each.get("Expression", "") for each in alarm.get("Metrics", []))
    said = [(alarm, alarm.get("Statistic"))] if "MetricName" in alarm else []
    said += [
        (each["MetricStat"]["Metric"], each["MetricStat"]["Stat"])
        for each in alarm.get("Metrics", [])
        if "MetricStat" in each and re.search(rf"\b{each['Id']}\b", told)
    ]
    for metric, statistic in said:
        of = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
        yield f"{metric['Namespace']} {metric['MetricName']}", of, str(statistic)


def _there(made: Installation) -> Mapping[str, Sequence[tuple[str, Of]]]:
    """All there is of each kind, and each function as a kind of its own: names and dimensions."""
    queues = made.stacks["messaging"].of_type("AWS::SQS::Queue")
    read = {words(each.queue): each for each in made.functions if each.queue is not None}
    dead = json.dumps([each["Properties"].get("RedrivePolicy") for each in queues.values()])

    def of_functions(those: Iterable[Function]) -> Sequence[tuple[str, Of]]:
        return [(each.name, {"FunctionName": each.deployed_name(made.stage)}) for each in those]

    def of_queues(names: Iterable[str]) -> Sequence[tuple[str, Of]]:
        return [(name, {"QueueName": made.imported(f"{name}QueueName")}) for name in names]

    rule = {"EventBusName": made.imported("BusName"), "RuleName": made.imported("RuleName")}
    return {
        "dead queue": of_queues(queues.keys() - read.keys()),
        "queue": of_queues(read.keys() - {"Runs"}),  # OldestDueRunSeconds says more of the doorbell
        "reader of dead letters": of_functions(
            each for name, each in read.items() if f"<{name}.Arn>" in dead
        ),
        "rule": [("the rule", rule)],
        "service": [("the service", {"service": f"bevyly-agents-{made.stage}"})],
        "clock's function": of_functions(each for each in made.functions if each.scheduled),
        "function": of_functions(made.functions),
        "API": [("the API", {"ApiName": "bevyly-agents", "Stage": "api"})],
        "cluster": [("the cluster", {"DBClusterIdentifier": made.imported("ClusterId")})],
        "proxy": [("the proxy", {"ProxyName": f"bevyly-{made.stage}"})],
        **{each.name: of_functions([each]) for each in made.functions},
    }


def _nonsense(watch: Watch, name: str, alarm: Mapping[str, Any]) -> Problems:
    what = f"the alarm of {watch.metric} of {name}"
    if not watch.least <= float(alarm["Threshold"]) <= watch.most:
        yield f"{what} speaks {watch.speaks} {alarm['Threshold']}, not within {watch.least} and {watch.most}"
    if alarm.get("TreatMissingData") != watch.when_missing:
        yield f"{what} takes silence for {alarm.get('TreatMissingData')}"
    periods = [
        int(each.get("MetricStat", each).get("Period", 0)) for each in (alarm, *alarm.get("Metrics", []))
    ]
    if max(periods) * int(alarm["EvaluationPeriods"]) > HOUR:
        yield f"{what} looks for longer than an hour"


def _of_the_bill(made: Installation) -> Problems:
    heard = {
        each["Notification"]["NotificationType"]
        for _, properties in made.each("AWS::Budgets::Budget")
        for each in properties.get("NotificationsWithSubscribers", [])
        if {"SubscriptionType": "SNS", "Address": "<Topic>"} in each["Subscribers"]
        and 0 < float(each["Notification"]["Threshold"]) <= PERCENT
    }
    for kind in sorted({"ACTUAL", "FORECASTED"} - heard):
        yield f"nobody hears of {kind.lower()} costs near MonthlyBudget"
