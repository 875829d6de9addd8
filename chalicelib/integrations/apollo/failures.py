"""Apollo's errors in our words. Nothing of its answers, and never the key, gets into them.

Bad key, wrong plan and no credit look alike on the wire; here each has a sentence of its own.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from chalicelib.domain.errors import CredentialRejected, OutOfCredit, ProviderBusy, ProviderFailed

RATE_LIMITED: Final = timedelta(seconds=60)
"""The wait after a 429 that names none: the length of Apollo's shortest window."""

TROUBLE: Final = timedelta(seconds=15)
"""The wait after a call that Apollo did not answer, or answered with a 5xx."""

LONGEST: Final = timedelta(days=1)
"""Apollo's longest window; a longer `retry-after` is not believed."""

_OF_CREDITS: Final = re.compile(r"\bcredits?\b", re.IGNORECASE)


def of_status(status: int, headers: Mapping[str, str], text: str) -> ProviderFailed:
    """What an answer other than 200 means."""
    if status == 401:
        return bad_key()
    if status == 403 and "API_INACCESSIBLE" in text:
        return CredentialRejected(
            "Apollo.io does not allow this call: the account's plan has no API access, or the key's scope "
            "leaves it out. Use a master key of a plan with API access.",
            code="plan_or_scope",
            details=_details(status),
        )
    if status == 402 or (status == 422 and _OF_CREDITS.search(text)):
        return OutOfCredit(
            "The Apollo.io account is out of credits. Add credits at Apollo.io, then run again.",
            details=_details(status),
        )
    if status in {400, 422}:
        return ProviderFailed(
            "Apollo.io does not accept what was asked. Check the industries, sizes, locations and technologies.",
            code="bad_request",
            details=_details(status),
        )
    if status == 429:
        return ProviderBusy(
            "Apollo.io takes no more calls of this account for now.",
            code="rate_limited",
            details=_details(status),
            retry_after=wait_of(headers, RATE_LIMITED),
        )
    if status == 408 or status >= 500:
        return ProviderBusy(
            "Apollo.io is in trouble. The call is made again shortly.",
            code="provider_trouble",
            details=_details(status),
            retry_after=wait_of(headers, TROUBLE),
        )
    return ProviderFailed(
        f"Apollo.io gave an answer that nobody expected (status {status}).",
        code="unexpected_status",
        details=_details(status),
    )


def bad_key() -> CredentialRejected:
    return CredentialRejected(
        "Apollo.io does not know this API key. Check the key, or make a new one at Apollo.io.",
        details=_details(401),
    )


def bad_address() -> ProviderFailed:
    return ProviderFailed(
        "Apollo.io's address is not one that can be called. Check the setting APOLLO_BASE_URL.",
        code="bad_address",
        details=_details(),
    )


def unreachable() -> ProviderBusy:
    """The call never left: it cost nothing."""
    return ProviderBusy(
        "Apollo.io cannot be reached. The call is made again shortly.",
        code="unreachable",
        details=_details(),
        retry_after=TROUBLE,
    )


def no_answer() -> ProviderBusy:
    """The call left and may have been carried out: what it cost is not known, unless the meter says so."""
    return ProviderBusy(
        "Apollo.io did not answer in time. The call is made again shortly.",
        code="no_answer",
        details=_details(),
        retry_after=TROUBLE,
    )


def unreadable() -> ProviderFailed:
    """Served and charged, so it is not asked again: that would cost again."""
    return ProviderFailed(
        "Apollo.io's answer could not be read. Try again later.", code="invalid_answer", details=_details()
    )


def wait_of(headers: Mapping[str, str], default: timedelta) -> timedelta:
    """`retry-after` as a duration: seconds, or a date that is measured from the answer's own."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        wait = timedelta(seconds=min(int(said[:9]), LONGEST.total_seconds()))
    else:
        try:
            wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
        except (ValueError, TypeError):
            wait = default
    return min(max(wait, timedelta(seconds=1)), LONGEST)


def _details(status: int | None = None) -> dict[str, object]:
    return {"provider": "apollo"} if status is None else {"provider": "apollo", "status": status}
