"""Migrations inside the VPC: a function of the release's own package that is made, run once, and shown.

It is not one of chalice's, so it can have the new code while all others still have the old.
"""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from infra.deploy.bucket import Bucket
from infra.deploy.cloud import DeployError
from infra.deploy.existing import function
from infra.deploy.invoking import FunctionFailedError, NotHeardError, invoke
from infra.package.target import RUNTIME

HANDLER: Final = "migrations.function.handler"
TIMEOUT: Final = 900  # seconds, the most a function gets
MEMORY: Final = 1024
AUTHORITIES: Final = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
"""Amazon RDS's certificate authorities; they are not among those that systems know."""


@dataclass(frozen=True, slots=True)
class Package:
    """Where the release's zip is."""

    key: str  # in the stage's bucket
    sha256: str  # in hexadecimal
    architecture: str


def authorities(path: Path | None) -> str:
    """In PEM, from a file or from AWS.

    Raises:
        DeployError: neither has them.
    """
    try:
        text = (
            path.read_text()
            if path is not None
            else httpx.get(AUTHORITIES, timeout=30).raise_for_status().text
        )
        ssl.create_default_context(cadata=text)
    except (OSError, httpx.HTTPError, ssl.SSLError) as error:
        raise DeployError(
            f"The database's certificate authorities cannot be read from {path or AUTHORITIES}: {error}. "
            "Download them somewhere and say DATABASE_CA=that-file."
        ) from error
    return text


def bring_up(bucket: Bucket, package: Package, outputs: Mapping[str, str]) -> bool:
    """Make the function, or give it this package. Says whether anything was to do."""
    cloud = bucket.cloud
    client, name = cloud.client("lambda"), _name(bucket)
    wanted = {
        "Handler": HANDLER,
        "Runtime": RUNTIME,
        "Role": outputs["MigrateRoleArn"],
        "Timeout": TIMEOUT,
        "MemorySize": MEMORY,
    }
    environment = {
        "DATABASE_HOST": outputs["ClusterEndpoint"],
        "DATABASE_NAME": outputs["DatabaseName"],
        "MASTER_SECRET": outputs["MasterSecretArn"],
        "OWNER_SECRET": outputs["OwnerSecretArn"],
        "APP_SECRET": outputs["AppSecretArn"],
        "SYSTEM_SECRET": outputs["SystemSecretArn"],
    }
    vpc = {
        "SubnetIds": outputs["SubnetIds"].split(","),
        "SecurityGroupIds": [outputs["MigrationSecurityGroupId"]],
    }
    code = {"S3Bucket": bucket.name, "S3Key": package.key}
    rest = {"Environment": {"Variables": environment}, "VpcConfig": vpc}
    there = function(cloud, name)
    if there is None:
        client.create_function(
            FunctionName=name,
            Code=code,
            Architectures=[package.architecture],
            Tags={"product": "bevyly-agents", "stage": cloud.stage},
            **wanted,
            **rest,
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        return True
    changed = False
    if there["CodeSha256"] != base64.b64encode(bytes.fromhex(package.sha256)).decode():
        client.update_function_code(FunctionName=name, Architectures=[package.architecture], **code)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        changed = True
    found_vpc = there.get("VpcConfig") or {}
    same = (
        all(there[key] == value for key, value in wanted.items())
        and (there.get("Environment") or {}).get("Variables") == environment
        and all(set(found_vpc.get(key, [])) == set(ids) for key, ids in vpc.items())
    )
    if not same:
        client.update_function_configuration(FunctionName=name, **wanted, **rest)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        changed = True
    return changed


def run(bucket: Bucket, pem: str) -> Mapping[str, Any]:
    """Migrate. Returns what the function says.

    Raises:
        DeployError: it failed; the old code still serves.
    """
    name = _name(bucket)
    try:
        said: Mapping[str, Any] = invoke(bucket.cloud, name, {"certificateAuthorities": pem})
    except NotHeardError as error:
        raise DeployError(
            f"The migration could not be started, or nobody heard how it ended: {error.why}"
        ) from error
    except FunctionFailedError as error:
        raise DeployError(
            f"The migration failed: {error.why}\nThe old code still serves. Its log: /aws/lambda/{name}."
        ) from error
    return said


def take_down(bucket: Bucket) -> bool:
    """Delete the function. Says whether there was one."""
    if function(bucket.cloud, _name(bucket)) is None:
        return False
    bucket.cloud.client("lambda").delete_function(FunctionName=_name(bucket))
    return True


def _name(bucket: Bucket) -> str:
    return f"{bucket.cloud.functions_prefix}-migrate"
