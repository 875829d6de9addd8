"""The one wrapper around every view: who is it, may they, what do they say, what is the answer.

A route states its permission or why it needs none, else it does not import. A signed-in route's handler runs
inside one Work, which is committed before the answer leaves. No exception gets past `answer`.
"""

import hashlib
import inspect
import ipaddress
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NewType, Protocol, TypeVar, get_type_hints

from chalice.app import Chalice, Response
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.alias_generators import to_camel
from sqlalchemy import insert, text

from chalicelib import tracing
from chalicelib.api.parsing import (
    Nothing,
    idempotency_key,
    json_body,
    path_value,
    query_of,
)
from chalicelib.api.problems import problem_of
from chalicelib.db.driver import defer
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import AppError, Conflict, Invalid, NotPermitted, NotSignedIn
from chalicelib.domain.ids import PREFIXES
from chalicelib.domain.ports import Issuer, Signals
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.services.integrations import Integrations

logger = logging.getLogger(__name__)

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Any])
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


# What a route needs


@dataclass(frozen=True, slots=True)
class Exempt:
    """No permission, and the reason why that is right."""

    kind: Literal["public", "signed_in", "signature"]
    reason: str


PUBLIC: Final = partial(Exempt, "public")
SIGNED_IN: Final = partial(Exempt, "signed_in")
SIGNATURE: Final = partial(Exempt, "signature")
"""The handler verifies the sender's signature itself; to the wrapper it is as public."""


class Identity(Protocol):
    """Who an access token speaks for."""

    @property
    def issuer(self) -> str: ...

    @property
    def subject(self) -> str: ...


class Verifier(Protocol):
    def verify(self, token: str) -> Identity:
        """Raises NotSignedIn for a token that does not count."""


class Context(Protocol):
    """What the wrapper and the routes without a Work need of the process's parts."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def verifier(self) -> Verifier: ...
    @property
    def issuer(self) -> Issuer: ...
    @property
    def signals(self) -> Signals: ...
    @property
    def integrations(self) -> "Integrations": ...


# What comes in


@dataclass(frozen=True, slots=True)
class Request:
    """What was sent. Header names are lower case; nothing has been checked yet."""

    method: str
    path: Mapping[str, str] = field(default_factory=dict)  # the template's parameters
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # tokens among them
    raw: bytes = field(default=b"", repr=False)  # keys and passwords among it
    source_ip: str = ""  # of whoever spoke to us: CloudFront's, where that stands before us
    request_id: str = field(default_factory=lambda: secrets.token_hex(12))

    @classmethod
    def of(cls, current: Any, path: Mapping[str, str]) -> "Request":
        """Chalice's request; it cannot fail, so that every failure has a request id to show."""
        headers = {str(name).lower(): str(value) for name, value in current.headers.items()}
        query = current.query_params
        return cls(
            method=current.method,
            path=dict(path),
            query={} if query is None else {name: query.getlist(name) for name in query},
            headers=headers,
            raw=_raw(current),
            source_ip=str((current.context.get("identity") or {}).get("sourceIp") or ""),
            request_id=_request_id(headers.get("x-request-id"), current.context.get("requestId")),
        )

    def cookie(self, name: str) -> str | None:
        """A cookie's value; None for one that is not there or not printable ASCII."""
        for pair in self.headers.get("cookie", "").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name and _PRINTABLE.fullmatch(value):
                return value
        return None

    def came_by_the_edge(self, edge_secrets: Sequence[str]) -> bool:
        """Whether CloudFront has sent it on, which adds a secret that only it and we know."""
        told = self.headers.get("x-bevyly-edge", "").encode()
        return any(secrets.compare_digest(told, each.encode()) for each in edge_secrets)

    def viewer_address(self, edge_secrets: Sequence[str]) -> str:
        """The address of the person's own machine, as far as it can be trusted.

        What CloudFront says counts only with the secret that CloudFront adds; else it is our caller's.
        """
        if not self.came_by_the_edge(edge_secrets):
            return self.source_ip
        viewer = self.headers.get("x-bevyly-viewer", "")
        if _is_address(viewer):
            return viewer
        # API Gateway appends its caller, CloudFront, to what CloudFront wrote; further left anybody wrote.
        hops = [hop.strip() for hop in self.headers.get("x-forwarded-for", "").split(",")]
        if len(hops) > 1 and hops[-1] == self.source_ip:
            hops.pop()
        return hops[-1] if _is_address(hops[-1]) else self.source_ip


