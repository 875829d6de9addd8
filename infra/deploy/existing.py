"""What there is of the stage's functions in AWS, how it differs from what is wanted, and chalice's record of it.

Chalice finds APIs and event source mappings again by `.chalice/deployed/<stage>.json` alone, and writes that only after
a deploy that succeeded: without it the next one would make a second API and second mappings. So the record is made
anew from what exists before each deploy.
"""

import base64
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.deploy.cloud import APP, Cloud, DeployError, code_of
from infra.deploy.wanted import Function, Wanted
from infra.functions import API_HANDLER

_GONE: Final = frozenset({"ResourceNotFoundException", "NotFoundException"})

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Existing:
    """Functions by their name in AWS, with what belongs to them."""

    functions: Mapping[str, Mapping[str, Any]]  # as GetFunctionConfiguration says
    reserved: Mapping[str, int]
    mappings: Mapping[tuple[str, str], Mapping[str, Any]]  # by function and queue
    rules: Mapping[str, Mapping[str, Any]]
    invokers: Mapping[str, str]  # each function's resource policy, as text
    api: str | None
    compressed_from: int | None  # bytes; what the API says of its answers
    region: str


def look(cloud: Cloud, wanted: Wanted, record: Record | None) -> Existing:
    """At everything that is wanted, and at what the record names.

    Raises:
        DeployError: it cannot be told which API or which mapping is the stage's.
    """
    named = {each["lambda_arn"].rpartition(":")[2] for each in _of(record, "lambda_function")}
    known = {each.name for each in wanted.functions} | named
    names = known | set(_made_by_chalice(cloud, known))
    functions = {name: found for name in sorted(names) if (found := function(cloud, name)) is not None}
    clocks = {each.name for each in wanted.rules} | {f"{name}-event" for name in names - known}
    api = _api(cloud, record)
    return Existing(
        functions,
        {name: most for name in functions if (most := reserved(cloud, name)) is not None},
        _mappings(cloud, functions),
        _rules(cloud, sorted(clocks)),
        {name: _policy(cloud, name) for name in functions},
        api,
        None if api is None else _compressed_from(cloud, api),
        cloud.region,
    )


def function(cloud: Cloud, name: str) -> Mapping[str, Any] | None:
    """What Lambda says of a function; None when there is none."""
    try:
        found: Mapping[str, Any] = cloud.client("lambda").get_function_configuration(FunctionName=name)
    except ClientError as error:
        if code_of(error) in _GONE:
            return None
        raise
    return found


def of_the_stage(cloud: Cloud) -> list[str]:
    """Names of functions that begin like the stage's, without the one that migrates."""
    prefix = cloud.functions_prefix
    names = [
        str(each["FunctionName"])
        for page in cloud.client("lambda").get_paginator("list_functions").paginate()
        for each in page["Functions"]
    ]
    ours = [name for name in names if name == prefix or name.startswith(f"{prefix}-")]
    return [name for name in ours if name != f"{prefix}-migrate"]


def _made_by_chalice(cloud: Cloud, known: Container[str]) -> Iterator[str]:
    """What a deploy that failed, of another release, may have left: nobody else would take it away."""
    for name in of_the_stage(cloud):
        if name not in known:
            arn = f"arn:aws:lambda:{cloud.region}:{cloud.account}:function:{name}"
            tags = cloud.client("lambda").list_tags(Resource=arn)["Tags"]
            if f"stage={cloud.stage}:app={APP}" in tags.get("aws-chalice", ""):
                yield name


def reserved(cloud: Cloud, name: str) -> int | None:
    """How many at once only this function may run; None where nothing is said, or there is no such function."""
    try:
        told = cloud.client("lambda").get_function_concurrency(FunctionName=name)
    except ClientError as error:
        if code_of(error) in _GONE:
            return None
        raise
    most: int | None = told.get("ReservedConcurrentExecutions")
    return most


def _policy(cloud: Cloud, name: str) -> str:
    try:
        return str(cloud.client("lambda").get_policy(FunctionName=name)["Policy"])
    except ClientError as error:
        if code_of(error) in _GONE:
            return ""
        raise


