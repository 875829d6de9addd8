"""What is stored: encrypted, and not lost by one click."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from infra.checks.made import Installation, Problems, listed, true

BACKUP_DAYS: Final = 7


def encrypted_at_rest(made: Installation) -> Problems:
    wanted: Mapping[str, str] = {
        "AWS::Logs::LogGroup": "KmsKeyId",
        "AWS::RDS::DBCluster": "KmsKeyId",
        "AWS::S3::Bucket": "BucketEncryption",
        "AWS::SNS::Topic": "KmsMasterKeyId",
        "AWS::SecretsManager::Secret": "KmsKeyId",
    }
    for kind, key in wanted.items():
        for name, properties in made.each(kind):
            if key not in properties and not name.endswith(".FlowLogs"):  # refused connections, no content
                yield f"{name} has no {key}"
    yield from _without_leave_to_use_the_key(made)
    for name, properties in made.each("AWS::RDS::DBCluster"):
        if not true(properties.get("StorageEncrypted")):
            yield f"{name} is not encrypted"
    for name, properties in made.each("AWS::SQS::Queue"):
        if not (true(properties.get("SqsManagedSseEnabled")) or "KmsMasterKeyId" in properties):
            yield f"{name} is not encrypted"
    for name, properties in made.each("AWS::KMS::Key"):
        if not true(properties.get("EnableKeyRotation")):
            yield f"{name} is not rotated"


def _without_leave_to_use_the_key(made: Installation) -> Problems:
    """Log groups that CloudWatch could not make, since the key's policy does not name them."""
    policy = made.stacks["data"].resources["DataKey"]["Properties"]["KeyPolicy"]["Statement"]
    condition = "kms:EncryptionContext:aws:logs:arn"
    allowed = [
        pattern
        for statement in policy
        for pattern in listed(statement.get("Condition", {}).get("ArnLike", {}).get(condition, []))
    ]
    for name, properties in made.each("AWS::Logs::LogGroup"):
        ends = [pattern.partition(":log-group:")[2] for pattern in allowed]
        if "KmsKeyId" in properties and not any(fnmatchcase(properties["LogGroupName"], end) for end in ends):
            yield f"{name}: the key's policy does not let CloudWatch encrypt {properties['LogGroupName']}"


def what_must_not_be_lost_is_kept(made: Installation) -> Problems:
    """In prod one zone, one click and one bad week may be lost besides."""
    yield from _kept_when_its_stack_is_deleted(made)
    if made.stage == "prod":
        yield from _protected(made)


def _kept_when_its_stack_is_deleted(made: Installation) -> Problems:
    wanted = {
        "AWS::RDS::DBCluster": "Snapshot",
        "AWS::KMS::Key": "Retain",
        "AWS::Cognito::UserPool": "Retain",
    }
    for stack, rendered in made.stacks.items():
        for kind, policy in wanted.items():
            for name, resource in rendered.of_type(kind).items():
                for key in ("DeletionPolicy", "UpdateReplacePolicy"):
                    if resource.get(key) != policy:
                        yield f"{stack}.{name}: {key} is not {policy}"


def _protected(made: Installation) -> Problems:
    for name, properties in made.each("AWS::RDS::DBCluster"):
        if not true(properties.get("DeletionProtection")):
            yield f"{name} is not protected from deletion"
        if int(properties.get("BackupRetentionPeriod", 0)) < BACKUP_DAYS:
            yield f"{name} keeps backups for less than {BACKUP_DAYS} days"
    for name, properties in made.each("AWS::Cognito::UserPool"):
        if properties.get("DeletionProtection") != "ACTIVE":
            yield f"{name} is not protected from deletion"
    for kind in ("AWS::RDS::DBInstance", "AWS::EC2::NatGateway"):
        if len(list(made.each(kind))) == 1:
            yield f"the only {kind} is in one zone"
