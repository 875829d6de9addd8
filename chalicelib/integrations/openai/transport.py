"""The connections to a model's server, which may be anybody's: an answer is bounded in time and size.

Imports openai's transport, so only functions that call import this module.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import httpx2

from chalicelib.integrations.addresses import Allowed, NotAllowed, NotFoundThere

if TYPE_CHECKING:
    import ssl

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of an answer as it is sent; a draft is a few KiB."""


MOST_ADDRESSES: Final = 3
"""Of one host, tried one after the other."""


def open_client(allowed: Allowed | None = None) -> httpx2.Client:
    """Follows no redirect. A call's read timeout is the time for all of it, not anew for each byte.

    With `allowed` it connects to addresses that were checked, and to no proxy: a proxy would look up names itself.
    """
    return httpx2.Client(
        transport=None if allowed is None else _Checking(allowed, httpx2.HTTPTransport(verify=_trust())),
        verify=_trust(),
        follow_redirects=False,
        event_hooks={"request": [_begin], "response": [_bound]},
    )


@cache
def _trust() -> "ssl.SSLContext":
    """The certificate authorities, read once a process: it takes 60 ms, and each tenant's client needs it."""
    return httpx2.create_ssl_context()


class AddressNotAllowed(httpx2.ConnectError):
    """The host's address is not one that a tenant may have called."""


class _Checking(httpx2.BaseTransport):
    """Looks the host up itself, and calls one of the addresses it checked, under the host's name."""

    def __init__(self, allowed: Allowed, inner: httpx2.BaseTransport) -> None:
        self._allowed = allowed
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        unreachable = httpx2.ConnectError("", request=request)
        for address in self._addresses(request)[:MOST_ADDRESSES]:
            there = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # Host among them, as it was
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._inner.handle_request(there)
            except httpx2.ConnectError as error:  # the next address may be alive; nothing was sent
                unreachable = error
        raise unreachable

    def close(self) -> None:
        self._inner.close()

    def _addresses(self, request: httpx2.Request) -> Sequence[str]:
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            return self._allowed.checked(request.url.host, port)
        except NotAllowed:
            raise AddressNotAllowed("", request=request) from None
        except NotFoundThere:
            raise httpx2.ConnectError("", request=request) from None


def _begin(request: httpx2.Request) -> None:
    request.extensions["deadline"] = time.monotonic() + request.extensions["timeout"]["read"]


def _bound(response: httpx2.Response) -> None:
    request = response.request
    request.extensions["timeout"]["read"] = max(request.extensions["deadline"] - time.monotonic(), 0.001)
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Bounded(response.stream, request)


@dataclass(slots=True)
class _Bounded(httpx2.SyncByteStream):
    stream: httpx2.SyncByteStream
    request: httpx2.Request

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self.stream:
            size += len(chunk)
            if size > MOST_BYTES:
                raise httpx2.DecodingError("", request=self.request)
            if time.monotonic() > self.request.extensions["deadline"]:
                raise httpx2.ReadTimeout("", request=self.request)
            yield chunk

    def close(self) -> None:
        self.stream.close()
