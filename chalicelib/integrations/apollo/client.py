"""Companies from Apollo.io. It searches and enriches; it keeps nothing, waits for nothing, retries nothing.

A call without an answer is not made again here: whether it was carried out is not known, and Apollo charges
by the call. The run's own record decides.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from chalicelib.domain.companies import Company, CompanyPage, IdealCustomer
from chalicelib.domain.errors import Invalid
from chalicelib.domain.money import Charge
from chalicelib.domain.ports import Caller
from chalicelib.integrations.apollo import failures, shapes

if TYPE_CHECKING:
    import httpx

MOST_A_PAGE: Final = 100
MOST_BYTES: Final = 8 * 1024 * 1024
"""A full page is well under one MiB."""

CONNECT_SECONDS: Final = 5.0

_SENDABLE_KEY: Final = re.compile(r"[\x21-\x7e]+")


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
            caller, "POST", "/mixed_companies/search", content=content, is_free=shapes.is_empty_page
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
            caller, "GET", "/organizations/enrich", query={"domain": asked}, is_free=shapes.is_unknown_company
        )
        return shapes.company(answer, domain=asked)

    def close(self) -> None:
        """Let go of the connections. The next call opens new ones."""
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def _paid(
        self,
        caller: Caller,
        method: str,
        path: str,
        *,
        is_free: Callable[[Mapping[str, Any]], bool],
        content: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """The answer's JSON. A call that was served is on the meter, whatever becomes of its answer here."""
        import httpx  # noqa: PLC0415 - 0.3 s, which only a function that calls should pay

        if not _SENDABLE_KEY.fullmatch(self.api_key):
            raise failures.bad_key()
        seconds = max(caller.timeout.total_seconds(), 0)
        deadline = time.monotonic() + seconds
        # Errors are told after the `except`, so that httpx's own do not hang on them as their context.
        try:
            with self._client().stream(
                method,
                path,
                json=content,
                params=query,
                headers={"x-api-key": self.api_key, "x-bevyly-call": caller.call_id},
                timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            ) as response:
                if response.status_code == httpx.codes.OK:
                    return _served(caller, response, deadline, is_free)
                if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    caller.meter.add(Charge())  # refused: reached, and free
                text = _body(response, deadline).decode("utf-8", "replace")
                failure = failures.of_status(response.status_code, response.headers, text)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            failure = failures.bad_address()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            failure = failures.unreachable()
        except httpx.DecodingError:
            failure = failures.unreadable()
        except httpx.RequestError:
            failure = failures.no_answer()
        raise failure

    def _client(self) -> "httpx.Client":
        import httpx  # noqa: PLC0415 - as above

        with self._lock:
            if self._http is None:
                self._http = httpx.Client(base_url=self.base_url, follow_redirects=False)
            return self._http


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
    caller: Caller, response: "httpx.Response", deadline: float, is_free: Callable[[Mapping[str, Any]], bool]
) -> Mapping[str, Any]:
    due = 1
    try:
        answer = _object(_body(response, deadline))
        if answer is None:
            raise failures.unreadable()
        due = 0 if is_free(answer) else 1
        return answer
    finally:
        caller.meter.add(Charge(credits=due, request_id=response.headers.get("x-request-id")))


def _body(response: "httpx.Response", deadline: float) -> bytes:
    """The whole body, bounded in size and in time: a read timeout alone would begin anew with each byte."""
    import httpx  # noqa: PLC0415 - as above

    response.request.extensions["timeout"]["read"] = max(deadline - time.monotonic(), 0.001)
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise failures.unreadable()
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("", request=response.request)
    return bytes(body)


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
