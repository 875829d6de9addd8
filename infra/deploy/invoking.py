"""A function of the stage called by hand, and its answer waited for."""

import json
from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from infra.deploy.cloud import Cloud, DeployError

ASLEEP: Final = frozenset({"Inactive", "Pending"})
"""After idle weeks Lambda takes a function's network away, refuses the next call, and gives it back meanwhile."""

_MOST_WORDS: Final = 1500


class NotHeardError(DeployError):
    """It could not be called, or nobody heard how it ended. `why` says it without the function's name."""

    def __init__(self, name: str, why: object) -> None:
        super().__init__(f"{name} could not be called, or nobody heard how it ended: {why}")
        self.why = str(why)


class FunctionFailedError(DeployError):
    """It raised. `why` is what it said."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} failed: {why}\nIts log: /aws/lambda/{name}.")
        self.why = why


def invoke(cloud: Cloud, name: str, event: Mapping[str, Any]) -> Any:
    """What the function answers. It is called once, and once more only where Lambda had not let it begin.

    Raises:
        NotHeardError: not called, or no answer.
        FunctionFailedError: it raised.
    """
    try:
        answer = _once_awake(cloud, name, json.dumps(event).encode())
        said = json.loads(answer["Payload"].read())
    except (BotoCoreError, ClientError, ValueError) as error:
        raise NotHeardError(name, error) from error
    if answer.get("FunctionError"):
        why = f"{said.get('errorType')}: {said.get('errorMessage')}" if isinstance(said, dict) else str(said)
        raise FunctionFailedError(name, why[:_MOST_WORDS])
    return said


def _once_awake(cloud: Cloud, name: str, payload: bytes) -> Mapping[str, Any]:
    client = cloud.client("lambda", patient=True)
    try:
        answer: Mapping[str, Any] = client.invoke(FunctionName=name, Payload=payload)
    except ClientError:
        if _state(cloud, name) not in ASLEEP:
            raise
    else:
        return answer
    try:
        cloud.client("lambda").get_waiter("function_active_v2").wait(FunctionName=name)
    except WaiterError as error:
        raise NotHeardError(name, f"it does not wake up: {error}") from error
    again: Mapping[str, Any] = client.invoke(FunctionName=name, Payload=payload)
    return again


def _state(cloud: Cloud, name: str) -> str:
    return str(cloud.client("lambda").get_function_configuration(FunctionName=name).get("State", ""))
