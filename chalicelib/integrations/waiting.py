"""How long a provider asks us to wait: `retry-after`, as HTTP has it."""

from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = timedelta(days=1)
"""A longer wait is taken for a mistake."""


def wait_of(headers: Mapping[str, str], default: timedelta) -> timedelta:
    """Seconds, or a date that is measured from the answer's own; the default where it says neither."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        wait = timedelta(seconds=int(said[:9]))
    else:
        try:
            wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
        except (ValueError, TypeError, OverflowError):
            wait = default
    return min(max(wait, timedelta(seconds=1)), LONGEST)
