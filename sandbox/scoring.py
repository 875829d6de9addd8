"""Why a lead scored as it did, in words: only what the facts say, and no number of its own."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sandbox.facts import Facts
from sandbox.text import clip_words, comma_list

NAME_KEYS: Final = ("factor", "criterion", "dimension", "driver", "name", "key", "label", "title")
WORD_KEYS: Final = (
    "reason",
    "detail",
    "details",
    "evidence",
    "explanation",
    "because",
    "note",
    "description",
    "value",
)
WEIGHT_KEYS: Final = ("points", "score", "weight", "value")
MOST_FACTORS: Final = 6


def score_reasons(facts: Facts, factor_names: Sequence[Any] = ()) -> Mapping[str, Any]:
    """`summary` and `factors`, one for each the caller allows by name, else for each in the facts.

    Each factor has its name, its `reason`, and as `given` what the facts say about it.
    """
    given = _given_factors(facts)
    names = [str(name) for name in factor_names] or [name for name, _ in given] or _telling_facts(facts)
    by_name = dict(given)
    factors = [
        {
            "factor": name,
            "reason": _reason(facts, name, by_name.get(name, {})),
            "given": by_name.get(name, {}),
        }
        for name in names
    ]
    return {"summary": _summary(facts, given), "factors": factors}


def readable(name: str) -> str:
    """`recentFunding` as `recent funding`."""
    return re.sub(r"[_\-\s]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).strip().lower()


def _given_factors(facts: Facts) -> list[tuple[str, Mapping[str, Any]]]:
    """The facts' `factors`: a list of objects, or an object by name."""
    factors = facts.raw("factors")
    if isinstance(factors, Mapping):
        return [(name, one if isinstance(one, Mapping) else {"points": one}) for name, one in factors.items()]
    if not isinstance(factors, list):
        return []
    described = [one if isinstance(one, Mapping) else {"factor": str(one)} for one in factors]
    return [
        (str(_first(one, NAME_KEYS) or f"factor {place}"), one)
        for place, one in enumerate(described, start=1)
    ]


def _telling_facts(facts: Facts) -> list[str]:
    plain = [name for name, value in facts.content.items() if isinstance(value, str | int | float | list)]
    return plain[:MOST_FACTORS] or ["fit"]


def _reason(facts: Facts, name: str, factor: Mapping[str, Any]) -> str:
    words = _first(factor, WORD_KEYS)
    if isinstance(words, str) and len(words.split()) > 1:
        return f"{words[0].upper()}{clip_words(words[1:], 30)}."
    label = readable(name)
    value = words if isinstance(words, str) else facts.raw(name)
    if isinstance(value, list):
        value = comma_list([str(one) for one in value[:3] if not isinstance(one, Mapping)])
    if isinstance(value, str | int | float) and value != "" and not isinstance(value, bool):
        return f"The company's {label}: {clip_words(str(value), 30)}."
    if _first(factor, WEIGHT_KEYS) in (0, 0.0, None) and factor:
        return f"Nothing that is known about {label} speaks for this company."
    return f"What is known about {label} fits the profile."


def _summary(facts: Facts, given: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    company = facts.text("companyName", "name", words=8) or "This company"
    industry, city = facts.text("industry", words=6), facts.text("city", words=4)
    where = f" in {city}" if city else ""
    what = (
        f"{company} works in {industry}{where}."
        if industry
        else f"{company} has been compared with the profile."
    )
    strongest = sorted(given, key=lambda pair: _weight(pair[1]), reverse=True)
    speaking = [readable(name) for name, factor in strongest[:2] if _weight(factor) > 0]
    why = f" What speaks for it most: {comma_list(speaking)}." if speaking else ""
    news = facts.text("signals", words=28)
    return f"{what}{why}" + (f" {news}." if news else "")


def _first(content: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((content[name] for name in names if content.get(name) not in (None, "")), None)


def _weight(factor: Mapping[str, Any]) -> float:
    weight = next((factor[name] for name in WEIGHT_KEYS if isinstance(factor.get(name), int | float)), 0)
    return float(weight)
