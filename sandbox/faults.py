"""What can be made to go wrong, for which paths and how often."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import count
from typing import Any, Final

# Each kind, the providers that know it, and what it does.
KINDS: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "hang": (frozenset({"apollo", "openai"}), "the call is carried out and charged, then no answer comes"),
    "lost": (
        frozenset({"apollo", "openai"}),
        "the call is carried out and charged, then the connection closes",
    ),
    "refused": (frozenset({"apollo", "openai"}), "the connection closes and nothing was done"),
    "truncate": (
        frozenset({"apollo", "openai"}),
        "Apollo: half a body; OpenAI: finish_reason length, cut JSON",
    ),
    "invalid_json": (
        frozenset({"apollo", "openai"}),
        "Apollo: a 200 that is not JSON; OpenAI: such a message",
    ),
    "not_json": (frozenset({"apollo", "openai"}), "a 200 with a web page, as a proxy on the way would send"),
    "bad_key": (frozenset({"apollo", "openai"}), "401 in the provider's own form"),
    "free_plan": (frozenset({"apollo"}), "403 API_INACCESSIBLE"),
    "no_credit": (frozenset({"apollo"}), "422 Insufficient credits"),
    "quota": (frozenset({"openai"}), "429 insufficient_quota"),
    "refusal": (frozenset({"openai"}), "the model refuses"),
    "content_filter": (frozenset({"openai"}), "finish_reason content_filter"),
}
FIELDS: Final = frozenset({"path", "latency_ms", "status", "retry_after", "times", "kind"})
MOST_LATENCY_MS: Final = 600_000


class BadFault(ValueError):
    """The control input cannot be a fault; says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    path: str = "*"  # a beginning of the path, or a pattern with `*`
    latency_ms: int = 0
    status: int | None = None
    retry_after: int | None = None  # seconds, sent with the status
    times: int | None = None  # None until it is cleared
    kind: str | None = None

    def concerns(self, provider: str, path: str) -> bool:
        if self.kind and provider not in KINDS[self.kind][0]:
            return False
        return path.startswith(self.path) or fnmatchcase(path, self.path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the faults do to one call: wait, and at most one thing more."""

    latency_ms: int = 0
    fault: Fault | None = None

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
        self._released = threading.Event()

    def add(self, content: object) -> Mapping[str, Any]:
        """Switch a fault on. Raises BadFault when the content does not describe one."""
        fault = parse(content)
        with self._lock:
            number = next(self._numbers)
            self._left[number] = (fault, fault.times)
        return _described(number, fault, fault.times)

    def listed(self) -> Sequence[Mapping[str, Any]]:
        with self._lock:
            return [_described(number, fault, left) for number, (fault, left) in self._left.items()]

    def clear(self) -> None:
        """Switch all off; calls that hang lose their connection now."""
        with self._lock:
            self._left.clear()
            self._released.set()
            self._released = threading.Event()

    def released(self) -> threading.Event:
        """Set when the faults that are on now are cleared."""
        with self._lock:
            return self._released

    def take(self, provider: str, path: str) -> Outcome:
        """What happens to this call: latencies add up, of the rest the oldest counts; each is used once."""
        latency, chosen = 0, None
        with self._lock:
            for number, (fault, left) in list(self._left.items()):
                changes = bool(fault.kind or fault.status)
                if not fault.concerns(provider, path) or (changes and chosen):
                    continue
                latency += fault.latency_ms
                chosen = fault if changes else chosen
                self._use(number, fault, left)
        return Outcome(latency, chosen)

    def _use(self, number: int, fault: Fault, left: int | None) -> None:
        if left is None:
            return
        if left > 1:
            self._left[number] = (fault, left - 1)
        else:
            del self._left[number]


def parse(content: object) -> Fault:
    if not isinstance(content, dict):
        raise BadFault("The body must be a JSON object.")
    if unknown := set(content) - FIELDS:
        raise BadFault(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(sorted(FIELDS))}.")
    given = {name: value for name, value in content.items() if value is not None}
    kind, path = given.get("kind"), given.get("path", "*")
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        raise BadFault(f"`kind` must be one of {', '.join(KINDS)}.")
    if not isinstance(path, str) or not path.startswith(("/", "*")):
        raise BadFault("`path` must begin with / or *.")
    if not given.keys() & {"kind", "status", "latency_ms"}:
        raise BadFault("Say what goes wrong: `kind`, `status` or `latency_ms`.")
    if kind and "status" in given:
        raise BadFault("Give `kind` or `status`, not both.")
    if "retry_after" in given and "status" not in given:
        raise BadFault("`retry_after` goes with a `status`.")
    return Fault(
        path=path,
        kind=kind,
        latency_ms=_whole(given, "latency_ms", 0, MOST_LATENCY_MS) or 0,
        status=_whole(given, "status", 400, 599),
        retry_after=_whole(given, "retry_after", 0, 86_400),
        times=_whole(given, "times", 1, 1_000_000),
    )


def _whole(given: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadFault(f"`{name}` must be a whole number from {low} to {high}.")
    return value


def _described(number: int, fault: Fault, left: int | None) -> Mapping[str, Any]:
    return {"id": number, **asdict(fault), "times_left": left}
