"""What Apollo says of its limits: in the headers of each answer, and when it is asked.

Apollo counts by the minute, the hour and the day, in fixed windows. Our own bucket (`rate_buckets`) is one of
a minute, and stays so. The longer windows reach it in two ways that it already has: what is left of the
tightest window is what is left of this minute, so that as many calls pass as Apollo will take; and a window
with nothing left closes the bucket until that window ends, counted by Apollo's own clock from the answer's
`date`. Should its windows begin at another moment than the full hour, the bucket opens too early once: the
next call gets a 429, which is free and names the wait. Windows of our own for the hour and the day would
need the same figures from the same headers and could be wrong in the same way.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final

from chalicelib.domain.money import RateNews
from chalicelib.domain.quotas import CallQuotas, Credits, Quota
from chalicelib.integrations.apollo.values import day, line, whole

OPERATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mixed_companies/search": "search_companies",
        "mixed_people/api_search": "search_people",
        "organizations/enrich": "enrich_company",
        "organizations/bulk_enrich": "enrich_companies",
        "people/match": "match_person",
        "people/bulk_match": "match_people",
    }
)
"""Apollo's endpoints by the operations that our quotes name."""

_LONGER: Final = (("hourly", timedelta(hours=1)), ("24-hour", timedelta(days=1)))
_FIGURE: Final = re.compile(r"[0-9]{1,9}")
_MOST_CALLS: Final = 2_000_000_000
"""What an integer of PostgreSQL's holds."""


def rate_news(headers: Mapping[str, str]) -> RateNews | None:
    """What an answer says of the limits; None where they are unlimited (an empty value) or not told."""
    limit, left = _figure(headers, "x-rate-limit-minute"), _figure(headers, "x-minute-requests-left")
    if limit is None or left is None or limit < 1:
        limit = left = None
    blocked_for: timedelta | None = None
    for window, length in _LONGER:
        of_window = _figure(headers, f"x-{window}-requests-left")
        if of_window is None:
            continue
        if left is not None:
            left = min(left, of_window)
        if of_window == 0 and (wait := _until_the_end(length, headers)):
            blocked_for = max(wait, blocked_for or wait)
    if limit is None and blocked_for is None:
        return None
    return RateNews(
        per_minute=limit,
        left=None if left is None or limit is None else min(left, limit),
        blocked_for=blocked_for,
    )


def _figure(headers: Mapping[str, str], name: str) -> int | None:
    said = headers.get(name, "")
    return min(int(said), _MOST_CALLS) if _FIGURE.fullmatch(said) else None


def _until_the_end(window: timedelta, headers: Mapping[str, str]) -> timedelta | None:
    """Of the window that Apollo is in, by its own clock; None where it does not say what time it is."""
    try:
        now = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    length = window.total_seconds()
    return timedelta(seconds=length - now % length)


def usage(answer: Mapping[str, Any]) -> dict[str, CallQuotas]:
    """By operation. What we never call, and what Apollo does not tell, is left out."""
    found = {OPERATIONS.get(_endpoint(name)): windows for name, windows in answer.items()}
    return {
        operation: CallQuotas(
            minute=_quota(windows.get("minute")),
            hour=_quota(windows.get("hour")),
            day=_quota(windows.get("day")),
        )
        for operation, windows in found.items()
        if operation and isinstance(windows, dict)
    }


def _endpoint(name: str) -> str:
    """`["api/v1/people", "match"]`, which is JSON in a string, is `people/match`."""
    try:
        parts = json.loads(name)
    except ValueError:
        parts = name
    path = "/".join(map(str, parts)) if isinstance(parts, list) else str(parts)
    return path.removeprefix("api/v1/")


def _quota(value: object) -> Quota | None:
    if not isinstance(value, dict):
        return None
    return Quota(
        limit=whole(value.get("limit")),
        used=whole(value.get("consumed")),
        left=whole(value.get("left_over")),
    )


def credits_of(answer: Mapping[str, Any]) -> Credits:
    """The kinds that Apollo tells; `lead_credit` is the one that our calls cost."""
    stats, cycle = answer.get("credit_usage_stats"), answer.get("current_credit_cycle")
    kinds = dict(_kinds(stats if isinstance(stats, dict) else {}))
    return Credits(
        balance=kinds.get("lead_credit", Quota()),
        by_kind=kinds,
        cycle_ends_at=day(cycle.get("end_date")) if isinstance(cycle, dict) else None,
    )


def _kinds(stats: Mapping[str, Any]) -> Iterator[tuple[str, Quota]]:
    for name, value in stats.items():
        kind, quota = line(name, 100), _quota(value)
        if kind and quota and any(one is not None for one in (quota.limit, quota.used, quota.left)):
            yield kind, quota
