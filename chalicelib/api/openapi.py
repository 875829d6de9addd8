"""The API's description, OpenAPI 3.1, out of the declared routes and their models.

`python -m chalicelib.api.openapi [--check] docs/openapi.json` writes the file, or says whether it is current.
"""

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, NewType, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from chalicelib.api import routes as nouns
from chalicelib.api.http import Page, Raw, Reply, Route
from chalicelib.api.parsing import INT32, LONGEST_SEGMENT
from chalicelib.api.problems import status_of
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import (
    AppError,
    Conflict,
    Invalid,
    Malformed,
    NotFound,
    NotPermitted,
    NotSignedIn,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from chalicelib.domain.ids import PREFIXES

SERVER: Final = "/api"
_MODELS: Final = "#/components/schemas/{model}"
_EXAMPLE_ID: Final = "0" + "1234567890abcdefghjkmnpqr"

Way = Literal["validation", "serialization"]
_Key = tuple[str, Way]

_PROBLEM: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message", "requestId"],
            "properties": {
                "code": {"type": "string", "description": "What programs act on."},
                "message": {"type": "string", "description": "What a person may be shown."},
                "details": {
                    "type": "object",
                    "properties": {
                        "pointer": {
                            "type": "string",
                            "description": "Where: a JSON pointer into the body, or a parameter's name.",
                        }
                    },
                },
                "requestId": {"type": "string"},
            },
        },
    },
}
_PAGINATION: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["limit", "total", "nextCursor"],
    "properties": {
        "limit": {"type": "integer"},
        "total": {"type": "integer", "description": "Exact up to 10,000."},
        "totalIsCapped": {"type": "boolean", "description": "There are more than `total`."},
        "nextCursor": {
            "type": ["string", "null"],
            "description": "`cursor` of the next page; null at the end.",
        },
    },
}


_WORDS: Final[Mapping[int, str]] = {  # the standard library's differ between versions of Python
    400: "The body cannot be read",
    401: "Nobody is signed in",
    403: "Not permitted",
    404: "No such thing here",
    409: "The state has moved on",
    413: "The body is too large",
    415: "The body is of another type",
    422: "Something given breaks a rule",
    429: "Too many",
    502: "A provider failed",
    503: "Out or busy just now",
}


