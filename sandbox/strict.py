"""Which JSON schemas OpenAI takes as strict, and its words about those that it does not take."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str, ...]

NOT_PERMITTED: Final = (
    *("oneOf", "allOf", "not", "if", "then", "else", "default"),
    *("dependentRequired", "dependentSchemas", "patternProperties", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems", "minProperties", "maxProperties"),
    *("contains", "minContains", "maxContains", "uniqueItems", "prefixItems"),
)
SAYS_ITS_TYPE: Final = ("type", "anyOf", "$ref", "enum", "const")
MOST_LEVELS: Final = 10
MOST_PROPERTIES: Final = 5_000
MOST_ENUM_VALUES: Final = 1_000


def strict_fault(schema: Mapping[str, Any]) -> str | None:
    """Why OpenAI would not take the schema, or None."""
    return next(_faults(schema), None)


def _faults(root: Mapping[str, Any]) -> Iterator[str]:
    kind = root.get("type")
    if "$ref" not in root and (kind != "object" or "anyOf" in root):
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    places = list(_walk(root, (), 0))
    for path, schema, level in places:
        if level > MOST_LEVELS:
            yield f"In context={path}, the schema exceeds {MOST_LEVELS} levels of nesting."
        yield from (f"In context={path}, {why}" for why in _faults_of_one(schema))
    if sum(len(_properties(schema)) for _, schema, _ in places) > MOST_PROPERTIES:
        yield f"the schema exceeds {MOST_PROPERTIES} object properties in total."
    if sum(len(schema.get("enum", ())) for _, schema, _ in places) > MOST_ENUM_VALUES:
        yield f"the schema exceeds {MOST_ENUM_VALUES} enum values in total."


def _walk(schema: Any, path: Path, level: int) -> Iterator[tuple[Path, Mapping[str, Any], int]]:
    if not isinstance(schema, Mapping):
        return
    yield path, schema, level
    inner = level + (schema.get("type") in {"object", "array"} if isinstance(schema.get("type"), str) else 0)
    for name, one in _properties(schema).items():
        yield from _walk(one, (*path, "properties", name), inner)
    for name, one in schema.get("$defs", {}).items():
        yield from _walk(one, (*path, "$defs", name), 0)
    for place, one in enumerate(schema.get("anyOf", ())):
        yield from _walk(one, (*path, "anyOf", str(place)), level)
    yield from _walk(schema.get("items"), (*path, "items"), inner)


def _faults_of_one(schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema and (beside := sorted(set(schema) - {"$ref", "$defs"})):
        yield f"$ref cannot have keywords {set(beside)}."
    for keyword in NOT_PERMITTED:
        if keyword in schema:
            yield f"'{keyword}' is not permitted."
    if not any(keyword in schema for keyword in SAYS_ITS_TYPE):
        yield "schema must have a 'type' key."
    kinds = schema.get("type")
    if kinds == "object" or "properties" in schema or (isinstance(kinds, list) and "object" in kinds):
        yield from _faults_of_object(schema)
    if kinds == "array" and "items" not in schema:
        yield "array schema missing items."


def _faults_of_object(schema: Mapping[str, Any]) -> Iterator[str]:
    properties = _properties(schema)
    if schema.get("additionalProperties") is not False:
        yield "'additionalProperties' is required to be supplied and to be false."
    required = schema.get("required", ())
    if missing := [name for name in properties if name not in required]:
        yield (
            "'required' is required to be supplied and to be an array including "
            f"every key in properties. Missing '{missing[0]}'."
        )
    if extra := [name for name in required if name not in properties]:
        yield f"'required' is required to be an array of keys in properties. Extra required key '{extra[0]}'."


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties", {})
    return properties if isinstance(properties, Mapping) else {}
