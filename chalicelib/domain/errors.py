"""Everything that may be refused or fail, as one tree.

AppError
├─ Invalid            422   input breaks a rule; `pointer` says where
│  └─ Malformed       400   the body is not JSON at all
├─ NotSignedIn        401
├─ NotPermitted       403
├─ NotFound           404
├─ Conflict           409   state moved on; details say who and when
├─ LimitReached       429   too many of something; `retry_after`
├─ BudgetReached      402   what may be spent this month is spent
├─ Unavailable        503   a part of ours is out; `retry_after`
└─ ProviderFailed     502   a provider said no for good
   ├─ ProviderBusy    503   it may answer later; `retry_after`
   ├─ CredentialRejected
   ├─ OutOfCredit
   └─ Refused               a model declined, or its answer was of no use

Callers act on the class, clients on `code`. Messages are safe to show: no secret, no payload of a
provider. Workers act on the same tree: ProviderBusy waits, another AppError ends the run with its
sentence, anything else is a bug.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


class AppError(Exception):
    """A refusal or failure told in words."""

    code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.details = dict(details or {})
        self.retry_after = retry_after


class Invalid(AppError):
    """Input that breaks a rule. `pointer` is a JSON pointer (RFC 6901) into the body, or the parameter's name."""

    code = "invalid"

    def __init__(
        self,
        message: str,
        *,
        pointer: str | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        where = {} if pointer is None else {"pointer": pointer}
        super().__init__(message, code=code, details={**where, **(details or {})})
        self.pointer = pointer


class Malformed(Invalid):
    code = "malformed"


class TooLarge(Invalid):
    code = "too_large"


class UnsupportedMediaType(Invalid):
    code = "unsupported_media_type"


class NotSignedIn(AppError):
    code = "not_signed_in"


class NotPermitted(AppError):
    code = "not_permitted"


class NotFound(AppError):
    """It does not exist, or it is another tenant's: the answer is the same, so ids cannot be probed."""

    code = "not_found"


class Conflict(AppError):
    code = "conflict"


class LimitReached(AppError):
    code = "limit_reached"


class BudgetReached(AppError):
    code = "budget_reached"


class Unavailable(AppError):
    code = "unavailable"


class ProviderFailed(AppError):
    code = "provider_failed"


class ProviderBusy(ProviderFailed):
    code = "provider_busy"


class CredentialRejected(ProviderFailed):
    code = "credential_rejected"


class OutOfCredit(ProviderFailed):
    code = "out_of_credit"


class Refused(ProviderFailed):
    code = "refused"


class LeaseLost(Exception):
    """Another worker holds the run now; whoever sees this stops without a trace."""
