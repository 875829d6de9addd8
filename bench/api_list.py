"""A warm list: a signed-in GET of twenty runs over HTTP, and how often it goes to the database.

The reference is the same kind of server that says the very same bytes: what is left is our work.
"""

import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.installation import PATH, Installation, installed
from bench.measuring import Report, in_turns, p99
from local.processes import Program
from tests.fakes.flight_counter import FlightCounter

TIMES: Final = 1000
WARM_UP: Final = 100


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name, installed() as installation:
        folder = Path(name)
        flights = _flights(installation, folder)
        with _client("ours", "app", installation.environ(), installation, folder) as ours:
            body = ours.get()
            body_file = folder / "body.json"
            body_file.write_bytes(body)
            environ = {"BODY_FILE": str(body_file)}
            with _client("theirs", "bench.reference.same_bytes", environ, installation, folder) as theirs:
                if theirs.get() != body:
                    raise AssertionError("The reference does not say the same bytes.")
                mine, other = in_turns(ours.sample, theirs.sample, runs=TIMES, warm_up=WARM_UP)
    return Report(
        bench="api_list",
        ours=mine,
        theirs=other,
        unit="ms",
        reference="a bare Chalice route that returns the same bytes on the same kind of server",
        extras={
            "flights": flights,
            "ours_p99": round(p99(mine), 3),
            "theirs_p99": round(p99(other), 3),
            "body_bytes": len(body),
        },
    )


def _flights(installation: Installation, folder: Path) -> int:
    """Writes to the database for one warm request, BEGIN to COMMIT, as a proxy sees them."""
    with FlightCounter(installation.postgres.port) as counter:
        environ = installation.environ(database_port=counter.port)
        with _client("counted", "app", environ, installation, folder) as client:
            client.get()
            counter.reset()
            client.get()
            return counter.flights


class _Client:
    """One connection, kept alive, that sends the same signed-in request. It does as little as it can."""

    def __init__(self, port: int, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = (
            f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
            f"Authorization: Bearer {token}\r\n\r\n"
        ).encode()

    def get(self) -> bytes:
        """The body; raises AssertionError for anything but 200."""
        self._socket.sendall(self._request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head, body = received[:end].lower(), received[end + 4 :]
        if not head.startswith(b"http/1.1 200 "):
            raise AssertionError(f"The answer was {received[:500]!r}.")
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self._more()
        return body

    def sample(self) -> float:
        started = time.perf_counter()
        self.get()
        return (time.perf_counter() - started) * 1000

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise AssertionError("The server hung up.")
        return data


@contextmanager
def _client(
    name: str, module: str, environ: Mapping[str, str], installation: Installation, folder: Path
) -> Iterator[_Client]:
    """A client of an app that is served in a process of its own."""
    program = Program(
        f"benchmark's server of {module}",
        ["-m", "bench.served", module],
        environ=environ,
        log_file=folder / f"{name}.log",
    )
    try:
        client = _Client(int(program.wait()["port"]), installation.token)
        try:
            yield client
        finally:
            client.close()
    finally:
        program.stop()
