"""AWS on this machine: moto's server in a process of its own, and what the stack needs in it.

Its token signing key ships inside moto: nothing outside this machine may trust it. It forgets everything
when it ends; the database is what lasts.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from local.people import Person

REGION = "eu-central-1"
CREDENTIALS: Mapping[str, str] = MappingProxyType(
    {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
)
STABLE_IDS: Mapping[str, str] = MappingProxyType(
    {
        "MOTO_COGNITO_IDP_USER_POOL_ID_STRATEGY": "HASH",
        "MOTO_COGNITO_IDP_USER_POOL_CLIENT_ID_STRATEGY": "HASH",
    }
)

SUBSCRIBER_QUEUE = "bevyly-subscriber"  # an example of somebody who listens to the bus
RECEIVES_BEFORE_DEAD = 5


@dataclass(frozen=True, slots=True)
class QueueNames:
    """The names that the settings give."""

    runs: str
    runs_dead: str
    relay: str
    effects: str
    events: str


@dataclass(frozen=True, slots=True)
class Cloud:
    """What exists in it, by the addresses that settings and tests need."""

    endpoint: str
    pool_id: str
    client_id: str
    issuer: str
    jwks_url: str
    key_id: str
    subscriber_queue_url: str
    subjects: Mapping[str, str]  # e-mail to Cognito's `sub`, new at each start


class Aws:
    """The stack's hands in the server at `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        import boto3  # noqa: PLC0415 - a quarter of a second that the other steps need not wait for

        self.endpoint = endpoint
        self._session = boto3.session.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self.endpoint)

    def prepare(self, queues: QueueNames, bus: str, people: Sequence[Person]) -> Cloud:
        """Make the queues, the bus and its subscriber, a key, and the pool with its people."""
        subscriber, inbound = self._make_queues(queues)
        self._make_bus(bus, {"subscriber": subscriber["arn"], "agents": inbound["arn"]})
        key_id = self._make_key()
        pool_id, client_id, subjects = self._make_pool(people)
        return Cloud(
            endpoint=self.endpoint,
            pool_id=pool_id,
            client_id=client_id,
            issuer=f"https://cognito-idp.{REGION}.amazonaws.com/{pool_id}",
            jwks_url=f"{self.endpoint}/{pool_id}/.well-known/jwks.json",
            key_id=key_id,
            subscriber_queue_url=subscriber["url"],
            subjects=subjects,
        )

    def _make_queues(self, names: QueueNames) -> tuple[dict[str, str], dict[str, str]]:
        sqs = self.client("sqs")

        def make(name: str, visibility: int, **attributes: str) -> dict[str, str]:
            wanted = {"VisibilityTimeout": str(visibility), **attributes}
            url = sqs.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"]
            said = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            return {"url": url, "arn": said["Attributes"]["QueueArn"]}

        dead = make(names.runs_dead, 120)
        redrive = json.dumps({"deadLetterTargetArn": dead["arn"], "maxReceiveCount": RECEIVES_BEFORE_DEAD})
        # Longer than a slice and its end: a message is not handed out again while somebody works on it.
        make(names.runs, 330, RedrivePolicy=redrive)
        make(names.relay, 120)
        make(names.effects, 120)
        return make(SUBSCRIBER_QUEUE, 30), make(names.events, 120)

    def _make_bus(self, bus: str, listeners: Mapping[str, str]) -> None:
        events = self.client("events")
        events.create_event_bus(Name=bus)
        pattern = json.dumps({"source": [{"prefix": ""}]})
        events.put_rule(Name="everything", EventBusName=bus, EventPattern=pattern, State="ENABLED")
        events.put_targets(
            Rule="everything",
            EventBusName=bus,
            Targets=[{"Id": name, "Arn": arn} for name, arn in listeners.items()],
        )

    def _make_key(self) -> str:
        kms = self.client("kms")
        key_id = str(
            kms.create_key(Description="Wraps the data keys of tenants' credentials")["KeyMetadata"]["KeyId"]
        )
        kms.create_alias(AliasName="alias/bevyly", TargetKeyId=key_id)
        return key_id

    def _make_pool(self, people: Sequence[Person]) -> tuple[str, str, dict[str, str]]:
        cognito = self.client("cognito-idp")
        pool = cognito.create_user_pool(
            PoolName="bevyly",
            UsernameAttributes=["email"],
            AutoVerifiedAttributes=["email"],
            AdminCreateUserConfig={"AllowAdminCreateUserOnly": True},
        )
        pool_id = pool["UserPool"]["Id"]
        client = cognito.create_user_pool_client(
            UserPoolId=pool_id,
            ClientName="console",
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            AccessTokenValidity=15,
            TokenValidityUnits={"AccessToken": "minutes"},
            PreventUserExistenceErrors="ENABLED",
        )
        subjects = {}
        for person in people:
            made = cognito.admin_create_user(
                UserPoolId=pool_id,
                Username=person.email,
                MessageAction="SUPPRESS",
                UserAttributes=[
                    {"Name": "email", "Value": person.email},
                    {"Name": "email_verified", "Value": "true"},
                ],
            )
            attributes = {a["Name"]: a["Value"] for a in made["User"]["Attributes"]}
            subjects[person.email] = attributes["sub"]
            cognito.admin_set_user_password(
                UserPoolId=pool_id, Username=person.email, Password=person.password, Permanent=True
            )
        return pool_id, client["UserPoolClient"]["ClientId"], subjects


def serve(port: int) -> None:
    """Run moto's server on loopback until SIGTERM; prints its address once it answers."""
    os.environ.update({**STABLE_IDS, **CREDENTIALS})  # noqa: TID251 - moto reads them, in this process only
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - moto reads the environment when imported

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a poll otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, actual = server.get_host_and_port()
    print(json.dumps({"url": f"http://{host}:{actual}"}), flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    sys.stdout.flush()
    os._exit(0)  # its threads wait for polls to end


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m local.aws")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    serve(given.port)
