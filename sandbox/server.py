"""One local HTTP server for both providers, their ledger and their faults."""

import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.apollo import Apollo, is_apollos
from sandbox.control import Control
from sandbox.failures import carry_out
from sandbox.faults import Called, Faults
from sandbox.ledger import Ledger
from sandbox.openai_chat import OpenAI
from sandbox.wire import Request, Response, json_response
from sandbox.world import DEFAULT_SEED, build_world

HOST: Final = "127.0.0.1"
LARGEST_BODY: Final = 16 * 1024 * 1024
LOOK_EVERY_SECONDS: Final = 0.1  # whether a caller who is kept waiting is still there
STOP_WITHIN_SECONDS: Final = 2.0
PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class Sandbox:
    """A running sandbox: `with Sandbox() as sandbox: …` in a test, or `start` and `stop`."""

    def __init__(
        self,
        port: int = 0,
        *,
        seed: int = DEFAULT_SEED,
        ledger_file: Path | None = None,
        clock: Callable[[], float] = time.time,  # says which rate window it is
    ) -> None:
        self.world = build_world(seed)
        self.ledger = Ledger(ledger_file)
        self.faults = Faults()
        self.apollo = Apollo(self.world, clock)
        self.openai = OpenAI()
        self.control = Control(self.world, self.ledger, self.faults, self.apollo)
        self.stopping = threading.Event()
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}"

    @property
    def apollo_url(self) -> str:
        return f"{self.url}/api/v1"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and close every connection, the hanging ones too."""
        self.stopping.set()
        self.faults.clear()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.close_connections()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def respond(self, request: Request) -> Response:
        """The answer; a provider's call stands in the ledger before this returns."""
        apollos = is_apollos(request.path)
        if not apollos and not request.path.startswith("/v1/"):
            return self.control.answer(request)
        name = "apollo" if apollos else "openai"
        outcome = self.faults.take(Called(name, request.path, request.key_for(name), request.model))
        answer = carry_out(self.apollo if apollos else self.openai, request, outcome.fault)
        self.ledger.record(name, request, answer, fault=outcome.name)
        if outcome.latency_ms:
            self.stopping.wait(outcome.latency_ms / 1_000)
        return replace(answer.response, released=outcome.released)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.sandbox = sandbox
        self._lock = threading.Lock()
        self._connections = set[socket.socket]()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """As the base does, without its look-up of this machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def close_connections(self) -> None:
        deadline = time.monotonic() + STOP_WITHIN_SECONDS
        while self._connections and time.monotonic() < deadline:
            with self._lock:
                for connection in self._connections:
                    _shut(connection)
            time.sleep(0.002)

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.closed(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def serve(self) -> None:
        body = self._body()
        if body is None:
            self._send(json_response(413, {"error": "Send a content-length of at most 16 MB."}))
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        sandbox = self.server.sandbox
        try:
            response = sandbox.respond(Request(self.command, path, query, headers, body))
        except Exception:
            self._send(json_response(500, {"error": "The sandbox itself failed; its stderr says how."}))
            raise
        if response.delivery == "never" and response.released:
            self._keep_silent(response.released)
        self._send(response)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = serve  # noqa: N815

    def _keep_silent(self, released: threading.Event) -> None:
        """Until the fault is switched off or the caller gives up."""
        with self.server.sandbox.faults.one_hangs():
            while not released.wait(LOOK_EVERY_SECONDS) and not self._caller_left():
                pass

    def _caller_left(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _body(self) -> bytes | None:
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdecimal() or int(length) > LARGEST_BODY:
            return None
        return self.rfile.read(int(length))

    def _send(self, response: Response) -> None:
        """The head and the body in one write, or what the fault leaves of them."""
        if response.delivery in {"closed", "never"}:
            self._hang_up()
            return
        head = [
            f"HTTP/1.1 {response.status} {PHRASES.get(response.status, '')}",
            f"date: {self.date_time_string()}",
            f"content-type: {response.content_type}",
            f"content-length: {len(response.body)}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        half = response.delivery == "half"
        body = response.body[: len(response.body) // 2] if half else response.body
        whole = "\r\n".join((*head, "", "")).encode("latin-1") + (b"" if self.command == "HEAD" else body)
        self.wfile.write(whole)
        if half:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        _shut(self.connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
