"""The stage's bucket: what is deployed, how far a deploy has come, who deploys, and the last releases' packages.

No secret is ever put there.
"""

import getpass
import json
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.deploy.cloud import Cloud, DeployError, code_of

LOCK: Final = "lock.json"
_GONE: Final = frozenset({"NoSuchKey", "NoSuchBucket", "404"})
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
FORMER_VERSIONS_DAYS: Final = 90


def now() -> str:
    """An instant in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251 - this machine's, told to people


@dataclass(frozen=True, slots=True)
class Bucket:
    """Objects by key. Reading from a bucket that does not exist yet finds nothing."""

    cloud: Cloud

    @property
    def name(self) -> str:
        return self.cloud.bucket_name

    def ensure(self) -> bool:
        """Make it when it is missing: private, by TLS only, with former versions. Says whether it was made."""
        s3 = self._s3
        try:
            s3.head_bucket(Bucket=self.name)
        except ClientError as error:
            if code_of(error) not in _GONE:
                raise DeployError(
                    f"The bucket {self.name} cannot be used ({code_of(error)}): it is somebody else's, or these "
                    "credentials may not."
                ) from error
        else:
            return False
        where = (
            {}
            if self.cloud.region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": self.cloud.region}}
        )
        s3.create_bucket(Bucket=self.name, **where)
        s3.put_public_access_block(
            Bucket=self.name,
            PublicAccessBlockConfiguration=dict.fromkeys(
                ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
            ),
        )
        s3.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_lifecycle_configuration(
            Bucket=self.name,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "ID": "former-versions",
                        "Status": "Enabled",
                        "Filter": {"Prefix": ""},
                        "NoncurrentVersionExpiration": {"NoncurrentDays": FORMER_VERSIONS_DAYS},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                    }
                ]
            },
        )
        s3.put_bucket_policy(Bucket=self.name, Policy=json.dumps(_tls_only(self.name)))
        return True

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(self._s3.get_object(Bucket=self.name, Key=key)["Body"].read())
        except ClientError as error:
            if code_of(error) in _GONE:
                return None
            raise

    def get_json(self, key: str) -> Any:
        """What the JSON there says; None without it."""
        body = self.get(key)
        return None if body is None else json.loads(body)

    def put(self, key: str, body: bytes) -> bool:
        """Write it unless it is there with the same bytes. Says whether it wrote."""
        if self.get(key) == body:
            return False
        self._s3.put_object(Bucket=self.name, Key=key, Body=body)
        return True

    def put_json(self, key: str, said: Any) -> bool:
        return self.put(key, (json.dumps(said, indent=2, sort_keys=True) + "\n").encode())

    def has(self, key: str) -> bool:
        try:
            self._s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if code_of(error) in _GONE:
                return False
            raise
        return True

    def put_file(self, key: str, path: Path) -> bool:
        """Upload a file under a key that says what is in it. Says whether it was missing."""
        if self.has(key):
            return False
        self._s3.upload_file(str(path), self.name, key)
        return True

    def get_file(self, key: str, path: Path) -> None:
        """Raises DeployError when it is not there."""
        body = self.get(key)
        if body is None:
            raise DeployError(f"s3://{self.name}/{key} is gone, so this release cannot be made again.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._s3.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str) -> Iterator[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        for page in pages:
            for each in page.get("Contents", []):
                yield each["Key"]

    def url(self, key: str) -> str:
        """As CloudFormation takes it."""
        return f"https://{self.name}.s3.{self.cloud.region}.amazonaws.com/{key}"

    @property
    def _s3(self) -> Any:
        return self.cloud.client("s3")


def _tls_only(name: str) -> Mapping[str, Any]:
    arn = f"arn:aws:s3:::{name}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


# Who deploys


class Lock:
    """Held by one deploy, rollback or destroy of the stage at a time."""

    def __init__(self, bucket: Bucket, said: Mapping[str, str]) -> None:
        self._bucket = bucket
        self._said = said

    def check(self) -> None:
        """Raises DeployError when somebody took over."""
        there = self._bucket.get_json(LOCK)
        if there is None or there["token"] != self._said["token"]:
            who = "nobody" if there is None else told(there)
            raise DeployError(f"The lock is no longer ours, but {who}'s. Nothing more is done here.")


def told(lock: Mapping[str, str]) -> str:
    """Who holds a lock, in words."""
    return f"{lock['owner']} ({lock['verb']}, since {lock['taken']})"


def holder(bucket: Bucket) -> Mapping[str, str] | None:
    """Who holds the lock now."""
    found: Mapping[str, str] | None = bucket.get_json(LOCK)
    return found


@contextmanager
def locked(bucket: Bucket, verb: str, *, take_over: bool = False) -> Iterator[Lock]:
    """Hold the stage's lock for the block.

    Raises:
        DeployError: somebody else holds it, and `take_over` was not said.
    """
    said = {
        "owner": f"{getpass.getuser()}@{socket.gethostname()}",
        "taken": now(),
        "token": uuid.uuid4().hex,
        "verb": verb,
    }
    _take(bucket, said, take_over=take_over)
    try:
        yield Lock(bucket, said)
    finally:
        there = bucket.get_json(LOCK)
        if there is not None and there["token"] == said["token"]:
            bucket.delete(LOCK)


def _take(bucket: Bucket, said: Mapping[str, str], *, take_over: bool) -> None:
    s3, body = bucket.cloud.client("s3"), json.dumps(said).encode()
    try:
        s3.put_object(Bucket=bucket.name, Key=LOCK, Body=body, IfNoneMatch="*")
    except ClientError as error:
        if code_of(error) not in _TAKEN:
            raise
        there = bucket.get_json(LOCK)
        if there is not None and not take_over:
            raise DeployError(held_by(there)) from None
        s3.put_object(Bucket=bucket.name, Key=LOCK, Body=body)


def held_by(lock: Mapping[str, str]) -> str:
    """Why nothing can be done now, and what to do."""
    return f"The stage is locked by {told(lock)}. Wait for it; if that one is surely dead, take it over: TAKE_OVER=yes."