def _mappings(
    cloud: Cloud, functions: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for page in cloud.client("lambda").get_paginator("list_event_source_mappings").paginate():
        for each in page["EventSourceMappings"]:
            name = each["FunctionArn"].split(":function:")[-1]
            if name not in functions or each.get("State") == "Deleting":
                continue
            key = (name, each["EventSourceArn"].rpartition(":")[2])
            if key in found:
                raise DeployError(
                    f"{name} reads {key[1]} twice: mappings {found[key]['UUID']} and {each['UUID']}. "
                    "Delete one: `aws lambda delete-event-source-mapping --uuid …`."
                )
            found[key] = each
    return found


def _rules(cloud: Cloud, names: list[str]) -> dict[str, Mapping[str, Any]]:
    events = cloud.client("events")
    found: dict[str, Mapping[str, Any]] = {}
    for name in names:
        try:
            rule = events.describe_rule(Name=name)
            targets = events.list_targets_by_rule(Rule=name)["Targets"]
        except ClientError as error:
            if code_of(error) in _GONE:
                continue
            raise
        found[name] = {**rule, "Targets": targets}
    return found


def _api(cloud: Cloud, record: Record | None) -> str | None:
    """The REST API that hands its requests to the stage's handler."""
    gateway = cloud.client("apigateway")
    handler = f":function:{cloud.functions_prefix}/invocations"
    ours = [
        each["id"]
        for page in gateway.get_paginator("get_rest_apis").paginate()
        for each in page["items"]
        if each["name"] == APP and any(handler in uri for uri in _integrations(gateway, each["id"]))
    ]
    recorded = {each["rest_api_id"] for each in _of(record, "rest_api")}
    if len(ours) > 1 and len(recorded.intersection(ours)) != 1:
        raise DeployError(
            f"There are {len(ours)} REST APIs of this stage, and no record says which one is served: "
            f"{', '.join(ours)}. Delete the others: `aws apigateway delete-rest-api --rest-api-id …`."
        )
    return next((each for each in ours if each in recorded), ours[0] if ours else None)


def _compressed_from(cloud: Cloud, api: str) -> int | None:
    least: int | None = cloud.client("apigateway").get_rest_api(restApiId=api).get("minimumCompressionSize")
    return least


def _integrations(gateway: Any, api: str) -> Iterator[str]:
    for page in gateway.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"]):
        for resource in page["items"]:
            for method in resource.get("resourceMethods", {}).values():
                yield str(method.get("methodIntegration", {}).get("uri", ""))


# Chalice's record


def recorded(wanted: Wanted, existing: Existing, record: Record | None) -> Record | None:
    """`.chalice/deployed/<stage>.json` as it is true now; None when there is nothing yet.

    What the old record names, or chalice once made, and nobody wants any more is in it, for chalice to delete. Its
    `package`, a word of ours, is the SHA-256 of the last zip whose deploy came to its end.
    """
    made = list(_resources(wanted, existing))
    old = [] if record is None else record["resources"]
    names = _resource_names(wanted)
    unwanted = [each for each in old if each["name"] not in names]
    named = [
        each["lambda_arn"].rpartition(":")[2]
        for each in unwanted
        if each["resource_type"] == "lambda_function"
    ]
    # Chalice deletes in the opposite order: what wakes a function is after it.
    made = [*reversed(list(_left_over(wanted, existing, named))), *made, *unwanted]
    if not made:
        return None
    done = {} if record is None or "package" not in record else {"package": record["package"]}
    return {"resources": made, "schema_version": "2.0", "backend": "api", **done}


def _left_over(wanted: Wanted, existing: Existing, recorded: Collection[str]) -> Iterator[dict[str, Any]]:
    """Functions that neither are wanted nor recorded, and what wakes them."""
    known = {each.name for each in wanted.functions}.union(recorded)
    for name in existing.functions.keys() - known:
        for (woken, queue), found in existing.mappings.items():
            if woken == name:
                yield _mapping(f"{name}-{queue}-left-over", queue, found)
        if f"{name}-event" in existing.rules:
            yield _rule(f"{name}-event-left-over", f"{name}-event")
        yield _function(f"{name}-left-over", existing.functions[name])


def _function(resource: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": resource, "resource_type": "lambda_function", "lambda_arn": found["FunctionArn"]}


def _mapping(resource: str, queue: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": resource,
        "resource_type": "sqs_event",
        "queue_arn": found["EventSourceArn"],
        "event_uuid": found["UUID"],
        "queue": queue,
        "lambda_arn": found["FunctionArn"],
    }


def _rule(resource: str, name: str) -> dict[str, Any]:
    return {"name": resource, "resource_type": "cloudwatch_event", "rule_name": name}


def _resources(wanted: Wanted, existing: Existing) -> Iterator[dict[str, Any]]:
    for each in wanted.functions:
        if each.name in existing.functions:
            yield _function(each.resource, existing.functions[each.name])
    for mapped in wanted.mappings:
        found = existing.mappings.get((mapped.function, mapped.queue))
        if found is not None:
            yield _mapping(mapped.resource, mapped.queue, found)
    for rule in wanted.rules:
        if rule.name in existing.rules:
            yield _rule(rule.resource, rule.name)
    if wanted.api is not None and existing.api is not None:
        yield {
            "name": wanted.api,
            "resource_type": "rest_api",
            "rest_api_id": existing.api,
            "rest_api_url": f"https://{existing.api}.execute-api.{existing.region}.amazonaws.com/{wanted.api_stage}/",
        }


def api_in(record: Record | None) -> str | None:
    """The REST API's id."""
    return next((str(each["rest_api_id"]) for each in _of(record, "rest_api")), None)


def _of(record: Record | None, kind: str) -> list[Mapping[str, Any]]:
    return [each for each in (record or {"resources": []})["resources"] if each["resource_type"] == kind]


def _resource_names(wanted: Wanted) -> set[str]:
    """Chalice's own, of all that is wanted."""
    names = {each.resource for each in wanted.functions} | {each.resource for each in wanted.mappings}
    return names | {each.resource for each in wanted.rules} | {wanted.api or ""}


# What differs


def differences(wanted: Wanted, existing: Existing, record: Record | None, *, package: str) -> list[str]:
    """In sentences without secrets. Empty: `chalice deploy` would change nothing.

    Args:
        wanted: as it is to be.
        existing: as it is.
        record: what chalice recorded.
        package: SHA-256 of the zip, in hexadecimal.
    """
    found: list[str] = []
    for each in wanted.functions:
        there = existing.functions.get(each.name)
        if there is None:
            found.append(f"{each.name} is not there")
            continue
        found += _of_function(each, there, existing.reserved.get(each.name), package)
    found += _of_mappings(wanted, existing)
    found += _of_rules(wanted, existing)
    if wanted.api is not None:
        found += _of_api(wanted, existing)
    if (record or {}).get("package") != package:
        found.append("no deploy of this package has come to its end")
    names = _resource_names(wanted)
    found += [
        f"{each['name']} is not wanted any more"
        for each in (record or {"resources": []})["resources"]
        if each["name"] not in names
    ]
    return found


def _of_function(
    wanted: Function, there: Mapping[str, Any], reserved: int | None, package: str
) -> Iterator[str]:
    name = wanted.name
    if there["CodeSha256"] != base64.b64encode(bytes.fromhex(package)).decode():
        yield f"{name} has another package"
    vpc = there.get("VpcConfig") or {}
    compared: Mapping[str, tuple[Any, Any]] = {
        "handler": (wanted.handler, there["Handler"]),
        "runtime": (wanted.runtime, there["Runtime"]),
        "timeout": (wanted.timeout, there["Timeout"]),
        "memory": (wanted.memory, there["MemorySize"]),
        "role": (wanted.role, there["Role"]),
        "subnets": (set(wanted.subnets), set(vpc.get("SubnetIds", []))),
        "security groups": (set(wanted.security_groups), set(vpc.get("SecurityGroupIds", []))),
        "reserved concurrency": (wanted.reserved, reserved),
        "tracing": (
            "Active" if wanted.traced else "PassThrough",
            (there.get("TracingConfig") or {}).get("Mode", "PassThrough"),
        ),
        "architecture": ([wanted.architecture], there.get("Architectures", ["x86_64"])),
    }
    for what, (one, other) in compared.items():
        if one != other:
            yield f"{name}: {what} is {_plain(other)}, not {_plain(one)}"
    environment = (there.get("Environment") or {}).get("Variables", {})
    changed = sorted(
        key
        for key in wanted.environment.keys() | environment.keys()
        if wanted.environment.get(key) != environment.get(key)
    )
    if changed:  # names only: values may be secret
        yield f"{name}: other values of {', '.join(changed)}"


def _plain(value: Any) -> str:
    return ", ".join(sorted(map(str, value))) or "none" if isinstance(value, list | set) else str(value)


def _of_mappings(wanted: Wanted, existing: Existing) -> Iterator[str]:
    for each in wanted.mappings:
        found = existing.mappings.get((each.function, each.queue))
        if found is None:
            yield f"nothing wakes {each.function} for {each.queue}"
            continue
        if found["BatchSize"] != each.batch:
            yield f"{each.function} gets {found['BatchSize']} messages at once, not {each.batch}"
        limit = (found.get("ScalingConfig") or {}).get("MaximumConcurrency")
        if limit != each.maximum_concurrency:
            yield f"{each.function}: maximum_concurrency is {limit}, not {each.maximum_concurrency}"
        for missing in set(each.response_types).difference(found.get("FunctionResponseTypes") or ()):
            yield f"{each.function}: its mapping of {each.queue} lacks {missing}, and would delete what failed"
        if found.get("State") in {"Disabled", "Disabling"}:
            yield f"{each.function}: its mapping of {each.queue} is disabled"


def _of_api(wanted: Wanted, existing: Existing) -> Iterator[str]:
    if existing.api is None:
        yield "there is no REST API"
        return
    (handler,) = (each.name for each in wanted.functions if each.resource == API_HANDLER)
    if f":{existing.api}/" not in existing.invokers.get(handler, ""):
        yield f"API Gateway may not call {handler}"
    if wanted.compressed_from != existing.compressed_from:
        yield f"the REST API: minimum_compression_size is {existing.compressed_from}, not {wanted.compressed_from}"


def _of_rules(wanted: Wanted, existing: Existing) -> Iterator[str]:
    for each in wanted.rules:
        found = existing.rules.get(each.name)
        if found is None:
            yield f"rule {each.name} is not there"
            continue
        if found.get("State") != "ENABLED":
            yield f"rule {each.name} is disabled"
        if found.get("ScheduleExpression") != each.expression:
            yield f"rule {each.name} is {found.get('ScheduleExpression')}, not {each.expression}"
        if not any(target["Arn"].endswith(f":function:{each.function}") for target in found["Targets"]):
            yield f"rule {each.name} does not lead to {each.function}"
        if f":rule/{each.name}" not in existing.invokers.get(each.function, ""):
            yield f"rule {each.name} may not call {each.function}"
