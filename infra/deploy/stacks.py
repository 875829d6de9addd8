"""CloudFormation stacks by change sets: made, changed when something differs, told why when they fail, taken down.

What would lose data (a replaced or removed database, key, pool, bucket or queue) is refused unless it is named.
"""

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.deploy.bucket import Bucket
from infra.deploy.cloud import Cloud, DeployError, code_of
from infra.rendering import parse

STATEFUL: Final = frozenset(
    {
        "AWS::Cognito::UserPool",
        "AWS::KMS::Key",
        "AWS::MSK::ServerlessCluster",
        "AWS::RDS::DBCluster",
        "AWS::S3::Bucket",
        "AWS::SQS::Queue",
    }
)
"""What holds something that nothing here could bring back."""

SERVING: Final = frozenset({"AWS::RDS::DBProxy"})
"""What holds nothing, and without which nothing serves while the new one is made."""

LONGEST: Final = 3600.0  # seconds; an Aurora cluster with a proxy takes up to half of it
LARGEST_BODY: Final = 51_200  # bytes of a template that is not in a bucket
_EVERY: Final = 3.0
_NOTHING_TO_DO: Final = ("didn't contain changes", "No updates are to be performed")
_NEVER_MADE: Final = frozenset({"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"})
STUCK: Final = frozenset({"ROLLBACK_FAILED", "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"})
_CANCELLED: Final = "cancelled"
_PROTECTION: Final = "DeletionProtection"
_UNPROTECTED: Final = {"true": "false", "ACTIVE": "INACTIVE"}
"""Instead of what RDS and Cognito call protected."""


