"""One call to Apollo over HTTP, and its answer, or the error it comes to.

A process has one client and one pool of connections, whoever's key it calls with: the key is a header of the
request, and cookies, which would carry over from one tenant's call to the next, are not kept.

A wrong base address that answers 200 with no rows to everything cannot be told from an account that finds
nobody. The one such address that is known, Apollo's bare `/v1`, is refused.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from chalicelib.domain.errors import ProviderFailed
from chalicelib.domain.money import Charge
from chalicelib.domain.providers import Caller
from chalicelib.integrations.apollo import failures
from chalicelib.integrations.apollo.limits import rate_news

if TYPE_CHECKING:
    import httpx

MOST_BYTES: Final = 8 * 1024 * 1024
"""A full page is well under one MiB."""

CONNECT_SECONDS: Final = 5.0

_BARE: Final = re.compile(r"https?://[^/]+/v1/*")


@dataclass(frozen=True, slots=True)
class Request:
    """One call, and what it costs: by its answer, or, where that cannot be read, at worst."""

    method: str
    path: str
    price: Callable[[Mapping[str, Any]], int]
    worst: int
    content: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None


@dataclass(slots=True)
class Connections:
    """The process's client. Safe on any thread."""

    _http: "httpx.Client | None" = None
    _lock: Lock = field(default_factory=Lock)

    def client(self) -> "httpx.Client":
        import httpx  # noqa: PLC0415 - 0.3 s, which only a function that calls should pay

        with self._lock:
            if self._http is None:
                no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
                self._http = httpx.Client(follow_redirects=False, cookies=no_cookies)
            return self._http

    def close(self) -> None:
        """Let go of them. The next call opens new ones."""
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None


CONNECTIONS: Final = Connections()


def is_bare(base_url: str) -> bool:
    """Whether the address is the one that answers every search with nothing."""
    return _BARE.fullmatch(base_url) is not None


def exchange(
    caller: Caller, request: Request, *, base_url: str, api_key: str
) -> Mapping[str, Any] | ProviderFailed:
    """The answer's JSON, or what went wrong, which is returned: raised from here it would hold the key.

    A call that was served is on the meter, whatever becomes of its answer.
    """
    import httpx  # noqa: PLC0415 - as above

    seconds = max(caller.timeout.total_seconds(), 0)
    deadline = time.monotonic() + seconds
    try:
        with CONNECTIONS.client().stream(
            request.method,
            base_url.rstrip("/") + request.path,
            json=request.content,
            params=request.query,
            headers={"x-api-key": api_key, "x-bevyly-call": caller.call_id},
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        ) as response:
            return _answer(caller, request, response, deadline)
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        return failures.bad_address()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
        return failures.unreachable()
    except httpx.DecodingError:
        return failures.unreadable()
    except httpx.RequestError:
        return failures.no_answer()


def _answer(
    caller: Caller, request: Request, response: "httpx.Response", deadline: float
) -> Mapping[str, Any] | ProviderFailed:
    headers = _plain(response.headers)
    if news := rate_news(headers):
        caller.meter.hear(news)
    if response.status_code == HTTPStatus.OK:
        answer = _served(caller, request, response, deadline, request_id=headers.get("x-request-id"))
        return failures.unreadable() if answer is None else failures.of_bulk(answer) or answer
    text = _body(response, deadline).decode("utf-8", "replace")
    return failures.of_status(response.status_code, headers, text)


def _plain(headers: "httpx.Headers") -> Mapping[str, str]:
    """By their lower-case names; httpx goes through all of them for each one that it is asked for."""
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in headers.raw}


def _served(
    caller: Caller,
    request: Request,
    response: "httpx.Response",
    deadline: float,
    *,
    request_id: str | None,
) -> Mapping[str, Any] | None:
    due = request.worst
    try:
        answer = _object(_body(response, deadline))
        if answer is not None:
            due = request.price(answer)
        return answer
    finally:
        caller.meter.add(Charge(credits=due, request_id=request_id))


def _body(response: "httpx.Response", deadline: float) -> bytes:
    """The whole body, bounded in size and in time: a read timeout alone would begin anew with each byte.

    One that is too large comes back empty.
    """
    import httpx  # noqa: PLC0415 - as above

    response.request.extensions["timeout"]["read"] = max(deadline - time.monotonic(), 0.001)
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            return b""
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("", request=response.request)
    return bytes(body)


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
