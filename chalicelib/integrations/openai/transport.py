"""The connections to a model's server, which may be anybody's: an answer is bounded in time and size.

Imports openai's transport, so only functions that call import this module.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import httpx2

if TYPE_CHECKING:
    import ssl

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of an answer as it is sent; a draft is a few KiB."""


def open_client() -> httpx2.Client:
    """Follows no redirect. A call's read timeout is the time for all of it, not anew for each byte."""
    return httpx2.Client(
        verify=_trust(),
        follow_redirects=False,
        event_hooks={"request": [_begin], "response": [_bound]},
    )


@cache
def _trust() -> "ssl.SSLContext":
    """The certificate authorities, read once a process: it takes 60 ms, and each tenant's client needs it."""
    return httpx2.create_ssl_context()


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
