"""What every call to a provider cost, written down before the caller gets its answer.

Keys are kept as their last four characters, bodies as a hash.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sandbox.wire import Answer, Request

# Headers by which a caller names a call, the first that is there.
TRACE_HEADERS: Final = ("idempotency-key", "x-request-id", "x-client-request-id", "traceparent")


@dataclass(frozen=True, slots=True)
class Entry:
    at: str  # when the answer was ready, ISO 8601, UTC
    provider: str  # apollo or openai
    path: str
    key_last4: str
    credits: int
    prompt_tokens: int
    completion_tokens: int
    status: int
    paid: bool  # it cost credits or tokens
    subject: str
    call: str | None  # the caller's own id for the call: header `x-bevyly-call`
    trace: str | None
    request_hash: str
    fault: str | None  # what was made to go wrong with it
    stored: bool = False  # the caller let the provider keep the exchange


class Ledger:
    """The entries in the order of their answers; kept in memory and, where asked, as lines of a file."""

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file = file
        self._entries = list[Entry]()
        if file is not None and file.exists():
            self._entries = [Entry(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]

    def record(self, provider: str, request: Request, answer: Answer, *, fault: str | None = None) -> Entry:
        entry = Entry(
            at=datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            provider=provider,
            path=request.path,
            key_last4=request.key_for(provider)[-4:],
            credits=answer.credits,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            status=answer.response.status,
            paid=bool(answer.credits or answer.prompt_tokens or answer.completion_tokens),
            subject=answer.subject,
            call=request.headers.get("x-bevyly-call"),
            trace=next((request.headers[name] for name in TRACE_HEADERS if name in request.headers), None),
            request_hash=request.digest,
            fault=fault,
            stored=answer.stored,
        )
        with self._lock:
            self._entries.append(entry)
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(entry)) + "\n")
        return entry

    def entries(self) -> Sequence[Entry]:
        with self._lock:
            return tuple(self._entries)

    def totals(self) -> Mapping[str, Mapping[str, int]]:
        """By provider: calls, paid calls, credits, prompt and completion tokens."""
        return totals_of(self.entries())

    def reset(self) -> None:
        with self._lock:
            self._entries.clear()
            if self._file is not None:
                self._file.write_text("", "utf-8")


def totals_of(entries: Sequence[Entry]) -> Mapping[str, Mapping[str, int]]:
    """The sums of each provider's entries and, under `all`, of all."""
    totals = {name: _sums([one for one in entries if one.provider == name]) for name in ("apollo", "openai")}
    return totals | {"all": _sums(entries)}


def _sums(entries: Sequence[Entry]) -> dict[str, int]:
    return {
        "calls": len(entries),
        "paid_calls": sum(entry.paid for entry in entries),
        "credits": sum(entry.credits for entry in entries),
        "prompt_tokens": sum(entry.prompt_tokens for entry in entries),
        "completion_tokens": sum(entry.completion_tokens for entry in entries),
    }
