"""Stands between a driver and its server and counts flights, whatever the driver says of itself."""

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self


class FlightCounter:
    """A proxy on a loopback port of its own. A flight is bytes of the client after bytes of the server."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._waker = socket.socketpair()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._answered: set[socket.socket] = set()  # clients whose last bytes were answered
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self.flights = 0

    @property
    def port(self) -> int:
        """Where the driver connects to."""
        port: int = self._listener.getsockname()[1]
        return port

    def reset(self) -> None:
        """Count from zero again; a connection's start is several flights."""
        self.flights = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waker.send(b"x")
        for end in tuple(self._peers):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # it may be stuck in writing to an end that does not read
        self._thread.join()
        for end in (self._listener, self._wake, self._waker, *self._peers):
            end.close()

    def _carry(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    end = key.fileobj
                    if end is self._wake:
                        return
                    if end is self._listener:
                        self._accept(selector)
                    elif isinstance(end, socket.socket) and end in self._peers:
                        self._pass_on(end, selector)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._upstream_port))
        self._peers |= {client: server, server: client}
        self._clients.add(client)
        self._answered.add(client)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket, selector: selectors.BaseSelector) -> None:
        peer = self._peers[end]
        data = b""
        with suppress(OSError):
            data = end.recv(65536)
        if data and end not in self._clients:
            self._answered.add(peer)
        elif data and data != b"X\0\0\0\x04" and end in self._answered:  # a goodbye is no flight
            self._answered.discard(end)
            self.flights += 1
        try:
            peer.sendall(data)
        except OSError:
            data = b""
        if not data:
            for closing in (end, peer):
                selector.unregister(closing)
                del self._peers[closing]
                closing.close()
