"""Takes a stage down: functions, then stacks, the last one first. What is lost and what AWS keeps is listed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from botocore.exceptions import ClientError

from infra.deploy import migrate, staging
from infra.deploy.bucket import Bucket, Lock, locked
from infra.deploy.cloud import Cloud, DeployError, code_of
from infra.deploy.configuration import needed_outputs
from infra.deploy.existing import of_the_stage
from infra.deploy.stacks import STATEFUL, Stacks
from infra.deploy.state import KEY, State
from infra.deploy.steps import Context, Options, config
from infra.rendering import STACKS, template

KEPT_BY: Final = frozenset({"Retain", "RetainExceptOnCreate", "Snapshot"})
_EVERY: Final = 60.0  # seconds between two looks at Lambda's network interfaces
_LONGEST: Final = 3600.0  # seconds; AWS speaks of 20 minutes, people of 45
_TELL_EVERY: Final = 300.0


def destroy(options: Options, *, confirmed: str, prod_too: bool = False) -> list[str]:
    """Returns what stays. Started again after a failure, it goes on.

    Args:
        options: as of a deploy.
        confirmed: the stage's name, typed by a person.
        prod_too: said besides, for prod.

    Raises:
        DeployError: not confirmed, the database is protected, or a step failed.
    """
    stage = options.stage
    if confirmed != stage:
        raise DeployError(f"Not confirmed: type {stage} to take it down. Nothing is done.")
    if stage == "prod" and not prod_too:
        raise DeployError("This is prod. If that is meant: DESTROY_PROD=yes as well. Nothing is done.")
    cloud = Cloud(stage)
    bucket = Bucket(cloud)
    stacks = Stacks(cloud, bucket, options.pause)
    tell = options.tell
    tell(f"{'destroy':<14} {stage}, account {cloud.account}, {cloud.region}")
    _must_not_be_protected(cloud, stacks)
    bucket.ensure()
    with locked(bucket, "destroy", take_over=options.take_over) as lock:
        there = list(_resources(cloud, stacks))
        stay = list(_what_stays(there))
        for each in _what_goes(there):
            tell(f"{'goes':<14} {each}")
        lock.check()
        tell(f"{'functions':<14} {_functions(options, bucket, stacks)}")
        for name in reversed(STACKS):
            lock.check()
            if name == "functions":
                _wait_for_interfaces(options, cloud, stacks, lock)
            gone = stacks.take_down(cloud.stack_name(name))
            tell(f"{name:<14} {'deleted' if gone else 'not there'}")
        bucket.delete(KEY)
    stay.append(f"bucket {bucket.name}: packages of the last releases")
    for each in stay:
        tell(f"{'stays':<14} {each}")
    return stay


def _must_not_be_protected(cloud: Cloud, stacks: Stacks) -> None:
    """As RDS itself says, for somebody's hand counts too. The pool's protection is in nobody's way: the pool stays."""
    cluster = stacks.outputs([cloud.stack_name("data")]).get("ClusterId")
    if cluster is None:
        return
    try:
        (found,) = cloud.client("rds").describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"]
    except ClientError as error:
        if code_of(error) == "DBClusterNotFoundFault":
            return
        raise
    if found["DeletionProtection"]:
        off = (  # what is said in prod's file would be refused by the templates' own rules
            f"Switch that off: `aws rds modify-db-cluster --db-cluster-identifier {cluster} --no-deletion-protection`"
            if cloud.stage == "prod"
            else f'Say `"DeletionProtection": "false"` under `data` in infra/parameters/{cloud.stage}.json, and '
            f"`make deploy STAGE={cloud.stage}`"
        )
        raise DeployError(
            f"The database {cluster} is protected from deletion. {off}; then start this again. Nothing is done."
        )