def _raw(current: Any) -> bytes:
    try:
        raw = current.raw_body
    except ValueError:  # half a surrogate pair, or base64 that is none: no UTF-8 either way
        return b"\xff"
    return raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "surrogatepass")


def _request_id(sent: str | None, gateways: str | None) -> str:
    return next((name for name in (sent, gateways) if name and _SAFE.fullmatch(name)), secrets.token_hex(12))


_PRINTABLE: Final = re.compile(r"[\x21-\x7e]*")
_SAFE: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# What goes out


class Out(BaseModel):
    """What the API shows of something; built with our names, written with camelCase ones, times in UTC."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        frozen=True,
        validate_by_name=True,
        defer_build=True,  # at the first use: a cold start builds what its request needs
    )

    @field_validator("*", mode="after")
    @classmethod
    def _in_utc(cls, value: Any) -> Any:
        if type(value) is datetime:
            if value.tzinfo is None:
                raise ValueError("an instant without a zone")
            return value.astimezone(UTC)
        return value


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and where the next ones begin. `pages.Keyset.page` makes them."""

    items: Sequence[T]
    limit: int
    total: int
    next_cursor: str | None = None
    total_is_capped: bool = False  # there are more than `total`


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """Data with headers, or with another status than the route's."""

    data: T
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that is no JSON of ours, sent as it is."""

    body: str
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    status: int
    body: str
    headers: Mapping[str, str]


# Routes


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, what they need, and the function that answers."""

    method: Method
    path: str
    needs: Permission | Exempt
    summary: str
    status: int
    idempotent: bool
    raises: tuple[type[AppError], ...]  # beyond what the wrapper itself may answer, for the document
    consumes: str | None  # the media type of a body that the handler reads itself
    produces: str
    handler: Callable[..., Any]
    takes: frozenset[str]  # of work, actor, request, context
    path_kinds: Mapping[str, Any]
    body: type[BaseModel] | None
    body_optional: bool
    query: type[BaseModel] | None
    returns: Any

    @property
    def is_signed_in(self) -> bool:
        return isinstance(self.needs, Permission) or self.needs.kind == "signed_in"

    @property
    def tag(self) -> str:
        return self.handler.__module__.rpartition(".")[2]


ROUTES: Final[list[Route]] = []

_PLAIN: Final = frozenset({"work", "actor", "request", "context"})
_PARAMETER: Final = re.compile(r"{(\w+)}")


def route(
    method: Method,
    path: str,
    *,
    needs: Permission | Exempt,
    summary: str,
    status: int = 200,
    idempotent: bool = False,
    raises: tuple[type[AppError], ...] = (),
    consumes: str | None = None,
    produces: str = "application/json",
) -> Callable[[Handler], Handler]:
    """Declare a route. The handler's parameters say by their names what it wants.

    - `work: Work`: the signed-in person's transaction, committed after the handler returns
    - `actor: Actor`: instead, who it is; for handlers that open their own short transactions
    - a name of the path: a branded id, a StrEnum, or str
    - `body: SomeIn`, `query: SomeIn`; `body: SomeIn | None` may be left out
    - `request: Request`, `context: Context`

    Raises TypeError, at import, for a route that does not add up or lacks what it needs.
    """

    def declare(handler: Handler) -> Handler:
        shape = _Shape.of(handler)
        declared = Route(
            method=method,
            path=path,
            needs=needs,
            summary=summary,
            status=status,
            idempotent=idempotent,
            raises=raises,
            consumes=consumes,
            produces=produces,
            handler=handler,
            takes=frozenset(shape.plain),
            path_kinds=MappingProxyType(shape.path),
            body=shape.body,
            body_optional=shape.body_optional,
            query=shape.query,
            returns=shape.returns,
        )
        flaw = _flaw(declared)
        if flaw:
            raise TypeError(f"{method} {path}: {flaw}")
        ROUTES.append(declared)
        return handler

    return declare