def way_out(name: str, status: str) -> str:
    """The command for a stack that is stuck, as a part of a sentence."""
    if status == "UPDATE_ROLLBACK_FAILED":
        return f"`aws cloudformation continue-update-rollback --stack-name {name}`"
    return f"`aws cloudformation delete-stack --stack-name {name}`, and deploy again"


Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as it is to be."""

    name: str
    template: str
    parameters: Mapping[str, str]
    stage: str


@dataclass(frozen=True, slots=True)
class Stacks:
    """The stage's stacks. `pause` waits between two looks."""

    cloud: Cloud
    bucket: Bucket
    pause: Callable[[float], None] = time.sleep
    longest_seconds: float = LONGEST

    def find(self, name: str) -> Mapping[str, Any] | None:
        """What CloudFormation says of it; None when there is none."""
        try:
            (found,) = self._formation.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if code_of(error) == "ValidationError":  # also what moto says with another message
                return None
            raise
        said: Mapping[str, Any] = found
        return None if said["StackStatus"] == "DELETE_COMPLETE" else said

    def outputs(self, names: Collection[str]) -> dict[str, str]:
        """Of all the stacks there are."""
        found = filter(None, map(self.find, names))
        return {
            each["OutputKey"]: each["OutputValue"] for stack in found for each in stack.get("Outputs", [])
        }

    def parameter(self, name: str, parameter: str) -> str:
        """What an existing stack was given; empty without it."""
        found = self.find(name)
        return "" if found is None else _parameters(found).get(parameter, "")

    def sent(self, name: str) -> tuple[str, dict[str, str]] | None:
        """Template and parameters of an existing stack; None without it, or while it was never made."""
        found = self.find(name)
        if found is None or found["StackStatus"] in _NEVER_MADE:
            return None
        return self._body_of(name), _parameters(found)

    def bring_up(self, stack: Stack, *, may_replace: Collection[str] = ()) -> str:
        """Make or change it. Returns what was done: `made`, `changed`, `unchanged`.

        Args:
            stack: as it is to be.
            may_replace: logical names of stateful resources that may be replaced or removed.

        Raises:
            DeployError: refused, failed (with the resource's own reason), or not done in time.
        """
        found = self._settled(stack.name)
        off = _UNPROTECTED.get(_declared_or_default(stack, _PROTECTION))
        if found is None and off is not None:
            # Protected from the first moment, what belongs to a stack that fails to be made could not be cleared away.
            self.bring_up(
                replace(stack, parameters={**stack.parameters, _PROTECTION: off}), may_replace=may_replace
            )
            self.bring_up(stack, may_replace=may_replace)
            return "made"
        if found is not None and self._is_so(found, stack):
            return "unchanged"
        change_set = self._proposed(stack, exists=found is not None)
        if change_set is None:
            return "unchanged"
        try:
            _refuse(stack.name, change_set["Changes"], may_replace)
        except DeployError:
            self._formation.delete_change_set(ChangeSetName=change_set["ChangeSetId"])
            raise
        since = self._latest_event(stack.name)
        # What is kept when a stack is deleted is not kept when its first creation fails: the next try makes it again.
        self._formation.execute_change_set(
            ChangeSetName=change_set["ChangeSetId"], **({} if found else {"RetainExceptOnCreate": True})
        )
        status = self._wait(stack.name)
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise DeployError(f"Stack {stack.name}: {status}. {self._reasons(stack.name, since)}")
        return "made" if found is None else "changed"

    def take_down(self, name: str) -> bool:
        """Delete it and wait. Says whether there was one.

        Raises:
            DeployError: it cannot be deleted, with the resource's own reason.
        """
        found = self.find(name)
        if found is None:
            return False
        since = self._latest_event(name)
        self._formation.delete_stack(StackName=found["StackId"])
        status = self._wait(found["StackId"])
        if status != "DELETE_COMPLETE":
            raise DeployError(f"Stack {name}: {status}. {self._reasons(name, since)}")
        return True

    def _settled(self, name: str) -> Mapping[str, Any] | None:
        """The stack once nothing happens to it. One that was never made is cleared away."""
        found = self.find(name)
        if found is None:
            return None
        status = found["StackStatus"]
        if status in _NEVER_MADE:
            self.take_down(name)
            return None
        if status.endswith("_IN_PROGRESS"):
            self._wait(name)
            return self._settled(name)
        if status in STUCK:
            raise DeployError(
                f"Stack {name} is stuck: {status}. {self._reasons(name, None)} Mend that, then {way_out(name, status)}."
            )
        return found

    def _is_so(self, found: Mapping[str, Any], stack: Stack) -> bool:
        wanted = {
            name: stack.parameters.get(name, default) for name, default in _defaults(stack.template).items()
        }
        return self._body_of(stack.name) == stack.template and _parameters(found) == wanted

    def _body_of(self, name: str) -> str:
        told = self._formation.get_template(StackName=name, TemplateStage="Original")
        return str(told["TemplateBody"])

    def _proposed(self, stack: Stack, *, exists: bool) -> Mapping[str, Any] | None:
        """A change set that can be executed; None when it would change nothing."""
        name = f"deploy-{uuid.uuid4().hex[:12]}"
        made = self._formation.create_change_set(
            StackName=stack.name,
            ChangeSetName=name,
            ChangeSetType="UPDATE" if exists else "CREATE",
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in stack.parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": "product", "Value": "bevyly-agents"}, {"Key": "stage", "Value": stack.stage}],
            **self._body(stack),
            # What a stage that was destroyed left under a name of its own (log groups) belongs to it again.
            **({} if exists else {"ImportExistingResources": True}),
        )["Id"]
        told: dict[str, Any] = {}
        for _ in self._until_too_long(f"The change set of {stack.name} is not ready"):
            told = self._formation.describe_change_set(ChangeSetName=made, StackName=stack.name)
            if not told["Status"].endswith(("_IN_PROGRESS", "_PENDING")):
                break
        if told["Status"] == "CREATE_COMPLETE":
            changes = [
                each
                for page in self._formation.get_paginator("describe_change_set").paginate(
                    ChangeSetName=made, StackName=stack.name
                )
                for each in page.get("Changes", [])
            ]
            return {"ChangeSetId": made, "Changes": changes}
        self._formation.delete_change_set(ChangeSetName=made, StackName=stack.name)
        why = told.get("StatusReason", "")
        if any(words in why for words in _NOTHING_TO_DO):
            return None
        raise DeployError(f"CloudFormation does not take the template of {stack.name}: {why}")

    def _body(self, stack: Stack) -> dict[str, str]:
        if len(stack.template.encode()) <= LARGEST_BODY:
            return {"TemplateBody": stack.template}
        key = f"templates/{stack.name}.yaml"
        self.bucket.put(key, stack.template.encode())
        return {"TemplateURL": self.bucket.url(key)}

    def _wait(self, name: str) -> str:
        for _ in self._until_too_long(f"Stack {name} is not done"):
            try:
                (found,) = self._formation.describe_stacks(StackName=name)["Stacks"]
            except ClientError as error:
                if code_of(error) == "ValidationError":
                    return "DELETE_COMPLETE"
                raise
            if not found["StackStatus"].endswith("_IN_PROGRESS"):
                return str(found["StackStatus"])
        raise AssertionError("the loop above returns or raises")

    def _until_too_long(self, what: str) -> Iterator[None]:
        waited = 0.0
        while waited <= self.longest_seconds:
            yield
            self.pause(_EVERY)
            waited += _EVERY
        raise DeployError(
            f"{what} after {waited / 60:.0f} minutes. CloudFormation goes on; look there, then start this again."
        )

    def _latest_event(self, name: str) -> str | None:
        events = self._events(name)
        return next((str(each["EventId"]) for each in events), None)

    def _events(self, name: str) -> list[Mapping[str, Any]]:
        try:
            events: list[Mapping[str, Any]] = self._formation.describe_stack_events(StackName=name)[
                "StackEvents"
            ]
        except ClientError:
            return []
        return events

    def _reasons(self, name: str, since: str | None) -> str:
        """What the resources themselves say, the first that failed first."""
        found = []
        for each in self._events(name):
            if each["EventId"] == since:
                break
            reason = str(each.get("ResourceStatusReason", ""))
            if each["ResourceStatus"].endswith("_FAILED") and _CANCELLED not in reason:
                found.append(f"{each['LogicalResourceId']} ({each['ResourceType']}): {reason}")
        return " ".join(reversed(found)) or "Its events say no reason."

    @property
    def _formation(self) -> Any:
        return self.cloud.client("cloudformation")


