"""The smoke test's last words: what to do, by what did not answer. A server on loopback is the public address."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from infra.deploy.cloud import DeployError
from infra.deploy.smoke import ask_as_a_stranger

DISTRIBUTION = "d111111abcdef8.cloudfront.net"
WELL = {
    "/api/v1/healthz": (200, {"success": True}),
    "/api/v1/readyz": (200, {"success": True}),
    "/api/v1/no/such/path": (404, {"success": False, "error": {"code": "not_found"}}),
}


@contextmanager
def a_public_address(**instead: int) -> Iterator[str]:
    """Answers as it should, but for the paths that end with one of these words, which have this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, said = WELL[self.path]
            self.send_response(instead.get(self.path.rpartition("/")[2], status))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def last_words(origin: str, other: str | None, pauses: list[float] | None = None) -> str:
    waits: list[float] = [] if pauses is None else pauses
    with pytest.raises(DeployError) as told:
        ask_as_a_stranger(origin, leads_to=DISTRIBUTION, other=other, patience=10, pause=waits.append)
    return str(told.value)


def test_each_of_the_three_is_told_when_all_is_well() -> None:
    with a_public_address() as origin:
        told = ask_as_a_stranger(origin, leads_to=DISTRIBUTION, other=None, patience=0)
    assert told == [
        f"200 {origin}/api/v1/healthz",
        f"200 {origin}/api/v1/readyz",
        f"404 {origin}/api/v1/no/such/path",
    ]


def test_a_name_without_a_record_is_told_with_the_record_to_make() -> None:
    """The first deploy with a name of one's own. Seen red with every failure told as the code's."""
    said = last_words("https://console.invalid", other="0001-a")
    assert "console.invalid has no address" in said
    assert f"leads to {DISTRIBUTION}: a CNAME, or an ALIAS" in said
    assert "rollback" not in said


def test_a_record_that_is_made_meanwhile_is_waited_for() -> None:
    pauses: list[float] = []
    last_words("https://console.invalid", other=None, pauses=pauses)
    assert sum(pauses) == 10


def test_code_that_does_not_answer_is_told_with_the_release_to_go_back_to() -> None:
    with a_public_address(readyz=503) as origin:
        said = last_words(origin, other="0001-a")
    assert "readyz does not answer as it should" in said
    assert "`make rollback` goes back to 0001-a" in said


def test_there_is_no_advice_to_go_back_where_nothing_is() -> None:
    with a_public_address(healthz=500) as origin:
        said = last_words(origin, other=None)
    assert "no release to go back to" in said
    assert "make rollback" not in said


def test_an_address_at_which_nobody_listens_is_no_missing_record() -> None:
    with a_public_address() as origin:
        gone = origin
    assert "has no address" not in last_words(gone, other=None)