@dataclass(slots=True)
class _Shape:
    """A handler's signature, read once."""

    returns: Any
    plain: set[str] = field(default_factory=set)
    path: dict[str, Any] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    body_optional: bool = False
    query: type[BaseModel] | None = None

    @classmethod
    def of(cls, handler: Callable[..., Any]) -> "_Shape":
        hints = get_type_hints(handler)
        shape = cls(returns=hints.get("return", inspect.Parameter.empty))
        for name in inspect.signature(handler).parameters:
            kind = hints.get(name)
            if name in _PLAIN:
                shape.plain.add(name)
            elif name == "body":
                options = getattr(kind, "__args__", (kind,))
                shape.body, shape.body_optional = options[0], len(options) > 1
            elif name == "query":
                shape.query = kind
            else:
                shape.path[name] = kind
        return shape


def _flaw(declared: Route) -> str | None:
    """Why this route may not exist, if so."""
    needs: object = declared.needs
    models: tuple[object, ...] = (declared.body, declared.query)
    signed_in_only = declared.takes & {"work", "actor"}
    flaws = {
        "it states no permission, nor PUBLIC, SIGNED_IN or SIGNATURE with a reason": not (
            isinstance(needs, Permission) or (isinstance(needs, Exempt) and needs.reason.strip())
        ),
        "it is declared twice": any(
            (other.method, other.path) == (declared.method, declared.path) for other in ROUTES
        ),
        "the path begins with /v1/ and has no slash at its end": not (
            declared.path.startswith("/v1/") and not declared.path.endswith("/")
        ),
        "the path's parameters are not the handler's": set(_PARAMETER.findall(declared.path))
        != set(declared.path_kinds),
        "a path parameter is no branded id, StrEnum or str": not all(
            map(_is_path_kind, declared.path_kinds.values())
        ),
        "the body or the query is no pydantic model": not all(
            model is None or (isinstance(model, type) and issubclass(model, BaseModel)) for model in models
        ),
        "it states no return type": declared.returns is inspect.Parameter.empty,
        "nobody is signed in, so there is no work and no actor": bool(signed_in_only)
        and isinstance(needs, Exempt)
        and needs.kind != "signed_in",
        "it takes work or actor, not both": signed_in_only == {"work", "actor"},
        "only a write inside a Work can be idempotent": declared.idempotent
        and (declared.method == "GET" or "work" not in declared.takes),
        "another route names the same place in the path differently": any(
            _clash(declared.path, other.path) for other in ROUTES
        ),
    }
    return next((flaw for flaw, holds in flaws.items() if holds), None)


def _is_path_kind(kind: Any) -> bool:
    if isinstance(kind, NewType):
        return kind.__name__ in PREFIXES
    return isinstance(kind, type) and issubclass(kind, str)


def _clash(one: str, other: str) -> bool:
    """API Gateway refuses /runs/{id} beside /runs/{run_id}/cancel."""
    for a, b in zip(one.split("/"), other.split("/"), strict=False):
        if a != b:
            return a.startswith("{") and b.startswith("{")
    return False


# Answering


