"""Apollo's errors in our words. Nothing of its answers, and never the key, gets into them.

Bad key, wrong plan and no credit look alike on the wire; here each has a sentence of its own.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from chalicelib.domain.errors import CredentialRejected, OutOfCredit, ProviderBusy, ProviderFailed
from chalicelib.integrations.waiting import wait_of

RATE_LIMITED: Final = timedelta(seconds=60)
"""The wait after a 429 that names none: the length of Apollo's shortest window."""

TROUBLE: Final = timedelta(seconds=15)
"""The wait after a call that Apollo did not answer, or answered with a 5xx."""


_APOLLOS: Final = MappingProxyType({"provider": "apollo"})
_OF_CREDITS: Final = re.compile(r"\bcredits?\b", re.IGNORECASE)


def of_status(status: int, headers: Mapping[str, str], text: str) -> ProviderFailed:
    """What an answer other than 200 means. `text` is looked at, never passed on."""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            failure: ProviderFailed = bad_key()
        case HTTPStatus.FORBIDDEN if "API_INACCESSIBLE" in text:
            failure = _plan_or_scope()
        case HTTPStatus.PAYMENT_REQUIRED:
            failure = _out_of_credit()
        case HTTPStatus.UNPROCESSABLE_ENTITY if _OF_CREDITS.search(text):
            failure = _out_of_credit()
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY:
            failure = _bad_request()
        case HTTPStatus.TOO_MANY_REQUESTS:
            failure = _rate_limited(wait_of(headers, RATE_LIMITED))
        case HTTPStatus.GATEWAY_TIMEOUT:
            failure = no_answer()
        case HTTPStatus.REQUEST_TIMEOUT:
            failure = _trouble(wait_of(headers, TROUBLE))
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            failure = _trouble(wait_of(headers, TROUBLE))
        case _:
            failure = _unexpected(status)
    failure.details["status"] = status
    return failure


def bad_key() -> CredentialRejected:
    return CredentialRejected(
        "Apollo.io does not know this API key. Check the key, or make a new one at Apollo.io.",
        details=_APOLLOS,
    )


def bad_address() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io's address is not one that can be called. Check the setting APOLLO_BASE_URL.",
        code="bad_address",
        details=_APOLLOS,
    )


def unreachable() -> ProviderBusy:
    """The call never left: it cost nothing."""
    return ProviderBusy(
        "Apollo.io cannot be reached. The call is made again shortly.",
        code="unreachable",
        details=_APOLLOS,
        retry_after=TROUBLE,
    )


def no_answer() -> ProviderBusy:
    """The call left and may have been carried out: its cost is unknown, unless the meter has it."""
    return ProviderBusy(
        "Apollo.io did not answer in time. The call is made again shortly.",
        code="provider_timeout",
        details=_APOLLOS,
        retry_after=TROUBLE,
    )


def unreadable() -> ProviderFailed:
    """Served and charged, so it is not asked again: that would cost again."""
    return ProviderFailed(
        "Apollo.io's answer could not be read. Try again later.", code="invalid_answer", details=_APOLLOS
    )


def _plan_or_scope() -> CredentialRejected:
    return CredentialRejected(
        "Apollo.io does not allow this call: the account's plan has no API access, or the key's scope "
        "leaves it out. Use a master key of a plan with API access.",
        code="plan_or_scope",
        details=_APOLLOS,
    )


def _out_of_credit() -> OutOfCredit:
    return OutOfCredit(
        "The Apollo.io account is out of credits. Add credits at Apollo.io, then run again.",
        details=_APOLLOS,
    )


def _bad_request() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io does not accept what was asked. Check industries, sizes, locations and technologies.",
        code="bad_request",
        details=_APOLLOS,
    )


def _rate_limited(wait: timedelta) -> ProviderBusy:
    return ProviderBusy(
        "Apollo.io takes no more calls of this account for now.",
        code="rate_limited",
        details=_APOLLOS,
        retry_after=wait,
    )


def _trouble(wait: timedelta) -> ProviderBusy:
    return ProviderBusy(
        "Apollo.io is in trouble. The call is made again shortly.",
        code="provider_trouble",
        details=_APOLLOS,
        retry_after=wait,
    )


def _unexpected(status: int) -> ProviderFailed:
    return ProviderFailed(
        f"Apollo.io gave an answer that nobody expected (status {status}).",
        code="unexpected_status",
        details=_APOLLOS,
    )
