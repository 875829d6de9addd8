"""What CloudFront and API Gateway do in AWS, on loopback: one address for the console and the API.

`/api/…` goes to the Chalice app without the prefix; everything else is a file of the console, or the landing
page while there is none. What fails before our code gets the API's own error envelope.
"""

import functools
import html
import json
import logging
import mimetypes
import re
import socket
import socketserver
import sys
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import (
    ChaliceRequestHandler,
    LocalChalice,
    LocalGatewayException,
    RouteMatcher,
    ThreadedHTTPServer,
)

logger = logging.getLogger(__name__)

PREFIX: Final = "/api"
LARGEST_BODY: Final = 10_000_000  # API Gateway's
API_SECONDS: Final = 29  # API Gateway's

_HASHED: Final = re.compile(r"[-.][A-Za-z0-9_-]{8,}\.\w+$")  # index-B3xk92Lq.js
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SECURITY: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_PAGE_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
_DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
_CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "not_signed_in",
    403: "not_permitted",
    404: "not_found",
    405: "method_not_allowed",
    411: "length_required",
    413: "too_large",
    421: "misdirected",
    502: "internal_error",
}

Headers = Sequence[tuple[str, str]]


class Front:
    """The server, in threads of its own. The port is taken when it is made, and served from `start`."""

    def __init__(self, port: int) -> None:
        """Raises OSError when the port is taken; 0 takes a free one."""
        self._server = _Server(("127.0.0.1", port), _Starting)
        self._thread = threading.Thread(target=self._serve, name="front", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self, app: Chalice, site: "Site") -> Self:
        """Serve; what was asked since the port was taken is answered now."""
        make_safe_for_threads(app)
        config = Config.create(
            chalice_stage="local", lambda_timeout=API_SECONDS, lambda_memory_size=1024, chalice_app=app
        )
        self._server.RequestHandlerClass = functools.partial(
            Handler, app_object=app, config=config, site=site
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)


def make_safe_for_threads(app: Chalice) -> None:
    """Give each thread its own current request, as `chalice.local.create_local_server` does."""
    if not isinstance(app, LocalChalice):
        app.__class__ = type("OneRequestAThread", (_OneContextAThread, LocalChalice, app.__class__), {})


class _OneContextAThread:
    _context = threading.local()

    @property
    def lambda_context(self) -> Any:
        return getattr(self._context, "value", None)

    @lambda_context.setter
    def lambda_context(self, value: Any) -> None:
        self._context.value = value


class _Server(ThreadedHTTPServer):
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without asking the name service who 127.0.0.1 is."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's
        """A client that hung up is nobody's error; anything else goes to the log."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            logger.error("a connection broke", exc_info=error)


class _Starting:
    def __init__(self, *_: object) -> None:
        """Nobody is served before `start`."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Site:
    """The console's built files, which may come and go while we run; without them a page in their place."""

    folder: Path
    landing: str

    def answer(self, path: str) -> Answer:
        """The file at a path; the console's own paths (no dot in the last part) get its index.html."""
        if not (self.folder / "index.html").is_file():
            if path in {"/", "/index.html"}:
                return _page(self.landing.encode())
            return problem(404, "There is nothing here. The console is not built; the API is under /api/v1.")
        file = self._file(path)
        if file is None and "." not in path.rsplit("/", 1)[-1]:
            file = self.folder / "index.html"
        if file is None:
            return problem(404, "There is no such file.")
        if file.name == "index.html":
            return _page(file.read_bytes())
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        lasting = file.parent.name == "assets" and _HASHED.search(file.name)
        cache = _IMMUTABLE if lasting else "no-cache"
        return Answer(200, file.read_bytes(), (("Content-Type", kind), ("Cache-Control", cache)))

    def _file(self, path: str) -> Path | None:
        """The regular file a path names, inside the folder, links followed; else None."""
        parts = unquote(path).split("/")
        if any(part in {".", ".."} or "\0" in part or "\\" in part for part in parts):
            return None
        root = self.folder.resolve()
        try:
            file = root.joinpath(*[part for part in parts if part]).resolve()
            inside = file.is_relative_to(root) and file.is_file()
        except OSError:  # a name that is too long, say
            return None
        return file if inside else None


