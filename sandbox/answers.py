"""Which kind of answer a schema asks for, and the answer."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sandbox.drafts import email_draft
from sandbox.facts import Facts, plain_name
from sandbox.replies import category_among, classification
from sandbox.schema import Filler, enum_at
from sandbox.scoring import score_reasons

EMAIL_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"subject": {"type": "string"}, "body": {"type": "string"}},
}


def answer_text(facts: Facts, response_format: Any) -> str:
    """JSON for a schema (or for any object, when none is given); else an e-mail as plain text."""
    wanted = response_format if isinstance(response_format, Mapping) else {}
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"]["schema"]
    elif wanted.get("type") == "json_object":
        schema = EMAIL_SCHEMA
    else:
        return str(email_draft(facts)["body"])
    seed = json.dumps(facts.content, sort_keys=True, default=str)
    return json.dumps(Filler(schema, facts, seed).fill(_proposals(facts, schema)), ensure_ascii=False)


def _proposals(facts: Facts, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the answer would say, told apart by the names of the schema's properties alone."""
    names = {plain_name(name) for name in _properties(schema)}
    if {"subject", "body"} <= names:
        draft = email_draft(facts)
        return {**draft, "facts": draft["factsUsed"], "usedFacts": draft["factsUsed"]}
    if "factors" in names:
        return score_reasons(facts, enum_at(schema, "factors", "factor"))
    if "category" in names:
        return _classified(facts, schema)
    return {}


def _classified(facts: Facts, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = dict(classification(facts))
    choices = enum_at(schema, "category")
    named = category_among(found["category"], choices) if choices else None
    if named is not None:
        found["category"] = named
    if levels := enum_at(schema, "confidence"):
        found["confidence"] = _level(found["confidence"], [str(level) for level in levels])
    return found


def _level(confidence: float, levels: list[str]) -> str:
    """0.9 as `high`, where the caller asks for words."""
    wanted = "high" if confidence > 0.8 else "medium" if confidence > 0.5 else "low"  # noqa: PLR2004
    return next((level for level in levels if level.lower() == wanted), levels[0])


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", maxsplit=1)[-1]
        schema = schema.get("$defs", {}).get(name, {})
    properties = schema.get("properties", {})
    return properties if isinstance(properties, Mapping) else {}