class _Schemas(GenerateJsonSchema):
    """As pydantic writes them; a plain integer that comes in has the bounds that `In` gives it."""

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        written = super().int_schema(schema)
        if self.mode == "validation" and not written.keys() & {"minimum", "exclusiveMinimum"}:
            written["minimum"] = -INT32
        if self.mode == "validation" and not written.keys() & {"maximum", "exclusiveMaximum"}:
            written["maximum"] = INT32
        return written


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The description of these routes; the same ones give the same document, in any order."""
    routes = sorted(routes, key=lambda declared: (declared.path, declared.method))
    schemas, models = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for declared in routes:
        paths.setdefault(declared.path, {})[declared.method.lower()] = _operation(declared, schemas, models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bevyly Agents",
            "version": "1",
            "description": "AI agents for a sales team: runs, approvals, and what comes of them.",
        },
        "servers": [{"url": SERVER}],
        "tags": [{"name": tag} for tag in sorted({declared.tag for declared in routes})],
        "paths": paths,
        "components": {
            "schemas": {**dict(sorted(models.items())), "Problem": _PROBLEM, "Pagination": _PAGINATION},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[dict[_Key, Any], dict[str, Any]]:
    """Schemas by what they describe, and the models that they refer to."""
    inputs: list[tuple[str, Way, TypeAdapter[Any]]] = []
    for declared in routes:
        for part, kind in (("body", declared.body), ("query", declared.query)):
            if kind is not None:
                inputs.append((_name(declared, part), "validation", TypeAdapter(kind)))
        data = _data(declared.returns)
        if data is not Raw:
            inputs.append((_name(declared, "data"), "serialization", TypeAdapter(data)))
    by_key, shared = TypeAdapter.json_schemas(inputs, ref_template=_MODELS, schema_generator=_Schemas)
    return dict(by_key), dict(shared.get("$defs", {}))


def _name(declared: Route, part: str) -> str:
    return f"{part} {declared.method} {declared.path}"


def _data(returns: Any) -> Any:
    """What stands under `data`: the return type without what carries it."""
    origin = get_origin(returns)
    if origin is Reply:
        return _data(get_args(returns)[0])
    if origin is Page:
        return list[get_args(returns)[0]]  # type: ignore[misc]  # built while running
    return returns


def _operation(declared: Route, schemas: Mapping[_Key, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{to_camel(declared.tag)}_{to_camel(declared.handler.__name__)}",
        "tags": [declared.tag],
        "summary": declared.summary,
    }
    if declared.handler.__doc__:
        operation["description"] = inspect.cleandoc(declared.handler.__doc__)
    if isinstance(declared.needs, Permission):
        operation["x-permission"] = declared.needs.value
    else:
        operation["x-open"] = {"kind": declared.needs.kind, "reason": declared.needs.reason}
    operation["security"] = [{"bearer": []}] if declared.is_signed_in else []
    parameters = [*_path_parameters(declared), *_query_parameters(declared, schemas, models)]
    parameters += _header_parameters(declared)
    if parameters:
        operation["parameters"] = parameters
    body = _request_body(declared, schemas)
    if body:
        operation["requestBody"] = body
    operation["responses"] = _responses(declared, schemas)
    return operation


def _path_parameters(declared: Route) -> Iterator[dict[str, Any]]:
    for name, kind in declared.path_kinds.items():
        yield {"name": name, "in": "path", "required": True, "schema": _segment(kind)}


def _segment(kind: Any) -> dict[str, Any]:
    if isinstance(kind, NewType):
        prefix = PREFIXES[kind.__name__]
        return {
            "type": "string",
            "pattern": f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$",
            "examples": [f"{prefix}_{_EXAMPLE_ID}"],
        }
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [member.value for member in kind]}
    return {"type": "string", "minLength": 1, "maxLength": LONGEST_SEGMENT}


def _query_parameters(
    declared: Route, schemas: Mapping[_Key, Any], models: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    if declared.query is None:
        return
    schema = _resolved(schemas[_name(declared, "query"), "validation"], models)
    for name, given in schema.get("properties", {}).items():
        written = {key: value for key, value in given.items() if key not in {"title", "description"}}
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": _without_null(written)}
        if name in schema.get("required", []):
            parameter["required"] = True
        if parameter["schema"].get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        if "description" in given:
            parameter["description"] = given["description"]
        yield parameter


def _resolved(schema: Mapping[str, Any], models: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    found: Mapping[str, Any] = models[reference.rpartition("/")[2]] if reference else schema
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out, never null."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if schema.get("default", ...) is None:
        schema.pop("default")
    if len(options) != 1:
        return schema
    del schema["anyOf"]
    return {**options[0], **schema}


def _header_parameters(declared: Route) -> Iterator[dict[str, Any]]:
    if declared.idempotent:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Sent again within 24 hours, with the same body, it gets the same answer.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[\x20-\x7e]+$"},
        }
    if declared.method == "GET" and declared.is_signed_in:
        yield {
            "name": "If-None-Match",
            "in": "header",
            "description": "The ETag of an answer one has; 304 while it is current.",
            "schema": {"type": "string"},
        }


def _request_body(declared: Route, schemas: Mapping[_Key, Any]) -> dict[str, Any] | None:
    if declared.consumes is not None:
        return {"required": True, "content": {declared.consumes: {"schema": {"type": "string"}}}}
    if declared.body is None:
        return None
    schema = schemas[_name(declared, "body"), "validation"]
    return {"required": not declared.body_optional, "content": {"application/json": {"schema": schema}}}


def _responses(declared: Route, schemas: Mapping[_Key, Any]) -> dict[str, Any]:
    responses = {str(declared.status): _success(declared, schemas)}
    if declared.method == "GET" and declared.is_signed_in:
        responses["304"] = {"description": "What you have is current."}
    for status, kinds in sorted(_by_status(_refusals(declared)).items()):
        codes = ", ".join(sorted({f"`{kind.code}`" for kind in kinds}))
        responses[str(status)] = _problem(f"{_WORDS.get(status, 'Failed')}: {codes}")
    responses["default"] = _problem("Any other failure")
    return responses


def _success(declared: Route, schemas: Mapping[_Key, Any]) -> dict[str, Any]:
    description = HTTPStatus(declared.status).phrase
    if _data(declared.returns) is Raw:
        return {"description": description, "content": {declared.produces: {"schema": {}}}}
    if declared.status == HTTPStatus.NO_CONTENT:
        return {"description": description}
    envelope: dict[str, Any] = {
        "type": "object",
        "required": ["success", "data"],
        "properties": {
            "success": {"const": True},
            "data": schemas[_name(declared, "data"), "serialization"],
        },
    }
    if get_origin(declared.returns) is Page:
        envelope["required"].append("pagination")
        envelope["properties"]["pagination"] = {"$ref": _MODELS.format(model="Pagination")}
    return {"description": description, "content": {"application/json": {"schema": envelope}}}


def _refusals(declared: Route) -> Iterator[type[AppError]]:
    """What the wrapper itself may answer, and what the route says that it adds."""
    yield Invalid
    yield Unavailable
    if declared.is_signed_in:
        yield NotSignedIn
    if isinstance(declared.needs, Permission):
        yield NotPermitted
    if declared.path_kinds:
        yield NotFound
    if declared.body is not None or declared.consumes is not None:
        yield from (Malformed, TooLarge, UnsupportedMediaType)
    if declared.idempotent:
        yield Conflict
    yield from declared.raises


def _by_status(kinds: Iterable[type[AppError]]) -> dict[int, set[type[AppError]]]:
    found: dict[int, set[type[AppError]]] = {}
    for kind in kinds:
        found.setdefault(status_of(kind), set()).add(kind)
    return found


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": _MODELS.format(model="Problem")}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def text_of(described: Mapping[str, Any]) -> str:
    """As the committed file has it."""
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the file, or with --check say whether it is current. The exit status."""
    check = "--check" in arguments
    places = [Path(argument) for argument in arguments if not argument.startswith("-")]
    if len(places) != 1:
        sys.stderr.write("usage: python -m chalicelib.api.openapi [--check] docs/openapi.json\n")
        return 2
    current = text_of(document(nouns.declared()))
    if not check:
        places[0].write_text(current)
        return 0
    if places[0].exists() and places[0].read_text() == current:
        return 0
    sys.stderr.write(
        f"{places[0]} is not current. Write it with: python -m chalicelib.api.openapi {places[0]}\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
