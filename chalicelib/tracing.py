"""Traces in AWS X-Ray's form: one from a request to the run that it starts, its wait, its steps and their calls.

The trace's header travels in the causation of runs and events, so it also joins what an approval or an event
leads to. Spans go to the X-Ray daemon as they end, one datagram each; without a daemon, or in a trace that
is not sampled, nothing is sent. A request's trace is sampled by AWS (one a second, and 5 % of the rest), one that
begins here by TRACE_SAMPLE_PERCENT. It never fails its caller, and it carries ids and names, no payload.
"""

import json
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

from chalicelib.settings import EVERYTHING, lambda_trace_header, trace_sample_percent, xray_daemon

SERVICE: Final = "bevyly-agents"
LONGEST_NAME: Final = 200
_PROTOCOL: Final = b'{"format":"json","version":1}\n'
_ROOT: Final = re.compile(r"1-[0-9a-f]{8}-[0-9a-f]{24}")
_SPAN: Final = re.compile(r"[0-9a-f]{16}")
_NAMES: Final = re.compile(r"[^\w\s.:/%&#=+\\\-@]")
"""What X-Ray takes in no name."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which trace somebody stands: the span that whatever comes next is part of."""

    trace_id: str
    span_id: str | None = None
    sampled: bool = True

    @classmethod
    def new(cls) -> "Place":
        """The beginning of a trace. Whether it is sampled is decided here, and travels with it."""
        trace_id = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
        return cls(trace_id, sampled=is_sampled(trace_id, trace_sample_percent()))

    @classmethod
    def of(cls, header: str | None) -> "Place | None":
        """`Root=1-…;Parent=…;Sampled=1`; None for what is no such header."""
        parts = dict(part.strip().partition("=")[::2] for part in (header or "").split(";"))
        root, parent = parts.get("Root", ""), parts.get("Parent", "")
        if not _ROOT.fullmatch(root):
            return None
        return cls(root, parent if _SPAN.fullmatch(parent) else None, parts.get("Sampled") != "0")

    def as_header(self) -> str:
        parent = f";Parent={self.span_id}" if self.span_id else ""
        return f"Root={self.trace_id}{parent};Sampled={int(self.sampled)}"


@dataclass(slots=True)
class Span:
    """A piece of work under way. Annotations are searched by in X-Ray: ids, types, figures."""

    place: Place  # its own
    parent_id: str | None
    name: str
    began: float  # seconds since 1970
    remote: bool = False
    annotations: dict[str, str | int | float | bool] = field(default_factory=dict)
    failed: bool = False

    def document(self, ended: float) -> dict[str, Any]:
        """As X-Ray wants it: a segment where it stands for itself, else a part of another's."""
        told: dict[str, Any] = {
            "name": _NAMES.sub("_", self.name)[:LONGEST_NAME],
            "id": self.place.span_id,
            "trace_id": self.place.trace_id,
            "start_time": self.began,
            "end_time": max(ended, self.began),
        }
        if self.parent_id is not None:
            told |= {"parent_id": self.parent_id, "type": "subsegment"}
        if self.remote:
            told["namespace"] = "remote"
        if self.annotations:
            told["annotations"] = self.annotations
        if self.failed:
            told["fault"] = True
        return told


def is_sampled(trace_id: str, percent: int) -> bool:
    """Whether a trace is among so many in a hundred, by its id's random part: the same whoever asks."""
    return int(trace_id.rpartition("-")[2][:8], 16) * EVERYTHING < percent << 32


_here: ContextVar[Place | None] = ContextVar("place", default=None)


def here() -> Place | None:
    """Where in a trace this thread is."""
    return _here.get()


def header() -> str | None:
    """Where it is, as it travels with runs and events."""
    place = _here.get()
    return None if place is None else place.as_header()


@contextmanager
def request(name: str, told: str | None) -> Iterator[Span]:
    """A request's trace: Lambda's own, else the one that the request names in `X-Amzn-Trace-Id`, else a new one."""
    place = Place.of(lambda_trace_header()) or Place.of(told) or Place.new()
    with _beneath(place), span(name, stands_alone=place.span_id is None) as current:
        yield current


@contextmanager
def joined(name: str, told: str | None) -> Iterator[Span]:
    """Work for a trace that began elsewhere, perhaps long ago; a new one where there is none."""
    place = Place.of(told) or Place.new()
    with _beneath(place), span(name, stands_alone=True) as current:
        yield current


@contextmanager
def span(
    name: str, *, remote: bool = False, stands_alone: bool = False, **annotations: Any
) -> Iterator[Span]:
    """A piece of the current trace's work. An exception marks it as failed and goes on its way.

    `remote`: somebody else's work, such as a provider's. `stands_alone`: in X-Ray's words a segment.
    """
    above = _here.get() or Place.new()
    current = Span(
        replace(above, span_id=secrets.token_hex(8)), above.span_id, name, time.time(), remote, annotations
    )
    try:
        with _beneath(current.place):
            yield current
    except BaseException:
        current.failed = True
        raise
    finally:
        _send(current, stands_alone=stands_alone)


def past(name: str, *, began: float, ended: float, **annotations: Any) -> None:
    """A piece of the current trace that is over already, such as a wait. Seconds since 1970."""
    above = _here.get()
    if above is not None:
        place = replace(above, span_id=secrets.token_hex(8))
        _send(Span(place, above.span_id, name, began, annotations=annotations), ended=ended)


@contextmanager
def _beneath(place: Place) -> Iterator[None]:
    token = _here.set(place)
    try:
        yield
    finally:
        _here.reset(token)


def _send(ending: Span, *, ended: float | None = None, stands_alone: bool = False) -> None:
    daemon = _daemon() if ending.place.sampled else None
    if daemon is None:
        return
    document = ending.document(time.time() if ended is None else ended)
    if stands_alone:
        document.pop("type", None)
    with suppress(OSError):  # nobody waits for a trace
        daemon.send(_PROTOCOL + json.dumps(document).encode())


@cache
def _daemon() -> socket.socket | None:
    """A datagram socket to the daemon, if there is one."""
    address = xray_daemon()
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.settimeout(0)
    try:
        out.connect((host, int(port)))
    except OSError:
        out.close()
        return None
    return out
