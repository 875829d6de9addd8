"""Moto as a whole AWS for a deploy, in a process of its own.

Where moto falls short it is patched here, and only here:

- CloudFormation: a change set is evaluated by infra/rendering.py (moto knows neither Fn::Cidr nor rules, and of a stack
  made by a change set it tells no outputs); the template and parameters that were sent are what is told afterwards.
  A VPC that it cannot delete in its own order is forgotten. A stack that is gone is described without making its resources
  again. The proxy's target comes up once the roles of its secrets can sign in. An export that another stack imports does not change.
- Types that moto does not know (RDS, Secrets Manager, Cognito, CloudFront, policies, alarms, …) are stand-ins: an id
  and attributes; secrets, user pools and their clients are real ones in moto, the database's address is loopback.
- Cognito: an account that is made gets a first password, which is mailed (`/harness/mail` tells it); RESEND gives another
  one, to who has never signed in, where moto would make a second account.
- API Gateway: ImportRestApi and PutRestApi take only OpenAPI 3 with a description; chalice sends Swagger 2. Replacing an
  API forgets its gateway responses, as AWS does and moto does not. UpdateRestApi knows minimumCompressionSize.
  Deployments keep their description.
- Lambda: Invoke runs the function's zip on the repository's emulator (moto would start Docker); GetAccountSettings is
  missing; a function's policy says nothing of a function that is gone. A function may be put to sleep, as after idle
  weeks. An event source mapping that was made or changed is `Creating` or `Updating` for two looks, and takes no change meanwhile, as in AWS.
- RDS: any version of the engine can be ordered.
- CloudWatch Logs: a group keeps the key that its stack says, and takes another one.
- S3: bucket policies are taken and not kept: ours refuses whoever comes without TLS, as everybody does here.
- CloudFront: CreateInvalidation of a stand-in's distribution is only recorded.

Besides there is what AWS has and moto has not: a public address (TLS, the API below /api as CloudFront and API Gateway
serve it). Every call is recorded, and any can be made to fail.

The issuer's keys are at AWS's own address, which the functions refuse to look for on this machine: a token is made and
not verified here.
"""

import argparse
import base64
import hashlib
import io
import json
import logging
import os
import re
import secrets
import signal
import ssl
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from moto.backends import get_backend
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.core.exceptions import JsonRESTError
from moto.ec2.exceptions import DependencyViolationError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection
from werkzeug.serving import make_server

from infra.emulator.function import Configuration, Function, unpack
from infra.rendering import STACKS, parse, render, template
from tests.infra import moto_stacks

formation: Any = import_module(
    "moto.cloudformation.models"
)  # they are changed below, so their types do not hold
formation_responses: Any = import_module("moto.cloudformation.responses").CloudFormationResponse
gateway: Any = import_module("moto.apigateway.models")
functions: Any = import_module("moto.awslambda.models")
cognito: Any = import_module("moto.cognitoidp.models")
logs: Any = import_module("moto.logs.models")
rds: Any = import_module("moto.rds.models")
logs_responses: Any = import_module("moto.logs.responses").LogsResponse

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-central-1"
MASTER_PASSWORD: Final = "master"
SITE: Final = next(path for path in map(Path, sys.path) if (path / "moto").is_dir())

StartResponse = Callable[..., Any]


