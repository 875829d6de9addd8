"""Apollo's errors in our words. Nothing of its answers, and never the key, gets into them.

Bad key, wrong plan and no credit look alike on the wire; here each has a sentence of its own.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from chalicelib.domain.errors import CredentialRejected, OutOfCredit, ProviderBusy, ProviderFailed
from chalicelib.integrations.waiting import wait_of

RATE_LIMITED: Final = timedelta(seconds=60)
"""The wait after a 429 that names none: the length of Apollo's shortest window."""

TROUBLE: Final = timedelta(seconds=15)
"""The wait after a call that Apollo did not answer, or answered with a 5xx."""

_APOLLOS: Final = MappingProxyType({"provider": "apollo"})
_OF_CREDITS: Final = re.compile(r"\bcredits?\b", re.IGNORECASE)
_OF_PLAN: Final = re.compile(r"\bfree plan\b|\bupgrade\b", re.IGNORECASE)
_OF_SCOPE: Final = re.compile(r"\bscopes?\b|\bmaster\b|not accessible with this api_key", re.IGNORECASE)
_OF_OLD_NAME: Final = re.compile(r"\bdeprecated\b|no longer (?:supported|available)", re.IGNORECASE)
_OF_WEBHOOK: Final = re.compile(r"\bwebhook", re.IGNORECASE)
_PAGE: Final = re.compile(r"\s*<")


def of_status(status: int, headers: Mapping[str, str], text: str) -> ProviderFailed:
    """What an answer other than 200 means. `text` is looked at, never passed on."""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            failure: ProviderFailed = bad_key()
        case HTTPStatus.FORBIDDEN:
            failure = _blocked() if _PAGE.match(text) else _forbidden(text)
        case HTTPStatus.PAYMENT_REQUIRED:
            failure = _out_of_credit()
        case HTTPStatus.NOT_FOUND:
            failure = _unknown_call()
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY:
            failure = _not_accepted(text)
        case HTTPStatus.TOO_MANY_REQUESTS:
            failure = _rate_limited(wait_of(headers, RATE_LIMITED))
        case HTTPStatus.GATEWAY_TIMEOUT:
            failure = no_answer()
        case HTTPStatus.REQUEST_TIMEOUT:
            failure = _trouble(wait_of(headers, TROUBLE))
        case _:
            failure = _of_kind(status, headers)
    failure.details["status"] = status
    return failure


def _of_kind(status: int, headers: Mapping[str, str]) -> ProviderFailed:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _trouble(wait_of(headers, TROUBLE))
    return _redirected() if status in range(300, 400) else _unexpected(status)


def of_bulk(answer: Mapping[str, Any]) -> ProviderFailed | None:
    """What a 200 means that says of itself that it failed, as a bulk call's may."""
    return _not_accepted(str(answer.get("error_code"))) if answer.get("status") == "failed" else None


def _forbidden(text: str) -> CredentialRejected:
    """Plan and scope share a code, so the words decide; without telling ones, both are named."""
    if _OF_PLAN.search(text):
        return _free_plan()
    return _scope() if _OF_SCOPE.search(text) else _plan_or_scope()


def _not_accepted(text: str) -> ProviderFailed:
    if _OF_CREDITS.search(text):
        return _out_of_credit()
    if _OF_OLD_NAME.search(text):
        return _retired_call()
    if "RECORD_LIMIT_EXCEEDED" in text:
        return _too_many_records()
    return _needs_webhook() if _OF_WEBHOOK.search(text) else _bad_request()


def bad_key() -> CredentialRejected:
    return CredentialRejected(
        "Apollo.io does not know this API key. Check the key, or make a new one at Apollo.io.",
        details=_APOLLOS,
    )


def bad_address() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io's address is not one that can be called. Check the setting APOLLO_BASE_URL, which "
        "ends with /api/v1.",
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


def _free_plan() -> CredentialRejected:
    return CredentialRejected(
        "This Apollo.io account's plan does not include the call. Upgrade the plan at Apollo.io, or use the key "
        "of an account that has it.",
        code="free_plan",
        details=_APOLLOS,
    )


def _scope() -> CredentialRejected:
    return CredentialRejected(
        "This Apollo.io key may not make the call. Allow it in the key's settings at Apollo.io, or use a master "
        "key.",
        code="scope",
        details=_APOLLOS,
    )


def _plan_or_scope() -> CredentialRejected:
    return CredentialRejected(
        "Apollo.io does not allow this call: the account's plan has no API access, or the key's scope "
        "leaves it out. Use a master key of a plan with API access.",
        code="plan_or_scope",
        details=_APOLLOS,
    )


def _blocked() -> ProviderFailed:
    return ProviderFailed(
        "Something on the way to Apollo.io refuses the call with a web page. Ask who runs the network whether a "
        "proxy or firewall is in the way, and check the setting APOLLO_BASE_URL.",
        code="blocked",
        details=_APOLLOS,
    )


def _redirected() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io's address sends the call elsewhere, which is not followed. Check the setting APOLLO_BASE_URL.",
        code="redirected",
        details=_APOLLOS,
    )


def _unknown_call() -> ProviderFailed:
    return ProviderFailed(
        "Nothing answers to this call at Apollo.io's address. Check the setting APOLLO_BASE_URL, which ends with "
        "/api/v1; if it is right, tell support.",
        code="unknown_call",
        details=_APOLLOS,
    )


def _retired_call() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io has retired this call. Tell support: the product has to be brought up to date.",
        code="retired_call",
        details=_APOLLOS,
    )


def _too_many_records() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io takes fewer records in one call than were sent. Tell support: the product has to be brought "
        "up to date.",
        code="too_many_records",
        details=_APOLLOS,
    )


def _needs_webhook() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io sends this account's mobile numbers only to a webhook, which there is none of. Ask again "
        "without mobile numbers.",
        code="needs_webhook",
        details=_APOLLOS,
    )


def _out_of_credit() -> OutOfCredit:
    return OutOfCredit(
        "The Apollo.io account is out of credits. Add credits at Apollo.io, then run again.",
        details=_APOLLOS,
    )


def _bad_request() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io does not accept what was asked. Check the words, ranges and dates that it was asked by.",
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
