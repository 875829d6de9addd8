"""AWS clients, made when they are first needed: importing boto3 takes half a second."""

from functools import cache
from threading import Lock
from typing import Any

from chalicelib.settings import Settings

_making = Lock()


def client(name: str, settings: Settings, *, hurried: bool = False) -> Any:
    """The service's client, the same one each time. 2 s to connect, 5 s to answer, two retries.

    A hurried one tries once and takes 2 s in all: for what must not hold its caller up.
    """
    with _making:  # a boto3 session is not safe to share while it makes a client
        return _client(name, settings.aws_region, settings.aws_endpoint_url, hurried)


@cache
def _client(name: str, region: str, endpoint_url: str | None, hurried: bool) -> Any:  # noqa: FBT001 - a key
    import boto3  # noqa: PLC0415 - 0.5 s, which only a function that calls AWS should pay
    from botocore.config import Config  # noqa: PLC0415 - as above

    config = (
        Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 1})
        if hurried
        else Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    )
    session = boto3.session.Session(region_name=region)
    return session.client(name, endpoint_url=endpoint_url, config=config)
