"""Stands in front of a PostgreSQL that speaks no TLS, and answers a client's request for it one way or another."""

import socket
import ssl
import threading
from contextlib import suppress
from select import select
from typing import Self

WANTS_TLS = b"\0\0\0\x08\x04\xd2\x16\x2f"
"""The SSLRequest: the only thing that a client of ours may say in the clear."""


class TlsFront:
    """A proxy on a loopback port of its own. It passes on whoever asks for no TLS, as such a server would.

    `clear` is all that clients said without TLS. Without a `context` it answers "no TLS here" and passes on what follows:
    a server without TLS, or somebody in between who takes it away.
    """

    def __init__(
        self, upstream_port: int, context: ssl.SSLContext | None, *, answer: bytes | None = None
    ) -> None:
        self._upstream_port = upstream_port
        self._context = context
        self._answer = answer if answer is not None else b"N" if context is None else b"S"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.clear = b""

    @property
    def port(self) -> int:
        """Where the driver connects to."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            socket.create_connection(("127.0.0.1", self._upstream_port)) as server,
            suppress(OSError),
        ):
            first = client.recv(8)
            self.clear += first
            if first != WANTS_TLS:
                server.sendall(first)
                self._carry(client, server, clear=True)
                return
            client.sendall(self._answer)
            if self._context is None:
                self._carry(client, server, clear=True)
            else:
                with self._context.wrap_socket(client, server_side=True) as wrapped:
                    self._open.append(wrapped)
                    self._carry(wrapped, server, clear=False)

    def _carry(self, client: socket.socket, server: socket.socket, *, clear: bool) -> None:
        while True:
            waiting = isinstance(client, ssl.SSLSocket) and client.pending()
            for end in [client] if waiting else select([client, server], [], [])[0]:
                data = end.recv(65536)
                if not data:
                    return
                if clear and end is client:
                    self.clear += data
                (server if end is client else client).sendall(data)
