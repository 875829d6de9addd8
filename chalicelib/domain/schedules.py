"""When a schedule is due: five-field cron in an IANA zone, as UTC instants.

Daylight saving as Debian's cron has it, by the cronsim library: a fixed time that falls into the gap fires
once, right after it; one that comes twice fires the first time only; hours given as `*` follow elapsed time.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, pairwise
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from chalicelib.domain.errors import Invalid

LONGEST: Final = 100
LOOKED_AT: Final = 100
"""How many firings are compared with the least interval."""

_FIELD: Final = re.compile(r"[0-9A-Z*,/-]+")
_NAMES: Final = frozenset(
    {
        *("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
        *("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
    }
)


class Outcome(StrEnum):
    """What became of a slot."""

    STARTED = "started"
    COALESCED = "coalesced"  # a later slot's run stands for it
    SKIPPED = "skipped"  # `reason` says why


def check_zone(zone: str, *, pointer: str = "/timeZone") -> ZoneInfo:
    """The zone of this IANA name, or Invalid."""
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(
            f"There is no time zone {zone!r}. Use an IANA name such as Europe/Berlin.", pointer=pointer
        ) from None


def check(expression: str, zone: str, *, now: datetime, least: timedelta, pointer: str = "/schedule") -> str:
    """The expression in one spelling. Raises Invalid, in words, for one that is no good.

    No good: other than five fields, an unknown zone, one that never fires, one that fires more often than
    every `least`.
    """
    check_zone(zone)
    fields = expression.upper().split()
    if len(expression) > LONGEST or len(fields) != 5:  # noqa: PLR2004 - the five of cron
        raise Invalid(
            "A schedule has five fields: minute, hour, day of month, month, day of week. Example: 0 8 * * MON-FRI",
            pointer=pointer,
        )
    for field in fields:
        if not _FIELD.fullmatch(field) or not set(re.findall(r"[A-Z]+", field)) <= _NAMES:
            raise Invalid(f"{field!r} is no cron field.", pointer=pointer)
    normal = " ".join(fields)
    try:
        firings = list(islice(slots(normal, zone, after=now), LOOKED_AT))
    except CronSimError as wrong:
        raise Invalid(f"This schedule is no good: {wrong}.", pointer=pointer) from None
    if not firings:
        raise Invalid("This schedule never fires.", pointer=pointer)
    if any(later - earlier < least for earlier, later in pairwise(firings)):
        minutes = int(least.total_seconds() // 60)
        raise Invalid(f"This schedule fires more often than every {minutes} minutes.", pointer=pointer)
    return normal


def slots(expression: str, zone: str, *, after: datetime) -> Iterator[datetime]:
    """The instants (UTC) after this one at which the schedule fires, each once, in order."""
    last = after
    for local in CronSim(expression, after.astimezone(ZoneInfo(zone))):
        slot = local.astimezone(UTC)
        if slot > last:
            last = slot
            yield slot


def following(expression: str, zone: str, *, after: datetime, count: int = 5) -> list[datetime]:
    """The next so many slots."""
    return list(islice(slots(expression, zone, after=after), count))


def due_slots(expression: str, zone: str, *, first: datetime, now: datetime, most: int) -> list[datetime]:
    """The slots from `first`, which is one, up to now; the latest `most` of them."""
    due = [first]
    for slot in slots(expression, zone, after=first):
        if slot > now:
            break
        due.append(slot)
    return due[-most:]