def register(app: Chalice, routes: Iterable[Route], context: Context | None = None) -> None:
    """Give Chalice these routes. Content types are ours to judge.

    Without a context, requests are answered with the process's own.
    """
    for declared in routes:
        app.route(
            declared.path, methods=[declared.method], content_types=["*/*"], name=declared.handler.__name__
        )(_view(app, declared, context))


def _view(app: Chalice, declared: Route, context: Context | None) -> Callable[..., Response]:
    def view(**path: str) -> Response:
        told = answer(declared, Request.of(app.current_request, path), context)
        return Response(body=told.body, headers=dict(told.headers), status_code=told.status)

    return view


def answer(declared: Route, request: Request, context: Context | None = None) -> Answer:
    """The answer to a request, whatever happens. Without a context, the process's own."""
    with tracing.request(
        f"{declared.method} {declared.path}", request.headers.get("x-amzn-trace-id")
    ) as span:
        told = _answered(declared, request, context)
        span.annotations |= {"request_id": request.request_id, "status": told.status}
        span.failed = told.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return told


def _answered(declared: Route, request: Request, context: Context | None) -> Answer:
    try:
        told = _serve(declared, request, context or _own_context())
        code = None
    except Exception as error:  # noqa: BLE001 - the edge: what escapes here would be an answer of Chalice's
        problem = problem_of(error, request.request_id)
        told = Answer(problem.status, json.dumps(problem.body(request.request_id)), problem.headers)
        code = problem.code
    logger.info(
        "request answered",
        extra={
            "route": f"{declared.method} {declared.path}",
            "status": told.status,
            "code": code,
            "request_id": request.request_id,
        },
    )
    headers = {
        "Content-Type": "application/json",  # Chalice's local server knows this spelling only
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request.request_id,
    }
    return Answer(told.status, told.body, {**headers, **told.headers})


def _own_context() -> Context:
    from chalicelib.bootstrap import context  # noqa: PLC0415 - the settings are read with the first request

    return context()


def _serve(declared: Route, request: Request, context: Context) -> Answer:
    _must_come_by_the_edge(request, context.settings)
    with _entered(declared, request, context) as given:
        if "actor" not in declared.takes:
            return _respond(declared, request, context, given)
        actor = given["work"].actor
    return _respond(declared, request, context, {"actor": actor})


def _must_come_by_the_edge(request: Request, settings: Settings) -> None:
    """API Gateway has an address of its own, which no firewall at CloudFront guards."""
    if settings.edge_only and not request.came_by_the_edge(settings.edge_secrets):
        raise NotPermitted(
            f"This address is not the API's. Ask {settings.public_origin}{settings.api_prefix}.",
            code="not_by_the_edge",
        )


@contextmanager
def _entered(declared: Route, request: Request, context: Context) -> Iterator[dict[str, Any]]:
    """The person's transaction around a signed-in route, nothing around any other."""
    if not declared.is_signed_in:
        yield {}
        return
    token = _bearer(request)
    identity = context.verifier.verify(token)
    with context.database.begin(identity.issuer, identity.subject, request_id=request.request_id) as work:
        if isinstance(declared.needs, Permission):
            work.actor.need(declared.needs)
        yield {"work": work}


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotSignedIn("Sign in first: send the access token as Authorization: Bearer <token>.")
    return token.strip()


def _respond(declared: Route, request: Request, context: Context, given: Mapping[str, Any]) -> Answer:
    arguments = {**given, "request": request, "context": context, **_parsed(declared, request)}
    wanted = {*declared.takes, *declared.path_kinds, "body", "query"}
    call = partial(declared.handler, **{name: value for name, value in arguments.items() if name in wanted})
    if not declared.idempotent:
        return _with_etag(declared, request, _told(declared, call()))
    key = idempotency_key(request.headers)
    if key is None:
        return _told(declared, call())
    return _once(
        given["work"], _key_space(declared, request), key, request.raw, lambda: _told(declared, call())
    )


