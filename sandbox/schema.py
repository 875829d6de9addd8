"""An answer to any JSON schema: from what is proposed for it where that fits, else made up to fit."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sandbox.facts import Facts, plain_name
from sandbox.patterns import matching
from sandbox.text import stable_hash

DEEPEST: Final = 8  # a schema that goes on by itself ends here
NOTHING: Final = object()
BY_FORMAT: Final = {
    "date-time": "2026-11-02T09:00:00Z",
    "date": "2026-11-02",
    "time": "09:00:00Z",
    "duration": "P3D",
    "email": "maria.example@northwind-logistics.example",
    "idn-email": "maria.example@northwind-logistics.example",
    "hostname": "northwind-logistics.example",
    "idn-hostname": "northwind-logistics.example",
    "ipv4": "192.0.2.10",
    "ipv6": "2001:db8::10",
    "uri": "https://northwind-logistics.example/",
    "url": "https://northwind-logistics.example/",
    "uuid": "7d4f9a52-6c1b-4a7e-9c3d-2f8e5b1a0c64",
}
BY_NAME: Final = (
    ("email", BY_FORMAT["email"]),
    ("name", "Maria Example"),
    ("company", "Northwind Logistics"),
    ("subject", "A short question"),
    ("title", "Head of Operations"),
    ("city", "Rotterdam"),
    ("country", "Netherlands"),
    ("industry", "logistics & supply chain"),
    ("url", BY_FORMAT["uri"]),
    ("date", BY_FORMAT["date"]),
    ("language", "English"),
    ("reason", "The facts that were given speak for it."),
    ("summary", "A growing company with a clear need and a small team."),
)
SENTENCES: Final = (
    "The company is growing and has lately opened an office.",
    "The team is small and plans its work by hand.",
    "They sell to regional customers and hire this year.",
)


# Takes an object's schema and what follows references; gives its proposals by plain property name.
Propose: TypeAlias = Callable[[Mapping[str, Any], Callable[[Any], Mapping[str, Any]]], Mapping[str, Any]]


class Filler:
    """Fills one schema; the same schema and facts give the same answer."""

    def __init__(self, root: Mapping[str, Any], facts: Facts, seed: str, propose: Propose) -> None:
        """`propose` says what an object that nobody has said anything about is to hold."""
        self._root = root
        self._facts = facts
        self._seed = seed
        self._propose = propose

    def fill(self) -> Any:
        return self._value(self._root, "", NOTHING, 0)

    def _value(self, schema: Any, name: str, proposal: Any, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            choices = schema["enum"]
            return proposal if proposal in choices else self._one_of(choices, name, proposal)
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self._value(self._branch(branches, name, proposal, depth), name, proposal, depth)
        return self._typed(schema, self._type(schema, name, proposal, depth), name, proposal, depth)

    def _typed(self, schema: Mapping[str, Any], kind: str, name: str, proposal: Any, depth: int) -> Any:
        if kind == "object":
            return self._object(schema, name, proposal, depth)
        if kind == "array":
            return self._array(schema, name, proposal, depth)
        if kind in {"number", "integer"}:
            return self._number(schema, kind, name, proposal)
        if kind == "boolean":
            known = proposal if isinstance(proposal, bool) else self._facts.raw(name) if name else None
            return known if isinstance(known, bool) else self._hash(name) % 2 == 0
        return self._string(schema, name, proposal) if kind == "string" else None

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        """The schema with its reference followed and its `allOf` laid together."""
        if not isinstance(schema, Mapping):
            return {}
        if reference := schema.get("$ref"):
            target: Any = self._root
            for part in str(reference).removeprefix("#").strip("/").split("/"):
                target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if part else target
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return {**self._resolved(target), **rest}
        merged = dict(schema)
        for part in merged.pop("allOf", []):
            extra = self._resolved(part)
            properties = {**merged.get("properties", {}), **extra.get("properties", {})}
            merged = {**merged, **extra, **({"properties": properties} if properties else {})}
        return merged

    def _branch(self, branches: Sequence[Any], name: str, proposal: Any, depth: int) -> Any:
        """One that takes the proposal; else null for a plain value of which nothing is known, or at the end."""
        resolved = [self._resolved(branch) for branch in branches]
        if proposal is not NOTHING:
            for branch in resolved:
                if proposal in branch.get("enum", []) or _is_a(branch.get("type"), proposal):
                    return branch
        plain = [branch for branch in resolved if branch.get("type") != "null"]
        nulls = [branch for branch in resolved if branch.get("type") == "null"]
        unknown = proposal is NOTHING and all(map(_is_plain, plain)) and self._facts.raw(name) is None
        return nulls[0] if nulls and (depth > DEEPEST or unknown) else plain[0]

    def _type(self, schema: Mapping[str, Any], name: str, proposal: Any, depth: int) -> str:
        declared = schema.get("type")
        if declared is None:
            return "object" if "properties" in schema else "array" if "items" in schema else "string"
        kinds = [declared] if isinstance(declared, str) else list(declared)
        fitting = [kind for kind in kinds if _is_a(kind, proposal)]
        plain = [kind for kind in kinds if kind != "null"]
        if fitting or not plain:
            return str((fitting or kinds)[0])
        unknown = proposal is NOTHING and not {*plain} & NESTING and self._facts.raw(name) is None
        return "null" if "null" in kinds and (depth > DEEPEST or unknown) else str(plain[0])

    def _object(self, schema: Mapping[str, Any], name: str, proposal: Any, depth: int) -> dict[str, Any]:
        told = proposal if isinstance(proposal, Mapping) else self._facts.raw(name) if name else None
        said = told if isinstance(told, Mapping) else self._propose(schema, self._resolved)
        proposals = {plain_name(key): value for key, value in said.items()}
        required = schema.get("required", ())
        return {
            name: self._value(inner, name, proposals.get(plain_name(name), NOTHING), depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if depth <= DEEPEST or name in required
        }

    def _array(self, schema: Mapping[str, Any], name: str, proposal: Any, depth: int) -> list[Any]:
        fewest, most = schema.get("minItems", 0), schema.get("maxItems", 12)
        if depth > DEEPEST:
            most = fewest
        known = self._facts.own(name) if proposal is NOTHING and name else None
        proposal = known if isinstance(known, list) else proposal
        told = isinstance(proposal, list | tuple)
        proposed = list(proposal) if told else []
        fitting = [one for one in proposed if self._allows(schema.get("items", {}), one)][:most]
        wanted = max(fewest, min(most, len(fitting) or (0 if told else 2)))
        first = [self._value(inner, name, NOTHING, depth + 1) for inner in schema.get("prefixItems", [])]
        items = (
            first
            + [
                self._value(schema.get("items", {}), f"{name}{place or ''}", one, depth + 1)
                for place, one in enumerate([*fitting, *[NOTHING] * (wanted - len(fitting))])
            ][: max(0, wanted - len(first))]
        )
        return self._unique(items, fewest) if schema.get("uniqueItems") else items

    def _allows(self, schema: Any, item: Any) -> bool:
        resolved = self._resolved(schema)
        kind = resolved.get("type")
        right_kind = not isinstance(kind, str) or _is_a(kind, item)
        return right_kind and ("enum" not in resolved or item in resolved["enum"])

    def _unique(self, items: list[Any], fewest: int) -> list[Any]:
        unique = [item for place, item in enumerate(items) if item not in items[:place]]
        spare = (f"item {number}" for number in range(1, fewest + 1))
        while len(unique) < fewest and all(isinstance(item, str) for item in unique):
            unique.append(next(spare))
        return unique

    def _number(self, schema: Mapping[str, Any], kind: str, name: str, proposal: Any) -> float | int:
        low, high = _bounds(schema)
        known = next(
            (one for one in (proposal, self._facts.raw(name) if name else None) if _is_number(one)), None
        )
        if known is not None and isinstance(known, float) and known <= 1 and low >= 0 and high in {10, 100}:
            known = known * high  # a share, asked for out of ten or a hundred
        value = known if known is not None else self._middle(low, high, name)
        step = schema.get("multipleOf") or (1 if kind == "integer" else 0)
        value = min(high, max(low, value))
        if step:
            value = math.floor(value / step) * step
            value = value + step if value < low else value
        return int(value) if kind == "integer" else round(value, 6)

    def _middle(self, low: float, high: float, name: str) -> float:
        if "confidence" in name.lower() and low <= 0 and high >= 1:
            return 0.8
        if math.isinf(low) and math.isinf(high):
            return self._hash(name) % 90 + 10
        if math.isinf(high):
            return low + self._hash(name) % 10
        return high if math.isinf(low) else low + (high - low) * (self._hash(name) % 7 + 2) / 10

    def _string(self, schema: Mapping[str, Any], name: str, proposal: Any) -> str:
        given = proposal if isinstance(proposal, str) else ""
        text = given or self._told(schema, name)
        pattern = schema.get("pattern")
        if pattern and not re.search(pattern, text):
            text = matching(pattern, self._hash(name))
        longest, shortest = schema.get("maxLength"), schema.get("minLength", 0)
        while len(text) < shortest:
            text = f"{text} {SENTENCES[len(text) % len(SENTENCES)]}".strip()
        return (
            text if longest is None or len(text) <= longest else _cut(text, max(longest, shortest), shortest)
        )

    def _told(self, schema: Mapping[str, Any], name: str) -> str:
        if schema.get("format") in BY_FORMAT:
            return BY_FORMAT[schema["format"]]
        if name and (known := self._facts.text(name)):
            return known
        plain = plain_name(name)
        return next(
            (text for word, text in BY_NAME if word in plain), SENTENCES[self._hash(name) % len(SENTENCES)]
        )

    def _one_of(self, choices: Sequence[Any], name: str, proposal: Any) -> Any:
        known = self._facts.raw(name) if name else None
        if known in choices:
            return known
        plain = [choice for choice in choices if choice is not None] or list(choices)
        told = next((choice for choice in plain if self._facts.says(choice)), None)
        if told is None and None in choices and proposal is NOTHING:
            return None
        return plain[self._hash(name) % len(plain)] if told is None else told

    def _hash(self, name: str) -> int:
        return stable_hash(self._seed, name)


def _bounds(schema: Mapping[str, Any]) -> tuple[float, float]:
    tiny = 1 if schema.get("type") == "integer" else 1e-6
    low = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf - tiny))
    high = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    low += tiny if "exclusiveMinimum" in schema and "minimum" not in schema else 0
    high -= tiny if "exclusiveMaximum" in schema and "maximum" not in schema else 0
    return low, high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}


NESTING: Final = frozenset({"object", "array"})


def _is_plain(schema: Mapping[str, Any]) -> bool:
    """A single value: neither an object nor a list nor a choice of others."""
    return schema.get("type") not in NESTING and not schema.keys() & {"properties", "items", "anyOf", "oneOf"}


def _is_a(kind: Any, value: Any) -> bool:
    """Whether the value is of the schema's kind; a kind that is not one plain word says no."""
    return isinstance(kind, str) and kind in KINDS and KINDS[kind](value)


def _cut(text: str, longest: int, shortest: int) -> str:
    """Cut at a word where one ends late enough."""
    at_word = text[:longest].rsplit(" ", maxsplit=1)[0].rstrip(" ,;:")
    return at_word if len(at_word) >= max(shortest, longest // 2) else text[:longest]