@cache
def _defaults(template: str) -> Mapping[str, str]:
    """Of its parameters; empty where there is none."""
    return {name: str(said.get("Default", "")) for name, said in parse(template)["Parameters"].items()}


def _declared_or_default(stack: Stack, parameter: str) -> str:
    return stack.parameters.get(parameter, _defaults(stack.template).get(parameter, ""))


def losses(changes: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """Stateful resources that a change set would remove or replace, with what would happen to each."""
    found = {}
    for each in changes:
        change = each.get("ResourceChange", {})
        if change.get("ResourceType") not in STATEFUL | SERVING:
            continue
        if change["Action"] == "Remove":
            found[change["LogicalResourceId"]] = "would be removed"
        elif change["Action"] == "Modify" and change.get("Replacement") in {"True", "Conditional"}:
            certain = change["Replacement"] == "True"
            found[change["LogicalResourceId"]] = "would be replaced" if certain else "might be replaced"
    return found


def _refuse(name: str, changes: Collection[Mapping[str, Any]], may_replace: Collection[str]) -> None:
    lost = {logical: how for logical, how in losses(changes).items() if logical not in may_replace}
    if lost:
        said = ", ".join(f"{logical} {how}" for logical, how in lost.items())
        raise DeployError(
            f"Stack {name}: {said}, with what is in it. Nothing is changed. If that is meant: "
            f"MAY_REPLACE={','.join(lost)}."
        )


def _parameters(found: Mapping[str, Any]) -> dict[str, str]:
    return {each["ParameterKey"]: each.get("ParameterValue", "") for each in found.get("Parameters", [])}
