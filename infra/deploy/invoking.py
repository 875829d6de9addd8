"""One invocation of a function, waited for, and what it said."""

import json
from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy.cloud import Cloud, DeployError, code_of

ASLEEP: Final = frozenset({"ResourceNotReadyException", "ResourceConflictException"})
"""What Lambda says of a function in a VPC that nobody called for weeks, and of one that is being woken."""
_MOST_WORDS: Final = 1500


def invoke(cloud: Cloud, name: str, event: Mapping[str, Any]) -> Any:
    """What the function of this name in AWS answers. One that is asleep is waited for, and asked once more.

    Raises:
        DeployError: it could not be invoked, nobody heard how it ended, or it failed.
    """
    try:
        try:
            answer = _asked(cloud, name, event)
        except ClientError as error:
            if code_of(error) not in ASLEEP:
                raise
            cloud.client("lambda").get_waiter("function_active_v2").wait(FunctionName=name)
            answer = _asked(cloud, name, event)
        said: Any = json.loads(answer["Payload"].read())
    except (BotoCoreError, ClientError, ValueError) as error:
        raise DeployError(f"{name} could not be invoked, or nobody heard how it ended: {error}") from error
    if answer.get("FunctionError"):
        why = f"{said.get('errorType')}: {said.get('errorMessage')}" if isinstance(said, dict) else str(said)
        raise DeployError(f"{name} failed: {why[:_MOST_WORDS]}\nIts log: /aws/lambda/{name}.")
    return said


def _asked(cloud: Cloud, name: str, event: Mapping[str, Any]) -> Any:
    return cloud.client("lambda", patient=True).invoke(FunctionName=name, Payload=json.dumps(event).encode())