class Calls:
    """What was asked, in order, and what shall fail."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._failing: dict[str, int] = {}

    def fail(self, pattern: str, after: int) -> None:
        """A call that matches is refused, once: the next one, or the one after so many."""
        self._failing[pattern] = after

    def forgive(self) -> None:
        self._failing.clear()

    def refused(self, name: str) -> bool:
        self.made.append(name)
        for pattern, after in list(self._failing.items()):
            if re.search(pattern, name):
                if after == 0:
                    del self._failing[pattern]
                    return True
                self._failing[pattern] = after - 1
        return False


CALLS: Final = Calls()
_TAKES_IN: Final[set[str]] = set()
"""Stacks whose change set asked for ImportExistingResources."""
_ASLEEP: Final[dict[str, Any]] = {}
"""Functions that nobody has called for weeks, by name."""
MAIL: Final[list[dict[str, str]]] = []
"""What Cognito has sent."""


class Recorded:
    """Moto's application, with an ear at its door."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._calls = CALLS

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/harness/"):
            return self._harness(path.rpartition("/")[2], environ, start)
        name = _name(environ)
        if self._calls.refused(name):
            return _refusal(name, start)
        answer: Iterable[bytes] = _in_motos_place(environ, start) or self._app(environ, start)
        return answer

    def _harness(self, verb: str, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if verb == "calls":
            made, self._calls.made = self._calls.made, []
            return _json(start, made)
        if verb == "sleep":
            name = environ["QUERY_STRING"]
            _ASLEEP[name] = _backend("lambda").get_function(name)
            _ASLEEP[name].state = "Inactive"
            return _json(start, {})
        if verb == "mail":
            return _json(start, MAIL)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self._calls.fail(environ["wsgi.input"].read(length).decode(), int(environ["QUERY_STRING"] or 0))
        return _json(start, {})


def _name(environ: dict[str, Any]) -> str:
    """`service Operation`, or `service METHOD /path`."""
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    service = scope[1] if scope else "nobody"
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return f"{service} {target.rpartition('.')[2]}"
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        said = parse_qs(body.decode())
        more = said.get("StackName", said.get("ChangeSetName", [""]))[0]
        if said.get("ImportExistingResources") == ["true"]:
            _TAKES_IN.add(more)
        return f"{service} {said['Action'][0]} {more}".rstrip()
    return f"{service} {environ['REQUEST_METHOD']} {environ['PATH_INFO']}"


def _in_motos_place(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes] | None:
    """The answer to what moto does not know; None for what it does."""
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    if asleep := _asleep(method, path):
        return _conflict(asleep, start)
    if method == "PUT" and environ["QUERY_STRING"] == "policy":
        start("204 No Content", [])
        return [b""]
    if path.startswith("/2016-08-19/account-settings"):
        return _json(start, {"AccountLimit": {"ConcurrentExecutions": 1000}, "AccountUsage": {}})
    if path.startswith("/2020-05-31/distribution/") and path.endswith("/invalidation"):
        start("201 Created", [("Content-Type", "text/xml")])
        return [b"<Invalidation><Id>I1</Id><Status>Completed</Status></Invalidation>"]
    return None


def _asleep(method: str, path: str) -> str:
    """The state of a function that cannot be called now, if it is called; a look at it lets time pass."""
    called = re.fullmatch(r"/2015-03-31/functions/([\w-]+)(/invocations|/configuration|)", path)
    if called is None or method == "DELETE":
        return ""
    function = _ASLEEP.get(called[1])
    if function is None:
        return ""
    state = str(function.state)
    if called[2] == "/invocations":
        function.state = "Pending"
        return state
    if called[2] == "" and state == "Pending":
        function.state = "Active"
        del _ASLEEP[called[1]]
    return ""


def _conflict(state: str, start: StartResponse) -> Iterable[bytes]:
    kind = "ResourceConflictException"
    start("409 Conflict", [("Content-Type", "application/json"), ("x-amzn-ErrorType", kind)])
    return [
        json.dumps({"__type": kind, "message": f"The function is currently in the state: {state}"}).encode()
    ]


def _refusal(name: str, start: StartResponse) -> Iterable[bytes]:
    service = name.partition(" ")[0]
    message = f"The test refuses {name}"
    if service in {"cloudformation", "iam", "sts"}:
        start("403 Forbidden", [("Content-Type", "text/xml")])
        error = f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>"
        return [f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>".encode()]
    if service in {"s3", "cloudfront"}:
        start("403 Forbidden", [("Content-Type", "text/xml")])
        return [f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>".encode()]
    kind = "AccessDeniedException"
    start("403 Forbidden", [("Content-Type", "application/json"), ("x-amzn-ErrorType", kind)])
    return [json.dumps({"__type": kind, "message": message}).encode()]


def _json(start: StartResponse, said: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]


# What moto does not know


class StandIn(CloudFormationModel):
    """A resource of which there is only an id and what others ask of it."""

    edge = ""  # the public address

    def __init__(self, physical_resource_id: str, attributes: Mapping[str, str]) -> None:
        self.physical_resource_id = physical_resource_id
        self._attributes = attributes

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        del attr
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        arn = f"arn:aws:stand-in:{REGION}:{ACCOUNT}:{self.physical_resource_id}"
        own = arn if attribute_name.endswith("Arn") else self.physical_resource_id
        return self._attributes.get(attribute_name, own)

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **kwargs: Any
    ) -> Any:
        del account_id, region_name
        logical = str(kwargs.get("LogicalId", ""))
        properties = cloudformation_json.get("Properties", {})
        return cls(*cls._made(resource_name, logical, properties))

    @classmethod
    def _made(cls, name: str, logical: str, properties: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """Its id and its attributes."""
        kind = cls.cloudformation_type()
        if kind == "AWS::SecretsManager::Secret":
            return _secret(f"{logical}-{name}"[:100], _text_of(properties, logical)), {}
        if kind == "AWS::RDS::DBCluster":
            master = json.dumps({"username": "bevyly_master", "password": MASTER_PASSWORD})
            arn = _secret("rds!master", master)
            return "cluster", {"Endpoint.Address": "127.0.0.1", "MasterUserSecret.SecretArn": arn}
        if kind == "AWS::Cognito::UserPool":
            pool = _backend("cognito-idp").create_user_pool(properties["UserPoolName"], dict(properties))
            return pool.id, {"Arn": pool.arn}
        if kind == "AWS::Cognito::UserPoolClient":
            client = _backend("cognito-idp").create_user_pool_client(
                properties["UserPoolId"], properties["GenerateSecret"], dict(properties)
            )
            return client.id, {"ClientSecret": client.secret}
        return {
            "AWS::RDS::DBProxy": ("proxy", {"Endpoint": "127.0.0.1"}),
            "AWS::CloudFront::Distribution": ("EDISTRIBUTION", {"DomainName": cls.edge}),
        }.get(kind, (name or logical.lower(), {}))

    @classmethod
    def update_from_cloudformation_json(cls, original_resource: Any, *_: Any, **__: Any) -> Any:
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name: str, *_: Any, **__: Any) -> None:
        """A secret goes with its stack; of anything else nothing is there."""
        secrets = _backend("secretsmanager").secrets
        if resource_name in secrets:
            secrets.pop(resource_name)

    def delete(self, *_: Any) -> None:
        """As above."""
        self.delete_from_cloudformation_json(self.physical_resource_id)

    def is_created(self) -> bool:
        return True


def stand_ins(edge: str) -> None:
    """A model for each type of our templates that moto has none for."""
    StandIn.edge = edge
    known = parsing.get_model_map()
    types = {each["Type"] for stack in STACKS for each in template(stack)["Resources"].values()}
    for kind in sorted(types - (known.keys() - moto_stacks.NO_AURORA)):
        named = {
            "cloudformation_type": staticmethod(lambda kind=kind: kind),
            "cloudformation_name_type": staticmethod(str),
        }
        known[kind] = type("Made", (StandIn,), {**named, "__module__": __name__})
    moto_stacks.NO_AURORA.clear()  # it has a stand-in


def _text_of(properties: Mapping[str, Any], logical: str) -> str:
    text = properties.get("SecretString")
    if text is not None:
        return str(text)
    generated = properties["GenerateSecretString"]
    said = json.loads(generated["SecretStringTemplate"])
    said[generated["GenerateStringKey"]] = hashlib.sha256(logical.encode()).hexdigest()[:32]
    return json.dumps(said)


def _secret(name: str, text: str) -> str:
    """One that is there already is kept, as a stack that is updated keeps it."""
    backend = _backend("secretsmanager")
    for each in backend.secrets.values():
        if each.name == name:
            return str(each.arn)
    secret, _ = backend._add_secret(name, secret_string=text)
    return str(secret.arn)


# CloudFormation


class _NoOutputs(dict[str, Any]):
    exports: tuple[Any, ...] = ()


class ChangeSets:
    """What CloudFormation's backend does of them, in our way."""

    def __init__(self, database_port: int) -> None:
        self._database_port = database_port
        self._sent: dict[str, tuple[str, Mapping[str, str]]] = {}  # by stack id
        self._propose = formation.CloudFormationBackend.create_change_set
        self._delete = formation.Stack.delete

    def patch(self) -> None:
        def as_method(ours: Callable[..., Any]) -> Callable[..., Any]:
            def method(its: Any, *given: Any, **said: Any) -> Any:  # a function, for only that is bound
                return ours(its, *given, **said)

            return method

        backend, stack = formation.CloudFormationBackend, formation.Stack
        backend.create_change_set = as_method(self._create)
        backend.execute_change_set = as_method(self._execute)
        backend.get_template = lambda its, name: self._template(its.get_stack(name))
        stack.parameter_list = property(self._parameters)
        stack.delete = as_method(self._forget)
        formation_responses._validate_different_update = lambda *_: None
        formation_responses.validate_template_and_stack_body = lambda *_: None

    def _create(self, backend: Any, **said: Any) -> tuple[str, str]:
        text, parameters = said["template"], said["parameters"]
        imports = {name: each.value for name, each in backend.exports.items()}
        body, left_out = moto_stacks.for_moto(render(parse(text), parameters, region=REGION), imports)
        assert not left_out, left_out
        body = body.replace('"RetainExceptOnCreate"', '"Retain"')  # moto keeps what has that word
        found: tuple[str, str] = self._propose(backend, **{**said, "template": body, "parameters": {}})
        change_set = backend.change_sets[found[0]]
        change_set.sent = (text, parameters)
        change_set.status = "CREATE_COMPLETE"
        return found

    def _execute(self, backend: Any, *, change_set_name: str, stack_name: str | None) -> None:
        del stack_name
        change_set = backend.change_sets[change_set_name]
        stack = backend.stacks[change_set.stack_id]
        if reason := self._fails(stack.name, change_set.sent):
            stack._add_stack_event("CREATE_FAILED", resource_status_reason=reason)
            stack.status = "ROLLBACK_COMPLETE"
            return
        if change_set.change_set_type == "CREATE":
            taken_in = _take_in_log_groups(*change_set.sent) if change_set.stack_name in _TAKES_IN else []
            del backend.stacks[change_set.stack_id]
            stack = backend.create_stack(change_set.stack_name, change_set.template, {}, tags=change_set.tags)
            for old in taken_in:
                group = _backend("logs").groups[old.name]
                group.retention_in_days, group.kms_key_id = old.retention_in_days, old.kms_key_id
        elif used := self._exports_in_use(backend, stack, change_set.sent):
            stack._add_stack_event("UPDATE_FAILED", resource_status_reason=used)
            stack.status = "UPDATE_ROLLBACK_COMPLETE"
            return
        else:
            for export in stack.exports:
                backend.exports.pop(export.name, None)
            stack.update(change_set.template, None, {})
            for export in stack.exports:
                backend.exports[export.name] = export
        change_set.stack_id = stack.stack_id
        self._sent[stack.stack_id] = change_set.sent

    def _fails(self, name: str, sent: tuple[str, Mapping[str, str]]) -> str:
        """Why the stack cannot be made; else nothing."""
        if CALLS.refused(f"resource of {name}"):
            return "The test lets it fail"
        text, given = sent
        if render(parse(text), given, region=REGION).of_type("AWS::RDS::DBProxyTargetGroup"):
            return _targets_do_not_come_up(self._database_port)
        return ""

    def _exports_in_use(self, backend: Any, stack: Any, sent: tuple[str, Mapping[str, str]]) -> str:
        """What AWS says of an export that would change while another stack imports it; else nothing."""
        before, after = (
            render(parse(text), given, region=REGION).outputs
            for text, given in (self._sent[stack.stack_id], sent)
        )
        for name, output in before.items():
            export = output.get("Export", {}).get("Name", "")
            users = [
                other.name
                for other in backend.stacks.values()
                if other.status != "DELETE_COMPLETE" and other is not stack and self._imports(other, export)
            ]
            if users and (name not in after or after[name]["Value"] != output["Value"]):
                return f"Cannot update export {export} as it is in use by {', '.join(users)}"
        return ""

    def _imports(self, stack: Any, export: str) -> bool:
        text, given = self._sent.get(stack.stack_id, ("", {}))
        return bool(text) and f"<import:{export}>" in json.dumps(
            render(parse(text), given, region=REGION).resources
        )

    def _template(self, stack: Any) -> Any:
        return self._sent[stack.stack_id][0] if stack.stack_id in self._sent else stack.template

    def _parameters(self, stack: Any) -> list[dict[str, str]]:
        text, given = self._sent.get(stack.stack_id, ("", {}))
        values = {
            name: str(given.get(name, said.get("Default", ""))) for name, said in _declared(text).items()
        }
        return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]

    def _forget(self, stack: Any) -> None:
        try:
            self._delete(stack)
        except DependencyViolationError:
            stack.status = "DELETE_COMPLETE"
        stack.output_map = _NoOutputs()


def _targets_do_not_come_up(port: int) -> str:
    """RDS Proxy signs in with each of its secrets before its target is healthy, for which CloudFormation waits."""
    for logical in ("AppSecret", "SystemSecret"):
        (secret,) = [each for each in _backend("secretsmanager").secrets.values() if logical in each.name]
        login = json.loads(secret.secret_string)
        try:
            Connection(
                login["username"], host="127.0.0.1", port=port, database="bevyly", password=login["password"]
            ).close()
        except DatabaseError as error:
            return f"Timed out waiting for target group to become available. ({login['username']}: {error})"
    return ""


def _take_in_log_groups(text: str, given: Mapping[str, str]) -> list[Any]:
    """Those that are there under the template's own literal names belong to the new stack: moto would make them anew.

    Returns them, for they stay as they were.
    """
    groups = _backend("logs").groups
    plain = {
        each["Properties"]["LogGroupName"]
        for each in parse(text)["Resources"].values()
        if each["Type"] == "AWS::Logs::LogGroup"
        and each.get("DeletionPolicy") in {"Retain", "RetainExceptOnCreate"}
    }
    living = render(parse(text), given, region=REGION).of_type("AWS::Logs::LogGroup").values()
    names = [each["Properties"]["LogGroupName"] for each in living]
    return [groups.pop(name) for name in names if name in plain and name in groups]


@cache
def _declared(text: str) -> Mapping[str, Any]:
    return dict(parse(text)["Parameters"]) if text else {}


# RDS


def patch_rds() -> None:
    """Every version is to be had."""

    def options(_its: Any, engine: str, engine_version: str) -> list[dict[str, str]]:
        return [{"Engine": engine, "EngineVersion": engine_version, "DBInstanceClass": "db.serverless"}]

    rds.RDSBackend.describe_orderable_db_instance_options = options


# CloudWatch Logs


def patch_logs() -> None:
    group = logs.LogGroup
    make = group.__init__

    def made(its: Any, *given: Any, **said: Any) -> None:
        make(its, *given, **said)
        its.kms_key_id = its.kms_key_id or said.get("KmsKeyId")  # as CloudFormation spells it

    def associate_kms_key(its: Any) -> str:
        found = its.logs_backend.groups[its._get_param("logGroupName")]
        found.kms_key_id = its._get_param("kmsKeyId")
        return ""

    group.__init__ = made
    logs_responses.associate_kms_key = associate_kms_key


# Cognito


def patch_cognito() -> None:
    make = cognito.CognitoIdpBackend.admin_create_user

    def admin_create_user(its: Any, pool: str, name: str, action: str, *rest: Any) -> Any:
        password = f"First-{secrets.token_urlsafe(9)}-1"
        _, attributes = rest  # nobody here says a password
        if action == "RESEND":
            user = its.admin_get_user(pool, name)
            if user.status != cognito.UserStatus.FORCE_CHANGE_PASSWORD:
                raise JsonRESTError("UnsupportedUserStateException", "This one has signed in")
            user.password = password
        else:
            user = make(its, pool, name, action, password, attributes)
        MAIL.append({"to": name, "password": password})
        return user

    cognito.CognitoIdpBackend.admin_create_user = admin_create_user


# API Gateway


def patch_api_gateway() -> None:
    backend = gateway.APIGatewayBackend
    take, put = backend.import_rest_api, backend.put_rest_api

    def as_three(said: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in said.items() if key != "swagger"}
        return {**rest, "openapi": "3.0.1", "info": {"description": "", **said["info"]}}

    def put_rest_api(its: Any, function_id: str, api_doc: dict[str, Any], **said: Any) -> Any:
        if said.get("mode") == "overwrite":
            its.get_rest_api(function_id).gateway_responses.clear()
        return put(its, function_id, as_three(api_doc), **said)

    patched = gateway.RestAPI.apply_patch_operations

    def apply_patch_operations(its: Any, operations: list[dict[str, Any]]) -> None:
        patched(its, operations)
        for each in operations:
            if (each["op"], each["path"]) == ("replace", "/minimumCompressionSize"):
                its.minimum_compression_size = int(each["value"]) if each.get("value") else None

    gateway.RestAPI.apply_patch_operations = apply_patch_operations
    backend.import_rest_api = lambda its, api_doc, *said: take(its, as_three(api_doc), *said)
    backend.put_rest_api = put_rest_api


# Lambda


class Emulated:
    """Runs functions' zips, unpacked once each."""

    def __init__(self, database_port: int) -> None:
        self._port = database_port
        self._folder = tempfile.TemporaryDirectory(prefix="bevyly-functions-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._unpacking = threading.Lock()
        self._running: dict[str, Any] = {}  # warm, by what they are
        self.endpoint = ""

    def invoke(self, function: Any, event: Any) -> tuple[bytes, str | None]:
        """The answer's body, and what kind of error it is."""
        environ = {
            key: value.replace(":5432/", f":{self._port}/")
            for key, value in (function.environment_vars or {}).items()
        }
        environ |= {"DATABASE_PORT": str(self._port), "AWS_ENDPOINT_URL": self.endpoint}
        configuration = Configuration(
            function.handler, function.function_name, timedelta(seconds=60), function.memory_size, environ
        )
        log = Path(self._folder.name) / f"{function.function_name}.log"
        package = self._unpacked(function)
        with self._lock:
            running = self._running.get(key := f"{package} {configuration}")
            if running is None:
                running = Function(package, configuration, log_file=log, site=SITE)
                self._running[key] = running.__enter__()
            answer = running.invoke(event)
        if answer.ok:
            return json.dumps(answer.payload).encode(), None
        said = {"errorType": answer.error_type, "errorMessage": answer.error}
        return json.dumps(said).encode(), "Unhandled"

    def _unpacked(self, function: Any) -> Path:
        digest = hashlib.sha256(function.code_bytes).hexdigest()[:20]
        place = Path(self._folder.name) / digest
        with self._unpacking:
            if not place.exists():
                packed = place.with_suffix(".zip")
                packed.write_bytes(function.code_bytes)
                place.mkdir()
                unpack(packed, place)
        return place


def patch_lambda(emulated: Emulated) -> None:
    def invoke(function: Any, body: Any, _headers: Any, response_headers: Any) -> bytes:
        text = body.decode() if isinstance(body, bytes) else body
        answer, error = emulated.invoke(function, json.loads(text or "{}"))
        if error:
            response_headers["x-amz-function-error"] = error
        return answer

    functions.LambdaFunction.invoke = invoke


UNSETTLED: Final = 3  # the answer to the change itself, and two looks


def patch_event_source_mappings() -> None:
    """`moving`: what state one is in, and how often it is still told."""
    backend, mapping = functions.LambdaBackend, functions.EventSourceMapping
    tell, make, change = (
        mapping.get_configuration,
        backend.create_event_source_mapping,
        backend.update_event_source_mapping,
    )

    def told(its: Any) -> Any:
        state, left = getattr(its, "moving", ("", 0))
        its.moving = (state, left - 1)
        return {**tell(its), "State": state} if left > 0 else tell(its)

    def made(its: Any, spec: Any) -> Any:
        found = make(its, spec)
        found.moving = ("Creating", UNSETTLED)
        return found

    def changed(its: Any, uuid: str, spec: Any) -> Any:
        found = its.get_event_source_mapping(uuid)
        if found is not None and found.moving[1] > 0:
            raise MappingInUseError
        found = change(its, uuid, spec)
        if found is not None:
            found.moving = ("Updating" if found.enabled else "Disabling", UNSETTLED)
        return found

    mapping.get_configuration = told
    backend.create_event_source_mapping = made
    backend.update_event_source_mapping = changed


class MappingInUseError(JsonRESTError):
    """As Lambda words it; chalice knows it by these words, and tries again."""

    def __init__(self) -> None:
        message = "Cannot update the event source mapping because it is in use."
        super().__init__("ResourceInUseException", message)


# The public address


class Edge(BaseHTTPRequestHandler):
    """CloudFront and API Gateway: below /api what the stage serves, else the console's bucket."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET", None)

    def do_POST(self) -> None:
        self._serve("POST", self.rfile.read(int(self.headers["Content-Length"])).decode())

    def _serve(self, method: str, sent: str | None) -> None:
        api = _api_behind_the_edge()
        if CALLS.refused(f"edge {method} {self.path}"):
            self._say(503, b"the test says no", "text/plain")
            return
        if not self.path.startswith("/api/") or api is None:
            self._say(404, b"<html>nothing here</html>", "text/html")
            return
        path = self.path.removeprefix("/api").partition("?")[0]
        resource = api.get_resource_for_path(path)
        if resource is None or method not in resource.resource_methods or "api" not in api.stages:
            self._gateway_response(api, "MISSING_AUTHENTICATION_TOKEN")
            return
        uri = resource.resource_methods[method].method_integration.uri
        name = re.search(r":function:([^/:]+)/", uri)
        assert name is not None, uri
        answer, error = _invoke(name[1], self._event(method, path, resource.get_path(), sent))
        said = {} if error else json.loads(answer)
        if "statusCode" not in said:
            self._say(502, b'{"message": "Internal server error"}', "application/json")
            return
        body = said["body"].encode()
        self._say(said["statusCode"], base64.b64decode(body) if said.get("isBase64Encoded") else body)

    def _event(self, method: str, path: str, resource: str, sent: str | None) -> dict[str, Any]:
        headers = {"accept": "application/json", "x-bevyly-edge": _edge_secret()}
        if sent is not None:
            headers["content-type"] = self.headers["Content-Type"]
        return {
            "resource": resource,
            "path": path,
            "httpMethod": method,
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "stageVariables": None,
            "requestContext": {
                "httpMethod": method,
                "resourcePath": resource,
                "path": f"/api{path}",
                "stage": "api",
                "requestId": "request-1",
                "identity": {"sourceIp": "127.0.0.1"},
            },
            "body": sent,
            "isBase64Encoded": False,
        }

    def _gateway_response(self, api: Any, kind: str) -> None:
        found = api.gateway_responses.get(kind)
        if found is None:
            self._say(403, b'{"message":"Missing Authentication Token"}')
            return
        body = found.response_templates["application/json"].replace("$context.requestId", "request-1")
        self._say(int(found.status_code), body.encode())

    def _say(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing on the terminal."""


def _backend(service: Any) -> Any:
    found: Any = get_backend(service)
    return found[ACCOUNT][REGION]


def _edge() -> Mapping[str, str]:
    """What the stack `edge` was given."""
    for stack in _backend("cloudformation").stacks.values():
        if stack.name.endswith("-edge"):
            return {each["ParameterKey"]: each["ParameterValue"] for each in stack.parameter_list}
    return {}


def _api_behind_the_edge() -> Any:
    return _backend("apigateway").apis.get(_edge().get("ApiId"))


def _edge_secret() -> str:
    """What CloudFront sends: the version of the secret that the stack names."""
    version = _edge()["EdgeSecretVersion"]
    (secret,) = [each for each in _backend("secretsmanager").secrets.values() if "EdgeSecret" in each.name]
    return str(json.loads(secret.versions[version]["secret_string"])["value"])


def _invoke(name: str, event: Any) -> tuple[bytes, str | None]:
    headers: dict[str, str] = {}
    answer = _backend("lambda").get_function(name).invoke(json.dumps(event), {}, headers)
    return answer, headers.get("x-amz-function-error")


def serve(database_port: int, certificate: Path) -> None:
    """Until SIGTERM; prints its addresses once it answers."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    edge = ThreadingHTTPServer(("127.0.0.1", 0), Edge)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    edge.socket = context.wrap_socket(edge.socket, server_side=True)
    address = f"127.0.0.1:{edge.server_address[1]}"
    emulated = Emulated(database_port)
    stand_ins(address)
    ChangeSets(database_port).patch()
    patch_api_gateway()
    patch_lambda(emulated)
    patch_cognito()
    patch_logs()
    patch_rds()
    patch_event_source_mappings()
    app = Recorded(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    emulated.endpoint = f"http://127.0.0.1:{server.port}"
    for each in (edge, server):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"aws": emulated.endpoint, "edge": f"https://{address}"}) + "\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-port", type=int, required=True)
    parser.add_argument(
        "--certificate", type=Path, required=True, help="with its key, for the public address"
    )
    given = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    serve(given.database_port, given.certificate)
