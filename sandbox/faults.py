"""What can be made to go wrong, for which calls and how often."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from typing import Any, Final

APOLLO: Final = frozenset({"apollo"})
OPENAI: Final = frozenset({"openai"})
PROVIDERS: Final = APOLLO | OPENAI

# Each kind, the providers that know it, and what it does.
KINDS: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "hang": (PROVIDERS, "the call is carried out and charged, then no answer comes"),
    "lost": (PROVIDERS, "the call is carried out and charged, then the connection closes"),
    "refused": (PROVIDERS, "the connection closes and nothing was done"),
    "truncate": (PROVIDERS, "Apollo: half a body; OpenAI: finish_reason length, cut JSON"),
    "invalid_json": (PROVIDERS, "Apollo: a 200 that is not JSON; OpenAI: such a message"),
    "not_json": (PROVIDERS, "a 200 with a web page, as a proxy on the way would send"),
    "bad_key": (PROVIDERS, "401 in the provider's own form"),
    "free_plan": (APOLLO, "403 API_INACCESSIBLE"),
    "no_credit": (APOLLO, "422 Insufficient credits, for calls that cost"),
    "payment_required": (APOLLO, "402 Insufficient credits, for calls that cost"),
    "string_429": (APOLLO, "429 whose JSON is a string that holds the JSON"),
    "reordered": (APOLLO, "bulk answers come in another order, without those that were not found"),
    "quota": (OPENAI, "429 insufficient_quota"),
    "credit_balance_exhausted": (OPENAI, "429: no prepaid credits are left"),
    "organization_spend_limit_exceeded": (OPENAI, "429: the organization's spend limit is reached"),
    "project_spend_limit_exceeded": (OPENAI, "429: the project's spend limit is reached"),
    "organization_usage_limit_exceeded": (OPENAI, "429: OpenAI's own limit for the account is reached"),
    "context_length": (OPENAI, "400 context_length_exceeded"),
    "model_not_found": (OPENAI, "404 model_not_found, as for a model that was shut down"),
    "refusal": (OPENAI, "the model refuses"),
    "content_filter": (OPENAI, "finish_reason content_filter"),
}
FIELDS: Final = frozenset(
    {"path", "provider", "key_last4", "model", "latency_ms", "status", "retry_after", "times", "kind"}
)
MOST_LATENCY_MS: Final = 600_000
LONGEST_TEXT: Final = 200
LAST: Final = 4  # characters of a key


class BadFault(ValueError):
    """The control input cannot be a fault; says why."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a fault can tell one call from another by."""

    provider: str
    path: str
    key: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    path: str = "*"  # a beginning of the path, or a pattern with `*`
    provider: str | None = None  # None is both
    key_last4: str | None = None  # the end of the caller's key
    model: str | None = None
    latency_ms: int = 0
    status: int | None = None
    retry_after: int | None = None  # seconds, sent with the status
    times: int | None = None  # None until it is switched off
    kind: str | None = None

    def concerns(self, call: Called) -> bool:
        if self.kind and call.provider not in KINDS[self.kind][0]:
            return False
        return (
            self.provider in {None, call.provider}
            and self.key_last4 in {None, call.key[-LAST:]}
            and self.model in {None, call.model}
            and (call.path.startswith(self.path) or fnmatchcase(call.path, self.path))
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the faults do to one call: wait, and at most one thing more."""

    latency_ms: int = 0
    fault: Fault | None = None
    released: threading.Event = field(default_factory=threading.Event)  # set when the fault is switched off

    @property
    def name(self) -> str | None:
        if self.fault is not None:
            return self.fault.kind or f"status {self.fault.status}"
        return "latency" if self.latency_ms else None


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._left = dict[int, tuple[Fault, int | None]]()
        self._released = dict[int, threading.Event]()  # those of spent faults too, whose calls may still hang
        self._hanging = 0

    def add(self, content: object) -> Mapping[str, Any]:
        """Switch a fault on. Raises BadFault when the content does not describe one."""
        fault = parse(content)
        with self._lock:
            number = next(self._numbers)
            self._left[number] = (fault, fault.times)
            self._released[number] = threading.Event()
        return _described(number, fault, fault.times)

    def listed(self) -> Sequence[Mapping[str, Any]]:
        with self._lock:
            return [_described(number, fault, left) for number, (fault, left) in self._left.items()]

    def numbers_of(self, wanted: Fault) -> Sequence[int]:
        """Of the faults that are on, those that are just this one."""
        with self._lock:
            return [number for number, (fault, _) in self._left.items() if fault == wanted]

    def remove(self, number: int) -> bool:
        """Switch one off; calls that hang by it lose their connection now. False when it is not on."""
        with self._lock:
            was_on = self._left.pop(number, None) is not None
            self._release(number)
        return was_on

    def clear(self) -> None:
        """Switch all off; calls that hang lose their connection now."""
        with self._lock:
            self._left.clear()
            for number in tuple(self._released):
                self._release(number)

    def let_go(self) -> None:
        """Calls that hang lose their connection now; what is on stays on."""
        with self._lock:
            for number in tuple(self._released):
                self._release(number)
                if number in self._left:
                    self._released[number] = threading.Event()

    @property
    def hanging(self) -> int:
        """How many callers wait for an answer that never comes."""
        return self._hanging

    @contextmanager
    def one_hangs(self) -> Iterator[None]:
        with self._lock:
            self._hanging += 1
        try:
            yield
        finally:
            with self._lock:
                self._hanging -= 1

    def take(self, call: Called) -> Outcome:
        """What happens to this call: latencies add up, of the rest the oldest counts; each is used once."""
        latency, chosen, released = 0, None, threading.Event()
        with self._lock:
            for number, (fault, left) in list(self._left.items()):
                changes = bool(fault.kind or fault.status)
                if not fault.concerns(call) or (changes and chosen):
                    continue
                latency += fault.latency_ms
                if changes:
                    chosen, released = fault, self._released[number]
                self._use(number, fault, left)
        return Outcome(latency, chosen, released)

    def _use(self, number: int, fault: Fault, left: int | None) -> None:
        if left is None:
            return
        if left > 1:
            self._left[number] = (fault, left - 1)
            return
        del self._left[number]
        if fault.kind != "hang":
            del self._released[number]

    def _release(self, number: int) -> None:
        if released := self._released.pop(number, None):
            released.set()


def parse(content: object) -> Fault:
    if not isinstance(content, dict):
        raise BadFault("The body must be a JSON object.")
    if unknown := set(content) - FIELDS:
        raise BadFault(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(sorted(FIELDS))}.")
    given = {name: value for name, value in content.items() if value is not None}
    path = _text(given, "path") or "*"
    if not path.startswith(("/", "*")):
        raise BadFault("`path` must begin with / or *.")
    if not given.keys() & {"kind", "status", "latency_ms"}:
        raise BadFault("Say what goes wrong: `kind`, `status` or `latency_ms`.")
    _check_kind(given)
    if "retry_after" in given and "status" not in given and given.get("kind") != "string_429":
        raise BadFault("`retry_after` goes with a `status`.")
    return Fault(
        path=path,
        provider=_text(given, "provider"),
        key_last4=_text(given, "key_last4", most=LAST),
        model=_text(given, "model"),
        kind=given.get("kind"),
        latency_ms=_whole(given, "latency_ms", 0, MOST_LATENCY_MS) or 0,
        status=_whole(given, "status", 400, 599),
        retry_after=_whole(given, "retry_after", 0, 86_400),
        times=_whole(given, "times", 1, 1_000_000),
    )


def _check_kind(given: Mapping[str, Any]) -> None:
    kind, provider = given.get("kind"), given.get("provider")
    if provider is not None and provider not in tuple(PROVIDERS):
        raise BadFault("`provider` must be apollo or openai.")
    if kind is None:
        return
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadFault(f"`kind` must be one of {', '.join(KINDS)}.")
    if "status" in given:
        raise BadFault("Give `kind` or `status`, not both.")
    if provider and provider not in KINDS[kind][0]:
        raise BadFault(f"`{kind}` is nothing that {provider} knows.")


def _text(given: Mapping[str, Any], name: str, *, most: int = LONGEST_TEXT) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise BadFault(f"`{name}` must be a text of 1 to {most} characters.")
    return value


def _whole(given: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadFault(f"`{name}` must be a whole number from {low} to {high}.")
    return value


def _described(number: int, fault: Fault, left: int | None) -> Mapping[str, Any]:
    return {"id": number, **asdict(fault), "times_left": left}
