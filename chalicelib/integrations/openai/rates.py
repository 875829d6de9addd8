"""What OpenAI's answers say of its limit on calls. Compatible servers send the same headers, or none."""

import re
from collections.abc import Mapping
from typing import Final

from chalicelib.domain.money import RateNews

NAMES: Final = tuple(f"x-ratelimit-{part}-requests" for part in ("limit", "remaining", "reset"))
_FIGURE: Final = re.compile(r"[0-9]{1,7}")
_RESET: Final = re.compile(
    r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6}(?:\.\d+)?)s)?(?:(\d{1,6})ms)?"
)
_SECONDS: Final = (86_400, 3_600, 60, 1, 0.001)


def news_of(headers: Mapping[str, str]) -> RateNews | None:
    """The minute's limit; None where it is not told, or is that of another time than a minute.

    OpenAI does not say over which time it counts: small accounts have a day's limit in the same headers. It says
    when all calls are there again (`6ms`, `7m12s`), and so how many come back in a minute.
    """
    limit, left, reset = (headers.get(name, "") for name in NAMES)
    seconds = _seconds(reset)
    if not (_FIGURE.fullmatch(limit) and _FIGURE.fullmatch(left)) or not seconds:
        return None
    most, used = int(limit), int(limit) - int(left)
    a_minute = 60 * used / seconds
    if used < 1 or not most / 2 <= a_minute <= most * 2:
        return None
    return RateNews(per_minute=most, left=most - used)


def _seconds(duration: str) -> float | None:
    match = _RESET.fullmatch(duration)
    if match is None or not duration:
        return None
    return sum(float(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part)
