"""What a run remembers: recorded steps, results not yet written, and how values become JSON and back."""

import hashlib
import json
import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from chalicelib.agents.base import Proposal
from chalicelib.domain.errors import AppError, Conflict, ProviderBusy
from chalicelib.domain.ids import UsageEntryId, new_usage_entry_id
from chalicelib.domain.money import Charge, EntryStatus, Meter, Quote, Terms
from chalicelib.services.runs.memory import Fact

Value = TypeVar("Value")


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("Any", kind))


def encode(value: object, kind: type[Any]) -> Any:
    """As plain JSON that PostgreSQL can store, whatever a provider wrote: no NUL, no half of a surrogate pair.

    Raises ValueError for a number that JSON has no word for.
    """
    return _storable(_adapter(cast("Hashable", kind)).dump_python(value, mode="json"))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else _UNSTORABLE.sub("", value)
    if isinstance(value, dict):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return value


_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def decode(value: Any, kind: type[Value]) -> Value:
    """The value a step returned, whether it ran now or long ago."""
    result: Value = _adapter(cast("Hashable", kind)).validate_python(value)
    return result


def fits(value: Any, kind: type[Any]) -> bool:
    """Whether a value that was recorded by who knows which release can still be read."""
    try:
        decode(value, kind)
    except ValidationError:
        return False
    return True


def fingerprint(inputs: object) -> str:
    """SHA-256 (hex) of what a step depends on."""
    plain = to_jsonable_python(inputs, fallback=str)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Step:
    """One result, recorded or about to be."""

    key: str
    input_hash: str
    output: Any = None  # JSON
    error: str | None = None
    error_code: str | None = None
    item: bool = False
    duration_ms: int = 0
    fact: Fact | None = None  # what it was answered from, where nobody was asked

    def as_row(self, proposal: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            "key": self.key,
            "status": "failed" if self.error is not None else "succeeded",
            "inputHash": self.input_hash,
            "output": self.output,
            "error": self.error,
            "errorCode": self.error_code,
            "item": self.item,
            "durationMs": self.duration_ms,
            "proposal": proposal,
        }


def check_same(step: Step, input_hash: str) -> None:
    """Raise Conflict when a recorded step is asked for with other input: the agent is not repeatable."""
    if step.input_hash != input_hash:
        raise Conflict(
            f"The step {step.key} was done before with other input, so the run cannot go on. Start it again.",
            code="step_changed",
        )


@dataclass(frozen=True, slots=True)
class Reserved:
    """A call that is booked and may be made."""

    id: UsageEntryId
    step_key: str
    quote: Quote
    terms: Terms
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, step_key: str, quote: Quote, terms: Terms) -> "Reserved":
        return cls(new_usage_entry_id(), step_key, quote, terms)

    def as_row(self) -> dict[str, Any]:
        return {"id": self.id, "stepKey": self.step_key}

    def settled(self, error: BaseException | None) -> dict[str, Any]:
        """How the books close: what the provider charged, nothing, or nobody knows."""
        code = error.code if isinstance(error, AppError) else "unexpected" if error else None
        charge = self.meter.total()
        if charge is None:
            status = EntryStatus.UNKNOWN if code == "provider_timeout" else EntryStatus.RELEASED
            charge = Charge()
        else:
            status = EntryStatus.SETTLED
        dollars = self.terms.cost(charge)
        asked = self.terms.model if status is EntryStatus.UNKNOWN else None
        return {
            "id": self.id,
            "status": status.value,
            "model": _short(charge.model or asked, 100),
            "credits": charge.credits,
            "dollars": None if dollars is None else str(dollars),
            "tokensIn": charge.tokens_in,
            "tokensCached": charge.tokens_cached,
            "tokensOut": charge.tokens_out,
            "tokensReasoning": charge.tokens_reasoning,
            "requestId": _short(charge.request_id, 200),
            "errorCode": code and code[:50],
        }

    def news(self, error: BaseException | None) -> dict[str, Any] | None:
        """What the provider said of its rate limit, if anything."""
        heard = self.meter.news
        if isinstance(error, ProviderBusy) and error.code == "rate_limited":
            blocked = error.retry_after
        else:
            blocked = heard.blocked_for if heard else None
        if blocked is None and heard is None:
            return None
        return {
            "credential": self.terms.credential,
            "endpointGroup": self.quote.endpoint_group,
            "perMinute": heard and heard.per_minute,
            "left": heard and heard.left,
            "blockedForSeconds": None if blocked is None else blocked.total_seconds(),
        }


def _short(text: str | None, most: int) -> str | None:
    """A provider's own word, as far as it fits its column."""
    return text and _UNSTORABLE.sub("", text)[:most]


@dataclass(slots=True)
class Unwritten:
    """Results that wait for the next transaction; a crash loses them, and their calls are made again."""

    steps: list[tuple[Step, Proposal | None]] = field(default_factory=list)
    settled: list[dict[str, Any]] = field(default_factory=list)
    news: list[dict[str, Any]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def marks(self) -> list[dict[str, Any]]:
        """Which of the steps were remembered, and from when."""
        return [
            {"key": step.key, "fetchedAt": step.fact.fetched_at}
            for step, _ in self.steps
            if step.fact is not None
        ]

    def settle(self, entry: Reserved, error: BaseException | None) -> None:
        """Close a call's books, and keep what the provider said of its limits."""
        self.settled.append(entry.settled(error))
        if news := entry.news(error):
            self.news.append(news)

    def __bool__(self) -> bool:
        return bool(self.steps or self.settled or self.news or self.facts)
