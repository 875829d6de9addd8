"""What the tests of Apollo's client share: a server with a script for what the sandbox never says, and callers."""

import json
import socketserver
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from chalicelib.domain.companies import Between, IdealCustomer
from chalicelib.domain.money import Meter
from chalicelib.domain.providers import Caller
from chalicelib.integrations.apollo.client import ApolloClient

CANARY = "canary-4b1d0c7e-key"
ANYBODY = IdealCustomer(employees=Between(min=1))


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer; `pause` is how long each of its bytes takes."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0

    @classmethod
    def json(cls, content: object, status: int = 200, **headers: str) -> "Reply":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(content).encode(), named)


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedServer:
    """Gives its replies one after the other, the last one for ever, and keeps what it was sent."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.received: list[Received] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.002,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: ScriptedServer) -> None:
        self.script = script
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """As the base does, without looking up this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.script.received.append(Received(self.command, self.path, headers, body))
        reply = self.server.script.next()
        self.send_response_only(reply.status)
        for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for start in range(0, len(reply.body), 1 if reply.pause else len(reply.body)):
                self.wfile.write(reply.body[start : start + 1] if reply.pause else reply.body)
                time.sleep(reply.pause)
        except OSError:
            pass  # the client had enough

    do_GET = do_POST = _reply  # noqa: N815 - the base class's names

    def log_message(self, *_: object) -> None:
        pass


def a_caller(*, seconds: float = 5, call_id: str = "use_1") -> Caller:
    return Caller(meter=Meter(), timeout=timedelta(seconds=seconds), call_id=call_id)


def credits_of(caller: Caller) -> int | None:
    total = caller.meter.total()
    return None if total is None else total.credits


def all_that_shows(error: BaseException) -> str:
    """The error as the most talkative logger would write it: its chain, and the variables of our frames."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    told.stack[:] = [frame for frame in told.stack if "/chalicelib/" in frame.filename]
    chain = (repr(link) for link in (error, error.__cause__, error.__context__))
    return "".join((*told.format(), *chain, repr(vars(error))))


@contextmanager
def scripted(*replies: Reply) -> Iterator[tuple[ApolloClient, ScriptedServer]]:
    with (
        ScriptedServer(*replies) as server,
        closing(ApolloClient(CANARY, f"{server.url}/api/v1")) as client,
    ):
        yield client, server


def a_page(*organizations: object, accounts: Sequence[object] = (), **pagination: object) -> Reply:
    return Reply.json(
        {
            "organizations": list(organizations),
            "accounts": list(accounts),
            "pagination": pagination,
        }
    )
