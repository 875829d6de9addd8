"""Companies from Apollo.io. It searches and enriches; it keeps nothing, waits for nothing, retries nothing.

A call without an answer is not made again here: whether it was carried out is not known, and Apollo charges
by the call. The run's own record decides.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from chalicelib.domain.companies import Company, CompanyPage, IdealCustomer
from chalicelib.domain.errors import CredentialRejected, Invalid, ProviderBusy, ProviderFailed
from chalicelib.domain.money import Charge
from chalicelib.domain.ports import Caller
from chalicelib.integrations.apollo import failures, shapes

if TYPE_CHECKING:
    import ssl

    import httpx

MOST_A_PAGE: Final = 100
MOST_BYTES: Final = 8 * 1024 * 1024
"""A full page is well under one MiB."""

CONNECT_SECONDS: Final = 5.0

_SENDABLE_KEY: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Request:
    """One call, and how to see in its answer that Apollo did not charge for it."""

    method: str
    path: str
    is_free: Callable[[Mapping[str, Any]], bool]
    content: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None


@dataclass(slots=True, eq=False)
class ApolloCompanies:
    """One tenant's or the platform's access to Apollo. Keeps its connections; safe on any thread."""

    api_key: str = field(repr=False)
    base_url: str  # https://api.apollo.io/api/v1; the bare /v1 answers every search with nothing
    _http: "httpx.Client | None" = field(default=None, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
        """One page of companies; costs one credit, also when short, and nothing when empty.

        Raises:
            Invalid: the page is beyond the 50,000 rows that Apollo shows; nothing was called.
            ProviderBusy: 429 or 5xx, or no answer; `retry_after` is Apollo's own figure where it gave one.
            OutOfCredit, CredentialRejected, ProviderFailed: for good, in words.
        """
        _check_reach(page, per_page)
        content = {**shapes.filters(profile), "page": page, "per_page": per_page}
        answer = self._paid(
            caller, Request("POST", "/mixed_companies/search", shapes.is_empty_page, content=content)
        )
        return shapes.company_page(answer, page=page, per_page=per_page)

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        """All that Apollo knows of one company, or None; costs one credit where it knows one.

        Raises as `search`; Invalid for what is no domain.
        """
        asked = shapes.domain_of(domain)
        if asked is None:
            raise Invalid("A company is looked up by its domain, such as example.com.", code="no_domain")
        answer = self._paid(
            caller,
            Request("GET", "/organizations/enrich", shapes.is_unknown_company, query={"domain": asked}),
        )
        return shapes.company(answer, domain=asked)

    def check(self, caller: Caller) -> None:
        """Whether Apollo knows the key; costs nothing.

        Raises CredentialRejected when it does not say so, ProviderBusy when it cannot be asked just now.
        """
        try:
            answer = self._paid(caller, Request("GET", "/auth/health", lambda _answer: True))
        except (ProviderBusy, CredentialRejected):
            raise
        except ProviderFailed as failure:
            if failure.code == "bad_address":
                raise
            answer = {}
        if answer.get("is_logged_in") is not True:
            raise failures.bad_key()

    def __del__(self) -> None:
        with suppress(Exception):  # at the process's end its parts may be gone already
            self.close()

    def close(self) -> None:
        """Let go of the connections. The next call opens new ones."""
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def _paid(self, caller: Caller, request: Request) -> Mapping[str, Any]:
        """The answer's JSON. A call that was served is on the meter, whatever becomes of its answer here."""
        if not _SENDABLE_KEY.fullmatch(self.api_key):
            raise failures.bad_key()
        outcome = self._exchange(caller, request)
        if isinstance(outcome, ProviderFailed):
            raise outcome  # from here, where no frame and no context holds the key or what Apollo said
        return outcome

    def _exchange(self, caller: Caller, request: Request) -> Mapping[str, Any] | ProviderFailed:
        import httpx  # noqa: PLC0415 - 0.3 s, which only a function that calls should pay

        seconds = max(caller.timeout.total_seconds(), 0)
        deadline = time.monotonic() + seconds
        try:
            with self._client().stream(
                request.method,
                request.path,
                json=request.content,
                params=request.query,
                headers={"x-api-key": self.api_key, "x-bevyly-call": caller.call_id},
                timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            ) as response:
                if news := shapes.rate_news(response.headers):
                    caller.meter.hear(news)
                if response.status_code == httpx.codes.OK:
                    answer = _served(caller, request, response, deadline)
                    return failures.unreadable() if answer is None else answer
                text = _body(response, deadline).decode("utf-8", "replace")
                return failures.of_status(response.status_code, response.headers, text)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            return failures.bad_address()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return failures.unreachable()
        except httpx.DecodingError:
            return failures.unreadable()
        except httpx.RequestError:
            return failures.no_answer()

    def _client(self) -> "httpx.Client":
        import httpx  # noqa: PLC0415 - as above

        with self._lock:
            if self._http is None:
                self._http = httpx.Client(base_url=self.base_url, verify=_trust(), follow_redirects=False)
            return self._http


@cache
def _trust() -> "ssl.SSLContext":
    """The certificate authorities, read once a process: it takes 60 ms, and each tenant's client needs it."""
    import httpx  # noqa: PLC0415 - as above

    return httpx.create_ssl_context()


def _check_reach(page: int, per_page: int) -> None:
    if not 1 <= per_page <= MOST_A_PAGE:
        raise Invalid(f"A page holds 1 to {MOST_A_PAGE} companies.", code="page_size")
    if page < 1 or page > shapes.MOST_PAGES or page * per_page > shapes.MOST_ROWS:
        raise Invalid(
            f"Apollo.io shows the first {shapes.MOST_ROWS:,} companies of a search, on at most "
            f"{shapes.MOST_PAGES} pages. Narrow the profile to see others.",
            code="page_out_of_reach",
        )


def _served(
    caller: Caller, request: Request, response: "httpx.Response", deadline: float
) -> Mapping[str, Any] | None:
    due = 1
    try:
        answer = _object(_body(response, deadline))
        if answer is not None and request.is_free(answer):
            due = 0
        return answer
    finally:
        caller.meter.add(Charge(credits=due, request_id=response.headers.get("x-request-id")))


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
