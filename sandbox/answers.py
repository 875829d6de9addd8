"""What an object of a schema is to say, told by its properties' names and enumerations alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sandbox.drafts import email_draft
from sandbox.facts import Facts, fenced, plain_name
from sandbox.replies import category_among, classification, reply_text
from sandbox.schema import Filler
from sandbox.scoring import score_reasons

Schema: TypeAlias = Mapping[str, Any]
Resolve: TypeAlias = Callable[[Any], Schema]
Proposals: TypeAlias = dict[str, Any]

EMAIL_SCHEMA: Final[Schema] = {
    "type": "object",
    "properties": {"subject": {"type": "string"}, "body": {"type": "string"}},
}
SUBJECTS: Final = ("subject", "subjectline", "headline", "betreff")
BODIES: Final = ("body", "emailbody", "mailbody", "message", "text", "content", "mail", "letter")
USED: Final = ("factsused", "usedfacts", "facts", "basedon", "drawson", "sources", "grounding", "references")
FACTOR_NAMES: Final = ("factor", "criterion", "dimension", "driver", "name", "key", "label")
FACTOR_WHYS: Final = ("reason", "why", "explanation", "rationale", "because", "justification", "comment")
SUMMARIES: Final = ("summary", "overview", "verdict", "conclusion", "assessment", "reason")
CATEGORIES: Final = ("category", "intent", "classification", "class", "label", "kind", "disposition")
CONFIDENCES: Final = ("confidence", "certainty", "probability", "likelihood")
NEXT_STEPS: Final = ("nextstep", "nextaction", "action", "recommendation", "followup", "todo", "reason")
QUOTES: Final = ("quote", "excerpt", "citation", "passage", "evidence", "proof", "snippet", "span")
LEVELS: Final = ((0.8, "high"), (0.5, "medium"), (0.0, "low"))
TELLING: Final = 2  # categories of replies among an enumeration's values, from which it is one of them


def answer_text(messages: Sequence[Mapping[str, Any]], response_format: Any) -> str:
    """JSON for a schema (or for any object, when none is given); else an e-mail as plain text."""
    wanted = response_format if isinstance(response_format, Mapping) else {}
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"]["schema"]
    elif wanted.get("type") == "json_object":
        schema = EMAIL_SCHEMA
    else:
        return str(email_draft(fenced(messages))["body"])
    facts = fenced(messages, tuple(schema.get("properties", ())))
    seed = json.dumps(facts.content, sort_keys=True, default=str)
    answer = Filler(schema, facts, seed, lambda one, resolve: _proposals(facts, one, resolve)).fill()
    return json.dumps(answer, ensure_ascii=False)


def _proposals(facts: Facts, schema: Schema, resolve: Resolve) -> Proposals:
    """By plain property name, what this object should say; the rest is left to the facts and the dice."""
    properties = {plain_name(name): resolve(one) for name, one in schema.get("properties", {}).items()}
    return (
        _drafted(facts, properties)
        or _scored(facts, properties, resolve)
        or _classified(facts, properties, resolve)
    )


def _drafted(facts: Facts, properties: Mapping[str, Schema]) -> Proposals:
    subject, body = _first(SUBJECTS, properties), _first(BODIES, properties)
    if not subject or not body:
        return {}
    draft = email_draft(facts)
    used = dict.fromkeys((name for name in USED if name in properties), draft["factsUsed"])
    return {subject: draft["subject"], body: draft["body"], **used}


def _scored(facts: Facts, properties: Mapping[str, Schema], resolve: Resolve) -> Proposals:
    """A list of objects that each have a name and a reason is a score's factors, whatever it is called."""
    for listed, schema in properties.items():
        item = resolve(schema.get("items", {}))
        inner = {plain_name(name): resolve(one) for name, one in item.get("properties", {}).items()}
        name, why = _first(FACTOR_NAMES, inner), _first(FACTOR_WHYS, inner)
        if not name or not why:
            continue
        score = score_reasons(facts, _choices(inner[name], resolve))
        rows = [{**one["given"], name: one["factor"], why: one["reason"]} for one in score["factors"]]
        said = _first(SUMMARIES, properties)
        return {listed: rows, **({said: score["summary"]} if said else {})}
    return {}


def _classified(facts: Facts, properties: Mapping[str, Schema], resolve: Resolve) -> Proposals:
    reply = reply_text(facts)
    category = _category(properties, resolve)
    if not category and not reply:
        return {}
    found = classification(reply)
    proposals = Proposals()
    if category:
        choices = _choices(properties[category], resolve)
        named = category_among(found["category"], choices) if choices else None
        proposals[category] = found["category"] if named is None else named
        if step := _first(NEXT_STEPS, properties):
            proposals[step] = found["nextStep"]
        for name in CONFIDENCES:
            if name in properties:
                levels = _choices(properties[name], resolve)
                proposals[name] = _level(found["confidence"], levels) if levels else found["confidence"]
    if reply and (quote := _first(QUOTES, properties)):
        proposals[quote] = found["quote"]
    return proposals


def _category(properties: Mapping[str, Schema], resolve: Resolve) -> str | None:
    """The property whose values are kinds of replies; else the one that is called so."""
    for name, schema in properties.items():
        choices = _choices(schema, resolve)
        kinds = {kind for kind in KINDS_OF_REPLY if category_among(kind, choices) is not None}
        if len(kinds) >= TELLING:
            return name
    named = _first(CATEGORIES[:1], properties)
    return named if named and not _choices(properties[named], resolve) else None


KINDS_OF_REPLY: Final = (
    *("unsubscribe", "bounce", "out_of_office", "referral"),
    *("not_now", "objection", "interested"),
)


def _choices(schema: Schema, resolve: Resolve) -> Sequence[Any]:
    """The values that a property may have, through a choice with null too; empty when it is free."""
    if "enum" in schema:
        return [one for one in schema["enum"] if one is not None]
    branches = [resolve(one) for one in schema.get("anyOf", schema.get("oneOf", ()))]
    return next((branch["enum"] for branch in branches if "enum" in branch), ())


def _level(confidence: float, levels: Sequence[Any]) -> Any:
    """0.9 as `high`, where the caller asks for words."""
    wanted = next(word for least, word in LEVELS if confidence > least)
    return next((level for level in levels if str(level).lower() == wanted), levels[0])


def _first(names: Sequence[str], properties: Mapping[str, Schema]) -> str | None:
    return next((name for name in names if name in properties), None)
