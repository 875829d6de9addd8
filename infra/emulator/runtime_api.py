"""The Lambda Runtime API (2018-06-01) for one process: it asks for the next event and posts what came of it."""

import json
import queue
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final, Literal, Self

Kind = Literal["handed", "answered", "failed", "not_started", "ended"]

_BASE: Final = "/2018-06-01/runtime"
_ERROR_TYPE: Final = "Lambda-Runtime-Function-Error-Type"


@dataclass(frozen=True, slots=True)
class Invocation:
    """An event on its way to the function."""

    event: bytes
    function_arn: str
    timeout: timedelta
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def headers(self) -> Mapping[str, str]:
        """What the runtime is told beside the event. The time it has begins now."""
        deadline = time.time() + self.timeout.total_seconds()
        return {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self.function_arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }


@dataclass(frozen=True, slots=True)
class Told:
    """Something the runtime did, or that became of it."""

    kind: Kind
    request_id: str | None = None
    body: bytes = b""
    error_type: str | None = None
    at: float = field(default_factory=time.perf_counter)


class RuntimeApi:
    """A server on a free port of 127.0.0.1. Use it in a `with` block."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._waiting: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """For AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def offer(self, invocation: Invocation) -> None:
        """The next one that the runtime gets."""
        self._waiting.put(invocation)

    def take(self) -> Invocation | None:
        """Waits for one; None when the server closes."""
        return self._waiting.get()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a runtime that was killed may have left its question open

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: Any) -> None:
        """A runtime that is killed hangs up in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is one write
    server: _Server

    def do_GET(self) -> None:
        if self.path != f"{_BASE}/invocation/next":
            self._say(HTTPStatus.NOT_FOUND, _problem("InvalidPath", self.path))
            return
        invocation = self.server.api.take()
        if invocation is None:
            self.close_connection = True
            return
        self._say(HTTPStatus.OK, invocation.event, invocation.headers())
        self.server.api.told.put(Told("handed", invocation.request_id))

    def do_POST(self) -> None:
        body = self._body()
        told = self._told(body)
        if told is None:
            self._say(HTTPStatus.NOT_FOUND, _problem("InvalidPath", self.path))
            return
        self.server.api.told.put(told)
        self._say(HTTPStatus.ACCEPTED, b'{"status":"OK"}')

    def _told(self, body: bytes) -> Told | None:
        error_type = self.headers.get(_ERROR_TYPE)
        if self.path == f"{_BASE}/init/error":
            return Told("not_started", body=body, error_type=error_type)
        place, _, verb = self.path.removeprefix(f"{_BASE}/invocation/").partition("/")
        if not self.path.startswith(f"{_BASE}/invocation/") or verb not in {"response", "error"}:
            return None
        return Told("answered" if verb == "response" else "failed", place, body, error_type)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _chunks(self) -> list[bytes]:
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return chunks

    def _say(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Say nothing on the terminal."""


def _problem(kind: str, what: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": what}).encode()
