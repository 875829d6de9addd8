"""Errors as HTTP tells them: one status table, one form. A bug shows no details."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chalicelib.domain.errors import (
    AppError,
    BudgetReached,
    Conflict,
    Invalid,
    LimitReached,
    Malformed,
    NotFound,
    NotPermitted,
    NotSignedIn,
    ProviderBusy,
    ProviderFailed,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)

logger = logging.getLogger(__name__)

STATUS: Final[Mapping[type[AppError], int]] = MappingProxyType(
    {
        Invalid: 422,
        Malformed: 400,
        TooLarge: 413,
        UnsupportedMediaType: 415,
        NotSignedIn: 401,
        NotPermitted: 403,
        NotFound: 404,
        Conflict: 409,
        LimitReached: 429,
        BudgetReached: 402,
        Unavailable: 503,
        ProviderFailed: 502,
        ProviderBusy: 503,
    }
)
"""A class not named here answers as its nearest ancestor."""

_PATIENCE: Final[Mapping[int, timedelta]] = MappingProxyType(
    {
        429: timedelta(seconds=60),
        503: timedelta(seconds=5),
    }
)
"""Retry-After where the error itself does not know."""

_OUT: Final = frozenset(
    {"57P01", "57P02", "57P03", "57P05", "25P03"}
)  # the server ends or refuses the session
_BUSY: Final = frozenset({"55P03", "57014", "40001", "40P01"})  # lock or statement timeout, lost a race
_OUT_CLASSES: Final = ("08", "53")  # connection exceptions, insufficient resources


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure, ready to be sent."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = dict(self.details)
        return {"success": False, "error": {**error, "requestId": request_id}}


def status_of(kind: type[AppError]) -> int:
    """The status of an error class, its own or inherited."""
    return next((STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS), 500)


def problem_of(error: Exception, request_id: str) -> Problem:
    """What the client is told. A refusal is no news for the log; a bug goes there whole."""
    told = error if isinstance(error, AppError) else _database_trouble(error)
    if told is not None:
        if told is not error:
            logger.warning("database out", extra={"request_id": request_id}, exc_info=error)
        return _told(told)
    logger.error("request failed", extra={"request_id": request_id}, exc_info=error)
    return Problem(
        status=500,
        code="internal",
        message="Something went wrong on our side. Try again; if it persists, tell support the request id.",
    )


def _told(error: AppError) -> Problem:
    status = status_of(type(error))
    headers = {}
    if status == 401:  # noqa: PLR2004 - the table above speaks in these numbers
        headers["WWW-Authenticate"] = "Bearer"
    wait = error.retry_after or _PATIENCE.get(status)
    if wait is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait.total_seconds())))
    return Problem(status, error.code, error.message, error.details, headers)


def _database_trouble(error: Exception) -> Unavailable | None:
    """The database is out, or too busy for this statement; None for any other error."""
    if isinstance(error, PoolTimeout):
        return _busy()
    if isinstance(error, DBAPIError):
        state = _sqlstate(error.orig)
        if state in _BUSY:
            return _busy()
        if state in _OUT or state[:2] in _OUT_CLASSES or error.connection_invalidated:
            return _out()
        return _out() if not state and _is_network(error.orig) else None
    return _out() if _is_network(error) else None


def _busy() -> Unavailable:
    return Unavailable("The database is busy. Try again in a moment.", retry_after=timedelta(seconds=1))


def _out() -> Unavailable:
    return Unavailable("The database cannot be reached just now. Try again in a moment.")


def _is_network(error: BaseException | None) -> bool:
    # pg8000 tells of its socket with InterfaceError, and lets a connect timeout through as it is.
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__name__ == "InterfaceError"


def _sqlstate(error: BaseException | None) -> str:
    fields = error.args[0] if error is not None and error.args else None
    return str(fields.get("C", "")) if isinstance(fields, dict) else ""
