"""Log groups as the living stacks say, also those that a destroyed stage left and a new one took in as they were.

CloudFormation sets nothing right when it imports: what was kept longer, or with the key of before, stays so.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from infra.deploy.cloud import Cloud
from infra.deploy.stacks import Stacks
from infra.rendering import STACKS, parse, render


@dataclass(frozen=True, slots=True)
class Group:
    """A log group as it is to be."""

    days: int
    key: str | None  # of KMS; None: CloudWatch's own


def wanted(cloud: Cloud, stacks: Stacks, data_key: str) -> list[dict[str, Group]]:
    """Of each stack, by name, as it was sent. Every group that is encrypted has the data key."""
    found = []
    for stack in STACKS:
        sent = stacks.sent(cloud.stack_name(stack))
        if sent is not None:
            living = render(parse(sent[0]), sent[1]).of_type("AWS::Logs::LogGroup").values()
            said = [each["Properties"] for each in living]
            found.append(
                {
                    each["LogGroupName"]: Group(
                        int(each["RetentionInDays"]), data_key if "KmsKeyId" in each else None
                    )
                    for each in said
                }
            )
    return [groups for groups in found if groups]


def set_right(cloud: Cloud, groups: Mapping[str, Group], tell: Callable[[str], None]) -> Iterator[str]:
    """Those that keep for another time, or with another key. What is not there is a problem, in a sentence.

    Entries of before stay encrypted with the key of before, so that has to stay while they are kept.
    """
    client = cloud.client("logs")
    prefix = commonprefix([*groups])  # noqa: RUF071 - of names, not of a path
    pages = client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
    there: dict[str, Mapping[str, Any]] = {
        each["logGroupName"]: each for page in pages for each in page["logGroups"]
    }
    others = []
    for name, group in sorted(groups.items()):
        found = there.get(name)
        if found is None:
            yield f"log group {name} is not there"
            continue
        days = found.get("retentionInDays")
        if days != group.days:
            client.put_retention_policy(logGroupName=name, retentionInDays=group.days)
            tell(f"log group {name} keeps for {group.days} days now, and kept {days or 'for ever'}")
        if group.key is not None and found.get("kmsKeyId") != group.key:
            client.associate_kms_key(logGroupName=name, kmsKeyId=group.key)
            others.append(name)
    if others:
        tell(
            f"{len(others)} log groups, {others[0]} first, are encrypted with the data key of now; what was in them "
            "stays encrypted with the one of before"
        )