def _functions(options: Options, bucket: Bucket, stacks: Stacks) -> str:
    done = []
    outputs = stacks.outputs([bucket.cloud.stack_name(name) for name in STACKS])
    if needed_outputs() <= outputs.keys() and of_the_stage(bucket.cloud):
        state = State.read(bucket)
        release = state.under_way or state.serving()
        if release is None:
            raise DeployError(
                f"There are functions of {options.stage}, but no release is known that they came from. "
                f"`make deploy STAGE={options.stage}` first, or delete them by hand."
            )
        staged = staging.fetch(bucket, release, options.out / "destroy")
        context = Context.of(bucket, options, release, staged)
        try:
            config(context)
            if context.functions.take_down():
                done.append("deleted by chalice")
        finally:
            staging.write_config(staged.folder, staged.base)
    left = of_the_stage(bucket.cloud)
    if left:
        raise DeployError(
            f"These functions are still there: {', '.join(left)}. Delete them by hand, then go on."
        )
    if migrate.take_down(bucket):
        done.append("migrate deleted")
    return ", ".join(done) or "not there"


def _wait_for_interfaces(options: Options, cloud: Cloud, stacks: Stacks, lock: Lock) -> None:
    """Until Lambda has removed those of functions that are gone: it does so with their roles, a while later.

    With the roles gone first they would stay for ever, and with them the stack `network`.
    """
    if stacks.find(cloud.stack_name("functions")) is None:
        return  # the roles are gone: there is nothing to wait for
    network = stacks.outputs([cloud.stack_name("network")])
    groups = [
        network[output]
        for output in ("FunctionSecurityGroupId", "MigrationSecurityGroupId")
        if output in network
    ]
    waited = 0.0
    while there := _interfaces(cloud, groups):
        if waited >= _LONGEST:
            raise DeployError(
                f"After {waited / 60:.0f} minutes there still are network interfaces of the functions: "
                f"{', '.join(there)}. Lambda removes its own with the roles of the stack functions, so that stays "
                "until then; whose are not Lambda's, delete by hand. Start this again: it goes on."
            )
        if waited % _TELL_EVERY == 0:
            lock.check()
            options.tell(
                f"{'interfaces':<14} {len(there)} still there after {waited / 60:.0f} minutes; Lambda removes them, "
                "within the hour"
            )
        options.pause(_EVERY)
        waited += _EVERY
    lock.check()
    options.tell(f"{'interfaces':<14} none is left")


def _interfaces(cloud: Cloud, groups: list[str]) -> list[str]:
    """Network interfaces in these security groups, with what they say they are."""
    if not groups:
        return []
    pages = (
        cloud.client("ec2")
        .get_paginator("describe_network_interfaces")
        .paginate(Filters=[{"Name": "group-id", "Values": groups}])
    )
    return [
        f"{each['NetworkInterfaceId']} ({each.get('Description') or 'without a description'})"
        for page in pages
        for each in page["NetworkInterfaces"]
    ]


@dataclass(frozen=True, slots=True)
class _Holds:
    """A resource of a living stack, with what its template says of its deletion."""

    kind: str
    name: str  # in AWS
    policy: str | None


def _resources(cloud: Cloud, stacks: Stacks) -> Iterator[_Holds]:
    for stack in STACKS:
        name = cloud.stack_name(stack)
        if stacks.find(name) is None:
            continue
        pages = cloud.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
        there = {each["LogicalResourceId"]: each for page in pages for each in page["StackResourceSummaries"]}
        for logical, said in template(stack)["Resources"].items():
            if logical in there:
                physical = there[logical].get("PhysicalResourceId", logical)
                yield _Holds(said["Type"], physical, said.get("DeletionPolicy"))


def _what_stays(there: Iterable[_Holds]) -> Iterator[str]:
    """By the templates' deletion policies, with their names in AWS."""
    for each in there:
        if each.policy in KEPT_BY:
            how = "a last snapshot of " if each.policy == "Snapshot" else ""
            yield f"{how}{each.kind} {each.name}"


def _what_goes(there: Iterable[_Holds]) -> Iterator[str]:
    """What something is in that nobody gets back."""
    lost: dict[str, list[str]] = {}
    for each in there:
        if each.kind in STATEFUL and each.policy not in KEPT_BY:
            lost.setdefault(each.kind, []).append(each.name.rpartition("/")[2] or each.name)
    for kind, names in lost.items():
        yield f"{kind} {', '.join(names)}, with what is in it"