def _parsed(declared: Route, request: Request) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: path_value(kind, request.path[name]) for name, kind in declared.path_kinds.items()
    }
    query = query_of(declared.query or Nothing, request.query)
    if declared.query is not None:
        values["query"] = query
    if declared.body is not None:
        left_out = declared.body_optional and not request.raw
        content_type = request.headers.get("content-type")
        values["body"] = None if left_out else json_body(declared.body, request.raw, content_type)
    return values


# Telling


def _told(declared: Route, result: Any) -> Answer:
    """The handler's result as it is sent, but for the headers that every answer has."""
    status, headers = declared.status, {}
    if isinstance(result, Raw):
        return Answer(status, result.body, {**result.headers, "Content-Type": result.content_type})
    if isinstance(result, Reply):
        status, headers, result = result.status or status, dict(result.headers), result.data
    if status == HTTPStatus.NO_CONTENT:
        return Answer(status, "", headers)
    return Answer(status, _envelope(result), headers)


def _envelope(result: Any) -> str:
    if not isinstance(result, Page):
        return f'{{"success":true,"data":{_json(result)}}}'
    place: dict[str, Any] = {"limit": result.limit, "total": result.total}
    if result.total_is_capped:
        place["totalIsCapped"] = True
    place["nextCursor"] = result.next_cursor
    told = json.dumps(place, separators=(",", ":"))
    return f'{{"success":true,"data":{_json(result.items)},"pagination":{told}}}'


def _json(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, BaseModel):
        return value.model_dump_json(by_alias=True)
    return f"[{','.join(map(_json, value))}]"


def _with_etag(declared: Route, request: Request, told: Answer) -> Answer:
    if declared.method != "GET" or told.status != HTTPStatus.OK or not declared.is_signed_in:
        return told
    tag = f'"{hashlib.sha256(told.body.encode()).hexdigest()}"'
    headers = {"Cache-Control": "private, no-cache", **told.headers, "ETag": tag}
    known = {name.strip().removeprefix("W/") for name in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Answer(HTTPStatus.NOT_MODIFIED.value, "", headers)
    return Answer(told.status, told.body, headers)


# Repeated writes

BEGIN_IDEMPOTENT: Final = text("SELECT * FROM begin_idempotent(:user, :route, :key, :body)")


def _key_space(declared: Route, request: Request) -> str:
    return " ".join([declared.method, declared.path, *(request.path[name] for name in declared.path_kinds)])


def _once(work: Work, key_space: str, key: str, raw: bytes, tell: Callable[[], Answer]) -> Answer:
    """Do the work, or say again what it answered. The answer is kept by the transaction that did the work."""
    from chalicelib.db.models.edge import IdempotencyKey  # noqa: PLC0415 - no GET needs its tables

    assert work.actor.user_id is not None
    digest = hashlib.sha256(raw).digest()
    user_id = work.actor.user_id
    found = work.session.execute(
        BEGIN_IDEMPOTENT, {"user": user_id, "route": key_space, "key": key, "body": digest}
    ).one()
    if found.verdict == "replay":
        return Answer(found.status, found.answer, {"Idempotency-Replayed": "true"})
    if found.verdict == "mismatch":
        raise Invalid(
            "This Idempotency-Key was sent with another body before. Use a new key for a new request.",
            code="idempotency_mismatch",
            pointer="Idempotency-Key",
        )
    if found.verdict == "busy":
        raise Conflict(
            "The first request with this Idempotency-Key is still at work.",
            code="still_running",
            retry_after=timedelta(seconds=1),
        )
    told = tell()
    if 200 <= told.status < 300:  # noqa: PLR2004 - any success; 3.11 has no name for it
        kept = {
            "route": key_space,
            "key": key,
            "body_sha256": digest,
            "status": told.status,
            "answer": told.body,
        }
        defer(
            work.session,
            insert(IdempotencyKey).values(customer_id=work.actor.customer_id, user_id=user_id, **kept),
        )
    return told
