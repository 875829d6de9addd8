"""OpenAI's errors in our words. Nothing of its answers, and never the key, gets into them.

A spent quota and a full rate window are both a 429; the first must not be tried again.
"""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from chalicelib.domain.errors import CredentialRejected, OutOfCredit, ProviderBusy, ProviderFailed, Refused
from chalicelib.integrations.waiting import wait_of

RATE_LIMITED: Final = timedelta(seconds=20)
"""The wait after a 429 that names none."""

TROUBLE: Final = timedelta(seconds=15)
"""The wait after a call that was not answered, or answered with a 5xx."""


OUT_OF_QUOTA: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    }
)

_OPENAIS: Final = MappingProxyType({"provider": "openai"})


def of_status(
    status: int, headers: Mapping[str, str], kinds: frozenset[str], *, model: str
) -> ProviderFailed:
    """What an error status means. `kinds` are the body's type and code, as far as it has them."""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            failure: ProviderFailed = bad_key()
        case HTTPStatus.PAYMENT_REQUIRED:
            failure = _out_of_quota()
        case HTTPStatus.TOO_MANY_REQUESTS if kinds & OUT_OF_QUOTA:
            failure = _out_of_quota()
        case HTTPStatus.TOO_MANY_REQUESTS:
            failure = _rate_limited(wait_of(headers, RATE_LIMITED))
        case HTTPStatus.GATEWAY_TIMEOUT:
            failure = no_answer()
        case HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.CONFLICT:
            failure = _trouble(wait_of(headers, TROUBLE))
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            failure = _trouble(wait_of(headers, TROUBLE))
        case _:
            failure = _of_request(status, kinds, model)
    failure.details["status"] = status
    return failure


def _of_request(status: int, kinds: frozenset[str], model: str) -> ProviderFailed:
    match status:
        case HTTPStatus.FORBIDDEN:
            return _forbidden(model)
        case HTTPStatus.NOT_FOUND:
            return no_such_model(model)
        case HTTPStatus.BAD_REQUEST if "context_length_exceeded" in kinds:
            return _too_long(model)
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY:
            return _bad_request(model)
    return _unexpected(status)


def bad_key() -> CredentialRejected:
    return CredentialRejected(
        "OpenAI does not know this API key. Check the key, or make a new one at OpenAI.", details=_OPENAIS
    )


def bad_address() -> ProviderFailed:
    return ProviderFailed(
        "The model's address is not one that can be called. Check the base URL.",
        code="bad_address",
        details=_OPENAIS,
    )


def private_address() -> ProviderFailed:
    return ProviderFailed(
        "The model's address leads into a private network, where this installation calls nobody. Check the base URL.",
        code="private_address",
        details=_OPENAIS,
    )


def no_model_server() -> ProviderFailed:
    return ProviderFailed(
        "At this address no server speaks OpenAI's language. Check the base URL; it often ends in /v1.",
        code="unexpected_answer",
        details=_OPENAIS,
    )


def unreachable() -> ProviderBusy:
    """The call never left: it cost nothing."""
    return ProviderBusy(
        "OpenAI cannot be reached. The call is made again shortly.",
        code="unreachable",
        details=_OPENAIS,
        retry_after=TROUBLE,
    )


def no_answer() -> ProviderBusy:
    """The call left and may have been carried out: its cost is unknown."""
    return ProviderBusy(
        "OpenAI did not answer in time. The call is made again shortly.",
        code="provider_timeout",
        details=_OPENAIS,
        retry_after=TROUBLE,
    )


def model_refused(model: str) -> Refused:
    return Refused(
        f"The model {model} declined to answer. Look at the facts it was given.",
        code="model_refused",
        details=_OPENAIS,
    )


def filtered(model: str) -> Refused:
    return Refused(
        f"The answer of the model {model} was held back by its content filter.",
        code="filtered",
        details=_OPENAIS,
    )


def truncated(model: str) -> Refused:
    return Refused(
        f"The answer of the model {model} was cut off at its token limit. Raise the limit, or ask for less.",
        code="truncated",
        details=_OPENAIS,
    )


def invalid_answer(model: str) -> Refused:
    return Refused(
        f"The model {model} did not answer in the form it was asked for.",
        code="invalid_answer",
        details=_OPENAIS,
    )


def longer_than_booked(model: str) -> Refused:
    """Nothing was sent: it could cost more than is booked for it."""
    return Refused(
        f"The facts are too long to be sent to the model {model}. Shorten them, or give it fewer.",
        code="too_long",
        details=_OPENAIS,
    )


def _out_of_quota() -> OutOfCredit:
    return OutOfCredit(
        "The OpenAI account is out of quota. Add credit or raise its limit at OpenAI, then run again.",
        details=_OPENAIS,
    )


def _rate_limited(wait: timedelta) -> ProviderBusy:
    return ProviderBusy(
        "OpenAI takes no more calls of this account for now.",
        code="rate_limited",
        details=_OPENAIS,
        retry_after=wait,
    )


def _forbidden(model: str) -> ProviderFailed:
    return ProviderFailed(
        f"OpenAI does not allow this key to use the model {model}. Check the key's permissions and project.",
        code="forbidden",
        details=_OPENAIS,
    )


def no_such_model(model: str) -> ProviderFailed:
    return ProviderFailed(
        f"There is no model {model} for this key. Choose another model, or check the base URL.",
        code="model_not_found",
        details=_OPENAIS,
    )


def _too_long(model: str) -> ProviderFailed:
    return ProviderFailed(
        f"The facts are too long for the model {model}. Give it fewer, or choose a larger model.",
        code="too_long",
        details=_OPENAIS,
    )


def _bad_request(model: str) -> ProviderFailed:
    return ProviderFailed(
        f"The model {model} does not accept the request. Check the temperature, which some models refuse, "
        "and the name of the token limit.",
        code="bad_request",
        details=_OPENAIS,
    )


def _trouble(wait: timedelta) -> ProviderBusy:
    return ProviderBusy(
        "OpenAI is in trouble. The call is made again shortly.",
        code="provider_trouble",
        details=_OPENAIS,
        retry_after=wait,
    )


def _unexpected(status: int) -> ProviderFailed:
    return ProviderFailed(
        f"The model's server gave an answer that nobody expected (status {status}). Check the base URL.",
        code="unexpected_status",
        details=_OPENAIS,
    )