class Handler(ChaliceRequestHandler):
    """One connection, kept alive; one write an answer."""

    disable_nagle_algorithm = True
    wbufsize = 65_536
    timeout = 75
    server_version = "bevyly-local"
    sys_version = ""

    def __init__(
        self,
        request: Any,
        client_address: Any,
        server: Any,
        *,
        app_object: Chalice,
        config: Config,
        site: Site,
    ) -> None:
        self._app, self._site = app_object, site
        super().__init__(request, client_address, server, app_object, config)

    def _generic_handle(self) -> None:
        path = urlsplit(self.path).path if re.match("/(?!/)", self.path) else ""
        refusal, body = self._read_body()
        if refusal is not None:
            self.close_connection = True  # what is left of the body is not the next request
            self._send(refusal)
            self._drain()
            return
        if not path:
            answer = problem(400, "The address must be a path that begins with one slash.")
        elif not self._is_for_us():
            answer = problem(421, "This server answers to 127.0.0.1 and localhost only.")
        elif path == PREFIX or path.startswith(PREFIX + "/"):
            answer = self._from_api(path.removeprefix(PREFIX) or "/", body)
        elif self.command not in {"GET", "HEAD"}:
            answer = problem(405, "Only GET and HEAD reach the console's files.", [("Allow", "GET, HEAD")])
        else:
            answer = self._site.answer(path)
        self._send(answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = _generic_handle  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses (a malformed request line, a method nobody knows)."""
        del explain
        self.close_connection = True
        status = {501: 405}.get(int(code), int(code))
        self._send(problem(status, f"{message or HTTPStatus(code).phrase}."))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server's name
        logger.debug(format, *args)

    def _is_for_us(self) -> bool:
        """A page elsewhere whose name was pointed at 127.0.0.1 must not get at the demo."""
        name = re.sub(r":\d+$", "", self.headers.get("Host", ""))
        return name.lower() in _LOOPBACK_NAMES

    def _read_body(self) -> tuple[Answer | None, bytes | None]:
        if self.headers.get("Transfer-Encoding"):
            return problem(411, "Send the body with a Content-Length."), None
        lengths = set(self.headers.get_all("Content-Length") or ["0"])
        length = lengths.pop()
        if lengths or not length.isascii() or not length.isdigit():
            return problem(400, "Content-Length must be one whole number."), None
        if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
            return problem(413, f"The body is larger than {LARGEST_BODY // 1_000_000} MB."), None
        return None, (self.rfile.read(int(length)) if int(length) else None)

    def _from_api(self, path: str, body: bytes | None) -> Answer:
        try:
            route = RouteMatcher(list(self._app.routes)).match_route(path).route
        except ValueError:
            return problem(404, "There is no such address.")
        methods = self._app.routes[route]
        if self.command not in methods:
            allowed = ", ".join(sorted(methods))
            return problem(405, f"This address takes {allowed}.", [("Allow", allowed)])
        try:
            query = urlsplit(self.path).query
            said = self.local_gateway.handle_request(
                method=self.command,
                path=f"{path}?{query}" if query else path,
                headers=dict(self.headers),
                body=body,
            )
            return _from_lambda(self._handle_binary(said))
        except LocalGatewayException as refused:
            return problem(refused.CODE, "The request was refused before it reached the API.")
        except Exception:
            logger.exception("the API function failed")
            return problem(502, "Something went wrong on our side. Try again in a moment.")

    def handle_expect_100(self) -> bool:
        """Say "go on" at once: the client waits for it with its body."""
        going_on: bool = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def _drain(self) -> None:
        """Read on for a moment after a refusal: closing on unread bytes would cut the answer off."""
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            left = 2 * LARGEST_BODY
            while left > 0 and (read := len(self.connection.recv(65_536))):
                left -= read

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        sent = {name.lower() for name, _ in answer.headers}
        for name, value in (*answer.headers, *_defaults(answer.headers, sent)):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and answer.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            self.wfile.write(answer.body)


def problem(status: int, message: str, headers: Headers = ()) -> Answer:
    """The API's failure envelope."""
    error = {"code": _CODES.get(status, "bad_request"), "message": message, "requestId": str(uuid.uuid4())}
    body = json.dumps({"success": False, "error": error}).encode()
    return Answer(status, body, (("Content-Type", "application/json"), *headers))


def _page(body: bytes) -> Answer:
    return Answer(200, body, (("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-cache")))


def _from_lambda(said: Mapping[str, Any]) -> Answer:
    several = {
        name: [str(value) for value in values]
        for name, values in (said.get("multiValueHeaders") or {}).items()
    }
    single = {name: [str(value)] for name, value in (said.get("headers") or {}).items()}
    headers = [(name, value) for name, values in {**single, **several}.items() for value in values]
    body = said.get("body") or b""
    kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
    if not any(name.lower() == "content-type" for name, _ in kept):
        kept.append(("Content-Type", "application/json"))
    return Answer(int(said["statusCode"]), body if isinstance(body, bytes) else str(body).encode(), kept)


def _defaults(headers: Headers, sent: set[str]) -> Iterable[tuple[str, str]]:
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    policy = _PAGE_POLICY if kind.startswith("text/html") else _DATA_POLICY
    for name, value in (*_SECURITY, ("Content-Security-Policy", policy), ("Cache-Control", "no-store")):
        if name.lower() not in sent:
            yield name, value


def landing_page(*, sandbox: str | None, people: Iterable[tuple[str, str, str, str]]) -> str:
    """What stands at `/` while the console is not built. `people`: customer, role, e-mail, password."""
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in person) + "</tr>" for person in people
    )
    stand_in = (
        f'<li><a href="{html.escape(sandbox)}">The stand-in for OpenAI and Apollo.io</a>: '
        "its world, its calls, its faults.</li>"
        if sandbox
        else "<li>OpenAI and Apollo.io are the real ones.</li>"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Bevyly Agents</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 3rem auto; padding: 0 1rem }}
:root {{ color-scheme: light dark }}
body {{ color: light-dark(#1a202c, #e2e8f0); background: light-dark(#fff, #14181d) }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid light-dark(#cbd5e0, #3b444f) }}
td {{ white-space: nowrap }}
a {{ color: light-dark(#1d4ed8, #7fb0ff) }}
</style></head><body><main>
<h1>Bevyly Agents</h1>
<p>Agents find companies, enrich them and draft e-mails; whatever they want to change waits here until
a person says yes. This is the whole system on one machine. The console is not built yet, so this page
stands in its place.</p>
<ul><li><a href="{PREFIX}/v1/docs">The API and its documentation</a></li>{stand_in}</ul>
<h2>Who can sign in</h2>
<table><thead><tr><th>Customer</th><th>Role</th><th>E-mail</th><th>Password</th></tr></thead><tbody>{rows}</tbody></table>
</main></body></html>
"""
