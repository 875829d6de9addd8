"""Moto with an ear at its door: which function asked AWS for what, as IAM would name it.

A function signs with an access key id of its own, which the request's Authorization header carries
(`Credential=<key id>/<date>/<region>/<service>/aws4_request`). Roles are told in the same words.
"""

import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from chalicelib.settings import Queues
from infra import checks
from infra.checks import Installation
from infra.functions import Function, words

Grants = set[tuple[str, str]]  # an action, and the output of the stacks that names what it is for

QUEUES: Final = {name: f"{words(field)}QueueArn" for field, name in asdict(Queues.from_environ({})).items()}
BUSES: Final = {"bevyly": "BusArn"}
ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "kms:ReEncrypt": ("kms:ReEncryptFrom", "kms:ReEncryptTo"),
    "sqs:SendMessageBatch": ("sqs:SendMessage",),
}
"""Operations that IAM calls by another name than the API."""


@dataclass
class Heard:
    """What was asked so far, by each key id."""

    app: Any
    address: str = ""
    asked: dict[str, Grants] = field(default_factory=dict)
    conditions: set[tuple[str, ...]] = field(default_factory=set)  # what the roles' conditions look at

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        scope = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        if scope:  # who may sign in is asked by nobody in particular, and IAM is not asked about it
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            self.asked.setdefault(scope[1], set()).update(_grants(scope[2], environ, body))
            self.conditions.update(_conditions(scope[2], body))
        answer: Iterable[bytes] = self.app(environ, start)
        return answer


def _grants(service: str, environ: Mapping[str, Any], body: bytes) -> Grants:
    """Of one request. What is in another protocol than those we speak has a name that no role has."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target is None:
        return {(f"{service}:{environ['REQUEST_METHOD']} {environ['PATH_INFO']}", "")}
    operation = f"{service}:{target.rpartition('.')[2]}"
    said = json.loads(body)
    return {
        (action, resource)
        for action in ACTIONS.get(operation, (operation,))
        for resource in _resources(action, said)
    }


def _resources(action: str, said: Mapping[str, Any]) -> set[str]:
    """All keys are the vault's: while it has two, the same statements name both (test_templates.py)."""
    if action.startswith("kms:"):
        return {"VaultKeyArn"}
    if action == "events:PutEvents":
        return {
            BUSES.get(bus, bus) for bus in {each.get("EventBusName", "default") for each in said["Entries"]}
        }
    name = said.get("QueueName") or said.get("QueueUrl", "").rpartition("/")[2]
    return {QUEUES.get(name, name)}


def _conditions(service: str, body: bytes) -> Iterator[tuple[str, ...]]:
    """`kms:EncryptionContextKeys` and `events:source` of a request that has them."""
    if service == "kms":
        yield from (
            tuple(sorted(value))
            for key, value in json.loads(body).items()
            if key.endswith("EncryptionContext")
        )
    if service == "events":
        yield from ((each["Source"],) for each in json.loads(body).get("Entries", []))


@contextmanager
def heard() -> Iterator[Heard]:
    """An empty AWS on loopback."""
    ear = Heard(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, ear, threaded=True, request_handler=MotoRequestHandler)
    ear.address = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield ear
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# What a role allows


def allowed(made: Installation, function: Function) -> Grants:
    """By the role's own policies, and by those of the stack that are attached to it."""
    resources = made.stacks["functions"].resources
    attached = resources[f"{function.words}Role"]["Properties"]["ManagedPolicyArns"]
    statements = [
        statement
        for name in attached
        for statement in resources[name.strip("<>")]["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    general = {(action, each["Resource"]) for each in statements for action in each["Action"]}
    return checks.grants(made, function) | general


def used_by_lambda(function: Function, *, traced: bool) -> Grants:
    """What no code of a function asks for, and its role allows all the same."""
    used = {
        # Lambda writes what the function prints.
        ("logs:CreateLogStream", f"<{function.words}Logs.Arn>"),
        ("logs:PutLogEvents", f"<{function.words}Logs.Arn>"),
        # Lambda puts the function into the VPC; its code is denied them.
        *((f"ec2:{action}", "*") for action in IN_A_VPC),
    }
    if function.queue is not None:  # the event source mapping polls as the function
        used |= {(action, f"{words(function.queue)}QueueArn") for action in checks.POLLED_BY_LAMBDA}
    if traced:  # X-Ray's daemon sends what it gets by UDP
        used |= {("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*")}
    return used


IN_A_VPC: Final = (
    "CreateNetworkInterface",
    "DeleteNetworkInterface",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
)
