"""One stage in one account and region, and the clients to speak to it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

APP: Final = "bevyly-agents"
"""The name in .chalice/config.json; functions' names begin with it."""


class DeployError(RuntimeError):
    """The deploy stops. The message says why and what to do."""


@dataclass(frozen=True)
class Cloud:
    """Everything of ours in AWS has the stage in its name."""

    stage: str
    session: boto3.session.Session = field(default_factory=boto3.session.Session)
    _clients: dict[tuple[str, str, str], Any] = field(default_factory=dict, repr=False)

    def client(self, service: str, *, patient: bool = False, region: str | None = None) -> Any:
        """A client; a patient one waits a quarter of an hour for an answer, and asks only once.

        `region`: another one than the stage's.
        """
        key = (service, "patient" if patient else "", region or "")
        if key not in self._clients:
            config = (
                Config(read_timeout=910, tcp_keepalive=True, retries={"total_max_attempts": 1})
                if patient
                else Config(retries={"mode": "standard", "total_max_attempts": 6})
            )
            self._clients[key] = self.session.client(service, config=config, region_name=region)
        return self._clients[key]

    @property
    def region(self) -> str:
        """Raises DeployError when nobody says which."""
        if self.session.region_name is None:
            raise DeployError(
                "No region is chosen. Set AWS_DEFAULT_REGION, or AWS_PROFILE to a profile that has one."
            )
        return str(self.session.region_name)

    @cached_property
    def account(self) -> str:
        """Raises DeployError without working credentials."""
        _ = self.region
        try:
            return str(self.client("sts").get_caller_identity()["Account"])
        except (BotoCoreError, ClientError) as error:
            raise DeployError(
                f"AWS does not know who asks: {error}. Sign in (`aws sso login`), or set AWS_PROFILE."
            ) from error

    @property
    def bucket_name(self) -> str:
        return f"bevyly-{self.stage}-deploy-{self.account}-{self.region}"

    def stack_name(self, stack: str) -> str:
        return f"bevyly-{self.stage}-{stack}"

    @property
    def functions_prefix(self) -> str:
        """The API handler's name in AWS; the others' begin with it and a hyphen."""
        return f"{APP}-{self.stage}"


def code_of(error: ClientError) -> str:
    """AWS's own word for what is wrong, such as `NoSuchKey`."""
    return str(error.response["Error"]["Code"])
