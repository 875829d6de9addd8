"""The local front, over real connections, with a small app behind it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chalice.app import Chalice, Response

from local.front import LARGEST_BODY, Front, Site


def an_app() -> Chalice:
    app = Chalice(app_name="behind-the-front", configure_logs=False)
    both = threading.Barrier(2, timeout=5)

    @app.route("/v1/echo", methods=["POST"])
    def echo() -> Response:
        request = app.current_request
        assert request is not None
        said = {"path": request.path, "query": request.query_params, "body": request.json_body}
        return Response(said, headers={"Set-Cookie": ["a=1", "b=2"], "Cache-Control": "private"})

    @app.route("/v1/things/{thing_id}")
    def thing(thing_id: str) -> dict[str, str]:
        return {"id": thing_id}

    @app.route("/v1/together/{name}")
    def together(name: str) -> dict[str, Any]:
        both.wait()
        request = app.current_request
        assert request is not None
        return {"asked": name, "seen": (request.uri_params or {})["name"]}

    @app.route("/v1/nothing", methods=["DELETE"])
    def nothing() -> Response:
        return Response(body="", status_code=204)

    return app


@dataclass(slots=True)
class Visitor:
    """One kept-alive connection."""

    connection: http.client.HTTPConnection
    files: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, named)
        answer = self.connection.getresponse()
        return answer, answer.read()

    def problem(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """The status and the code in the envelope, whose shape is checked."""
        answer, said = self.ask(method, path, body, **headers)
        envelope = json.loads(said)
        assert envelope["success"] is False
        assert set(envelope["error"]) == {"code", "message", "requestId"}
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, envelope["error"]["code"]


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    front = Front(0)
    files = tmp_path / "dist"
    front.start(an_app(), Site(files, "<!doctype html><title>landing</title>"))
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    yield Visitor(connection, files)
    connection.close()
    front.stop()


@pytest.fixture
def console(visitor: Visitor) -> Visitor:
    (visitor.files / "assets").mkdir(parents=True)
    (visitor.files / "index.html").write_text("<!doctype html><title>console</title>")
    (visitor.files / "favicon.svg").write_text("<svg/>")
    (visitor.files / "assets" / "index-B3xk92Lq.js").write_text("go()")
    (visitor.files.parent / "secret.txt").write_text("secret")
    return visitor


def test_the_app_sees_the_path_without_the_prefix(visitor: Visitor) -> None:
    answer, body = visitor.ask("POST", "/api/v1/echo?x=1&y=2", b'{"a":1}', Content_Type="application/json")
    assert answer.status == 200
    assert json.loads(body) == {"path": "/v1/echo", "query": {"x": "1", "y": "2"}, "body": {"a": 1}}


def test_the_app_is_not_reached_without_the_prefix(visitor: Visitor) -> None:
    assert visitor.problem("GET", "/v1/things/1") == (404, "not_found")


def test_several_cookies_and_the_apps_own_headers_arrive(visitor: Visitor) -> None:
    answer, _ = visitor.ask("POST", "/api/v1/echo", b"{}", Content_Type="application/json")
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert answer.headers.get_all("Cache-Control") == ["private"]


@pytest.mark.parametrize("path", ["/api/v1/unknown", "/api", "/api/", "/api/v1", "/api/v1/things/1/more"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}])
def test_an_unknown_path_gets_our_envelope(visitor: Visitor, path: str, headers: dict[str, str]) -> None:
    assert visitor.problem("GET", path, None, **headers) == (404, "not_found")


def test_a_wrong_method_is_told_the_right_ones(visitor: Visitor) -> None:
    assert visitor.problem("DELETE", "/api/v1/echo") == (405, "method_not_allowed")
    answer, _ = visitor.ask("DELETE", "/api/v1/echo")
    assert answer.headers["Allow"] == "POST"


def test_a_method_nobody_knows_gets_our_envelope(visitor: Visitor) -> None:
    assert visitor.problem("BREW", "/api/v1/echo") == (405, "method_not_allowed")


def test_one_connection_serves_many_requests_also_after_refusals(visitor: Visitor) -> None:
    visitor.ask("GET", "/api/v1/things/1")
    before = visitor.connection.sock
    assert visitor.problem("POST", "/api/v1/unknown", b"x" * 1_000) == (404, "not_found")
    answer, _ = visitor.ask("DELETE", "/api/v1/nothing")
    assert answer.status == 204
    _, body = visitor.ask("GET", "/api/v1/things/2")
    assert json.loads(body) == {"id": "2"}
    assert visitor.connection.sock is before


def test_two_requests_at_once_do_not_see_each_other(visitor: Visitor) -> None:
    answers: list[dict[str, str]] = []

    def ask(name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", visitor.connection.port, timeout=10)
        connection.request("GET", f"/api/v1/together/{name}")
        answers.append(json.loads(connection.getresponse().read()))
        connection.close()

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["asked"] for answer in answers) == ["one", "two"]
    assert all(answer["asked"] == answer["seen"] for answer in answers)


def test_a_body_over_ten_megabytes_is_refused_before_it_is_read(visitor: Visitor) -> None:
    assert visitor.problem("POST", "/api/v1/echo", b"x" * (LARGEST_BODY + 1)) == (413, "too_large")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: -1", 400),
        ("Content-Length: 1e3", 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("Content-Length: 99999999999999999999", 413),
        ("Transfer-Encoding: chunked", 411),
    ],
)
def test_a_body_of_unclear_length_ends_the_connection(visitor: Visitor, headers: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", visitor.connection.port), timeout=5) as raw:
        raw.sendall(f"POST /api/v1/echo HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode())
        raw.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in said


def test_a_foreign_host_name_is_refused(visitor: Visitor) -> None:
    assert visitor.problem("GET", "/api/v1/things/1", Host="evil.example") == (421, "misdirected")
    answer, _ = visitor.ask("GET", "/api/v1/things/1", Host="localhost:8000")
    assert answer.status == 200


def test_answers_carry_security_headers(visitor: Visitor) -> None:
    for path in ("/", "/api/v1/things/1", "/api/v1/unknown"):
        answer, _ = visitor.ask("GET", path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_the_landing_page_stands_in_for_the_console(visitor: Visitor) -> None:
    answer, body = visitor.ask("GET", "/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"landing" in body
    assert visitor.problem("GET", "/approvals") == (404, "not_found")


@pytest.mark.parametrize("path", ["/", "/index.html", "/approvals", "/runs/run_1?tab=steps"])
def test_the_consoles_own_paths_get_its_page(console: Visitor, path: str) -> None:
    answer, body = console.ask("GET", path)
    assert b"console" in body
    assert answer.headers["Cache-Control"] == "no-cache"


def test_hashed_assets_may_be_kept_for_ever_and_others_not(console: Visitor) -> None:
    answer, body = console.ask("GET", "/assets/index-B3xk92Lq.js")
    assert body == b"go()"
    assert answer.headers["Content-Type"] == "text/javascript"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    answer, _ = console.ask("GET", "/favicon.svg")
    assert answer.headers["Cache-Control"] == "no-cache"


def test_a_missing_asset_is_not_the_page(console: Visitor) -> None:
    assert console.problem("GET", "/assets/index-gone.js") == (404, "not_found")


def test_head_gives_the_headers_alone(console: Visitor) -> None:
    answer, body = console.ask("HEAD", "/")
    assert answer.status == 200
    assert int(answer.headers["Content-Length"]) > 0
    assert body == b""


def test_files_are_only_read(console: Visitor) -> None:
    assert console.problem("POST", "/", b"x") == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/..%5c..%5csecret.txt",
        "/secret.txt%00.js",
        "//secret.txt",
        "/link.txt",
        "/" + "x" * 300 + ".txt",
    ],
)
def test_nothing_outside_the_folder_is_served(console: Visitor, path: str) -> None:
    (console.files / "link.txt").symlink_to(console.files.parent / "secret.txt")
    answer, body = console.ask("GET", path)
    assert answer.status in {400, 404}
    assert b"secret" not in body
